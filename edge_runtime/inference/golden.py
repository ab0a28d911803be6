"""Golden tiles: pictures whose right answer is known, and the comparison that tells whether a model still gives it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edge_runtime.errors import BundleError
from edge_runtime.values import DefectClass, Mask, check_picture

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8

SCORE_TOLERANCE = 2
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_GRAY, PNG_COLOR = 0, 2


@dataclass(frozen=True)
class GoldenTile:
    """A tile uint8 (tile_px, tile_px, 3) BGR and the mask the network must give for it.

    `template` uint8 (tile_px, tile_px) is grey and registered, and there exactly if the bundle's input has one.
    """

    picture: ImageU8
    mask: Mask
    template: ImageU8 | None = None

    def __post_init__(self) -> None:
        check_picture(self.picture)
        template = self.template
        if template is not None and (template.dtype != np.uint8 or template.shape != self.picture.shape[:2]):
            raise ValueError(
                f"a golden tile's template must be grey uint8 {self.picture.shape[:2]}, "
                f"not {template.dtype} {template.shape}"
            )


@dataclass(frozen=True)
class TileReport:
    """How one golden tile came out.

    `wrong_cells` counts the cells that are a defect in the answer or in the golden mask and differ in class;
    `max_score_difference` is over all cells, of 255; `equal_share` is the share of cells equal in both planes.
    `moved_share`: of cells that are wrong or whose score differs by more than 2. A tile passes when it is at most
    `allowed_share`.
    """

    file: str
    wrong_cells: int
    max_score_difference: int
    equal_share: float
    moved_share: float
    allowed_share: float

    @property
    def passed(self) -> bool:
        return self.moved_share <= self.allowed_share

    def __str__(self) -> str:
        return (
            f"{self.file}: {self.wrong_cells} defect cells of another class, scores differ by up to "
            f"{self.max_score_difference} of 255, {self.equal_share:.4%} of the cells equal, "
            f"{self.moved_share:.4%} moved"
        )


def compare(
    file: str, answer: Mask, golden: Mask, classes: Sequence[DefectClass], allowed_share: float = 0.0
) -> TileReport:
    """Judge an answer against the golden mask of the same shape."""
    same_class = answer.class_ids == golden.class_ids
    defective = _defective(answer, classes) | _defective(golden, classes)
    difference = np.abs(answer.scores.astype(np.int16) - golden.scores)
    wrong = defective & ~same_class
    return TileReport(
        file,
        wrong_cells=int(np.count_nonzero(wrong)),
        max_score_difference=int(difference.max()),
        equal_share=float(np.mean(same_class & (difference == 0))),
        moved_share=float(np.mean(wrong | (difference > SCORE_TOLERANCE))),
        allowed_share=allowed_share,
    )


def is_defective(mask: Mask, classes: Sequence[DefectClass]) -> bool:
    """Whether any cell reaches its class's threshold."""
    return bool(_defective(mask, classes).any())


def _defective(mask: Mask, classes: Sequence[DefectClass]) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Cells at or above their class's threshold; any score counts for a class that is not in the list."""
    thresholds = np.ones(256, np.uint16)
    thresholds[0] = 256
    for entry in classes:
        thresholds[entry.class_id] = entry.threshold
    return mask.scores >= thresholds[mask.class_ids]


def encode_png(image: ImageU8) -> bytes:
    """PNG of uint8 (H, W) or (H, W, 3) BGR."""
    return bytes(cv2.imencode(".png", image)[1])


def decode_png(data: bytes, side_px: int, channels: int, where: str) -> ImageU8:
    """The square picture of an 8-bit PNG, (side, side) or (side, side, 3) BGR; its head is checked before decoding."""
    color_type = PNG_COLOR if channels == 3 else PNG_GRAY
    expected = struct.pack(">IIBB", side_px, side_px, 8, color_type)
    if not data.startswith(PNG_SIGNATURE) or data[16:26] != expected:
        kind = "colour" if channels == 3 else "grey"
        raise BundleError(f"{where}: must be an 8-bit {kind} PNG of {side_px} x {side_px} px; pack the bundle anew")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR if channels == 3 else cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise BundleError(f"{where}: cannot be decoded as PNG; pack the bundle anew")
    return np.asarray(image, np.uint8)
