"""Pictures to measure on, and the workers' settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from edge_runtime.commands.inspect import FILE_HANG_TIMEOUT_MS, pool_settings
from edge_runtime.config import Settings
from edge_runtime.config_inspection import InspectionSettings
from edge_runtime.config_recipe import RecipeSettings
from edge_runtime.engines import with_tiles
from edge_runtime.inference.bundle import Bundle
from edge_runtime.runtime.pool import InspectionPool
from edge_runtime.validation import describe
from edge_runtime.vision.boards import BINARY, CAMERA, paint_board
from edge_runtime.vision.tile_plan import tiles_for
from tools.errors import ToolError
from tools.golden_pictures import MadePicture

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8, TilePlan

PAINTED_PX = 2048


def made_frame(side_px: int, with_template: bool, index: int = 0) -> MadePicture:
    """The made-up board `index`, as a scanner sees it where the model compares it with its artwork.

    Beyond `PAINTED_PX` the board is repeated: painting 64 megapixels would take longer than inspecting them.
    """
    painted_px = min(side_px, PAINTED_PX)
    board = paint_board(1, index, (painted_px, painted_px), BINARY if with_template else CAMERA)
    template = repeated(board.template, side_px) if with_template else None
    return MadePicture(repeated(board.image, side_px), template)


def repeated(picture: ImageU8, side_px: int) -> ImageU8:
    """The square picture side by side with itself until it has `side_px`."""
    times = -(-side_px // picture.shape[0])
    tiled = np.tile(picture, (times, times) + (1,) * (picture.ndim - 2))
    return np.ascontiguousarray(tiled[:side_px, :side_px])


def backend_keys(backend: str) -> dict[str, Any]:
    """`openvino:bf16` names a backend and the precision it computes in; `auto:coarse` may take bf16 or INT8."""
    name, _, how = backend.partition(":")
    if name == "auto" and how == "coarse":
        return {"backend": name, "auto_coarse": True}
    return {"backend": name} | ({"openvino_precision": how} if how else {})


def inspection(bundle: Path, workers: int, backend: str) -> InspectionSettings:
    """Raises ToolError for a backend there is none of."""
    wish: dict[str, Any] = {"bundle": bundle.absolute(), "workers": workers, **backend_keys(backend)}
    try:
        return InspectionSettings(**wish, hang_timeout_ms=FILE_HANG_TIMEOUT_MS)
    except ValidationError as exc:
        raise ToolError(f"backend {backend!r} with {workers} workers: {describe(exc)}") from exc


def workers_settings(
    bundle: Path, workers: int, backend: str, image_hw: tuple[int, int] | None, data_dir: Path | None = None
) -> Settings:
    """Workers without a line for pictures of this size, None: any; one of 64 megapixels may take them a minute.

    `data_dir` keeps what `auto` chose.
    """
    settings = pool_settings(bundle, RecipeSettings(), workers, image_hw=image_hw)
    changes: dict[str, Any] = {"inspection": inspection(bundle, workers, backend)}
    if data_dir is not None:
        changes["station"] = settings.station.model_copy(update={"data_dir": data_dir})
    return settings.model_copy(update=changes)


def planned(settings: InspectionSettings, bundle: Bundle, image_hw: tuple[int, int]) -> tuple[Bundle, TilePlan]:
    """The bundle as the workers use it for pictures of this size, and their tiles. Raises BundleError."""
    whole = RecipeSettings().value()
    sized = with_tiles(settings, bundle, whole, image_hw)
    return sized, tiles_for(sized.input_contract, sized.mask_stride_px, image_hw, whole)


def inspect_once(pool: InspectionPool, picture: MadePicture) -> dict[str, float]:
    """The stages' milliseconds of one picture. Raises ToolError where it was not inspected: no figure is of that."""
    result = pool.inspect(picture.image, picture.template)
    if result.mask is None:
        height_px, width_px = picture.image.shape[:2]
        raise ToolError(
            f"{width_px} x {height_px} px were not inspected ({', '.join(result.verdict.reasons)}): a worker has at "
            f"most {FILE_HANG_TIMEOUT_MS / 1000:g} s; take a smaller picture, more workers or a quieter machine"
        )
    return result.ms
