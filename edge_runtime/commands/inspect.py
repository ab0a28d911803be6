"""`edge-runtime inspect`: verdicts on picture files, through the same workers as the daemon."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
from rich.console import Console
from rich.table import Table

from edge_runtime.app import build_pool
from edge_runtime.commands.templates import match_templates, read_template
from edge_runtime.config import LineSettings, Settings, load_recipe
from edge_runtime.config_camera import FolderCameraSettings
from edge_runtime.config_inspection import inspection_of
from edge_runtime.config_recipe import MAX_SIDE_PX, RecipeSettings
from edge_runtime.errors import CameraError, ConfigError, StorageError
from edge_runtime.files import write_atomically
from edge_runtime.inference.bundle import Bundle, load_bundle
from edge_runtime.pictures import PICTURE_SUFFIXES, picture_hw, read_picture
from edge_runtime.recipe_table import read_manifest
from edge_runtime.runtime.pool import InspectionPool, PoolResult
from edge_runtime.values import NO_TILES, Defect, Outcome, Recipe, TileCounts
from edge_runtime.vision.overlay import draw_overlay
from edge_runtime.vision.recipe_fit import check_recipe

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8

FILE_HANG_TIMEOUT_MS = 60_000.0


@dataclass(frozen=True)
class Finding:
    """What is printed of one picture."""

    picture: Path
    outcome: Outcome
    reasons: tuple[str, ...]
    defects: tuple[Defect, ...] = ()
    tiles: TileCounts = NO_TILES
    tile_px: int = 0
    engine: str = ""
    ms: dict[str, float] | None = None


def inspect_files(
    paths: list[Path],
    bundle_folder: Path,
    recipe_file: Path | None,
    template: Path | None,
    workers: int,
    overlays: Path | None,
    as_json: bool,
    backend: str = "paddle_lite",
) -> int:
    """Inspect and print; 0 all passed, 1 any reject, 2 any trouble. Raises ConfigError, BundleError, InferenceError,
    CameraError."""
    files = find_pictures(paths)
    bundle = load_bundle(bundle_folder)
    chosen_recipe = load_recipe(recipe_file) if recipe_file else RecipeSettings()
    settings = pool_settings(bundle_folder, chosen_recipe, workers, backend, common_hw(files))
    recipe = settings.recipe.value()
    check_recipe(recipe, {each.class_id: each.name for each in bundle.classes})
    templates = match_templates(files, template or settings.recipe.template, bundle.input_contract.template)
    report = _JsonReport(bundle) if as_json else _TableReport(bundle)
    outcomes = set()
    with build_pool(settings, bundle.mask_stride_px) as pool:
        for file in files:
            finding = _inspect_file(file, templates.get(file), pool, bundle, recipe, overlays)
            outcomes.add(finding.outcome)
            report.add(finding)
    report.end()
    return 2 if Outcome.NOT_INSPECTED in outcomes else int(Outcome.REJECT in outcomes)


def pool_settings(
    bundle_folder: Path,
    recipe: RecipeSettings,
    workers: int,
    backend: str = "paddle_lite",
    image_hw: tuple[int, int] | None = None,
) -> Settings:
    """Settings for inspecting single pictures without a line: of one size, whose tiles are planned, or of any.

    Raises ConfigError for an unknown backend, BundleError for a manifest that cannot be read.
    """
    inspection = inspection_of(bundle_folder.absolute(), backend)
    changes: dict[str, Any] = {"workers": workers, "hang_timeout_ms": FILE_HANG_TIMEOUT_MS}
    if image_hw is None:
        changes["tile_px"] = read_manifest(bundle_folder)[0].input.tile_px
    height_px, width_px = image_hw or (MAX_SIDE_PX, MAX_SIDE_PX)
    return Settings(
        camera=FolderCameraSettings(driver="folder", path=Path(), width_px=width_px, height_px=height_px),
        inspection=inspection.model_copy(update=changes),
        line=LineSettings(ring_slots=2),
        recipe=recipe,
    )


def common_hw(files: list[Path]) -> tuple[int, int] | None:
    """The size of all pictures; None: they differ, or one cannot be read, which its inspection will tell."""
    try:
        sizes = {picture_hw(file) for file in files}
    except CameraError:
        return None
    return sizes.pop() if len(sizes) == 1 else None


def find_pictures(paths: list[Path]) -> list[Path]:
    """The named files, and the pictures in the named folders in natural order. Raises ConfigError for none."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = [file for file in path.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES]
            if not inside:
                raise ConfigError(f"{path}: holds no picture ({', '.join(sorted(PICTURE_SUFFIXES))})")
            files += sorted(inside, key=_natural)
        elif path.exists():
            files.append(path)
        else:
            raise ConfigError(f"{path}: no such file or folder")
    return files


def _natural(path: Path) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]


def _inspect_file(
    file: Path, template_file: Path | None, pool: InspectionPool, bundle: Bundle, recipe: Recipe, overlays: Path | None
) -> Finding:
    try:
        image = read_picture(file)
        template = read_template(template_file, file, image.shape[:2]) if template_file else None
    except CameraError as exc:
        return Finding(file, Outcome.NOT_INSPECTED, (str(exc),))
    result = pool.inspect(image, template)
    if overlays is not None:
        write_overlay(overlays / f"{file.stem}-overlay.jpg", image, result, bundle, recipe)
    verdict = result.verdict
    ms = {stage: round(value, 2) for stage, value in result.ms.items()}
    means = result.tile_px, result.engine
    return Finding(file, verdict.outcome, verdict.reasons, verdict.defects, result.counts, *means, ms)


def write_overlay(path: Path, image: ImageU8, result: PoolResult, bundle: Bundle, recipe: Recipe) -> None:
    """The picture with defects drawn in, as JPEG. Raises StorageError."""
    verdict = result.verdict
    overlay = draw_overlay(image, verdict.defects, result.mask, bundle.classes, recipe, verdict.outcome)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, cv2.imencode(path.suffix, overlay)[1].tobytes())
    except OSError as exc:
        raise StorageError(f"{path}: cannot write the overlay: {exc}") from exc


def defect_json(defect: Defect, class_names: dict[int, str]) -> dict[str, Any]:
    return {
        "class": class_names[defect.class_id],
        "class_id": defect.class_id,
        "xyxy_px": list(defect.xyxy_px),
        "area_px": defect.area_px,
        "area_mm2": defect.area_mm2,
        "score": round(defect.score, 4),
    }


class _JsonReport:
    def __init__(self, bundle: Bundle) -> None:
        self._class_names = {each.class_id: each.name for each in bundle.classes}

    def add(self, finding: Finding) -> None:
        line = {
            "picture": str(finding.picture),
            "outcome": finding.outcome.value,
            "reasons": list(finding.reasons),
            "defects": [defect_json(defect, self._class_names) for defect in finding.defects],
            "tiles": finding.tiles.computed,
            "tiles_skipped": finding.tiles.skipped,
            "tiles_audited": finding.tiles.audited,
            "tiles_missed": finding.tiles.missed,
            "tile_px": finding.tile_px,
            "engine": finding.engine,
            "ms": finding.ms or {},
        }
        print(json.dumps(line), flush=True)

    def end(self) -> None:
        pass


class _TableReport:
    """Prints a table when all pictures are done, with a progress line on stderr until then."""

    def __init__(self, bundle: Bundle) -> None:
        self._status = Console(stderr=True).status("starting")
        self._status.start()
        self._table = Table(title=f"{bundle.model_id}")
        for column in ("picture", "outcome", "defects", "reasons", "tiles", "ms"):
            is_number = column in ("defects", "tiles", "ms")
            self._table.add_column(column, justify="right" if is_number else "left", overflow="fold")

    def add(self, finding: Finding) -> None:
        self._status.update(f"{finding.picture.name}: {finding.outcome.value}")
        color = {"PASS": "green", "REJECT": "red"}.get(finding.outcome.value, "yellow")
        frame_ms = f"{finding.ms['frame']:.0f}" if finding.ms else ""
        self._table.add_row(
            finding.picture.name,
            f"[{color}]{finding.outcome.value}[/]",
            str(len(finding.defects)),
            ", ".join(finding.reasons),
            _tiles_text(finding.tiles),
            frame_ms,
        )

    def end(self) -> None:
        self._status.stop()
        Console().print(self._table)


def _tiles_text(tiles: TileCounts) -> str:
    """Tiles computed, of all where some were skipped; a gate that was wrong is told."""
    text = f"{tiles.computed} of {tiles.computed + tiles.skipped}" if tiles.skipped else str(tiles.computed)
    return f"{text}, gate missed {tiles.missed}" if tiles.missed else text
