"""`edge-runtime check-config`: everything that can be known before a device is touched."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from edge_runtime.app import check_template
from edge_runtime.config import FolderCameraSettings, Settings, load_settings
from edge_runtime.errors import ConfigError
from edge_runtime.inference.bundle import load_bundle, machine_target
from edge_runtime.pictures import read_picture
from edge_runtime.vision.decision import check_recipe
from edge_runtime.vision.tiling import plan_grid


def check(config: Path) -> None:
    """Print what the settings amount to. Raises ConfigError, BundleError."""
    settings = load_settings(config)
    table = Table("", "", title=f"{config}: in order", show_header=False)
    for name, value in _summary(settings):
        table.add_row(name, value)
    Console().print(table)


def _summary(settings: Settings) -> list[tuple[str, str]]:
    bundle = load_bundle(settings.inspection.bundle)
    check_recipe(settings.recipe.value(), {each.class_id: each.name for each in bundle.classes})
    check_template(settings.recipe, bundle.input_contract.template)
    artefact = bundle.artefact_for(settings.inspection.target or machine_target())
    camera, line, contract = settings.camera, settings.line, bundle.input_contract
    grid = plan_grid((camera.height_px, camera.width_px), contract.tile_px, contract.margin_px, contract.stride_px)
    return [
        ("station", f"{settings.station.name}, data in {settings.station.data_dir}"),
        ("camera", f"{camera.driver}, {camera.width_px} × {camera.height_px}, {len(grid)} tiles of {grid.tile_px} px"),
        ("model", f"{bundle.model_id}, {artefact.file}, {settings.inspection.workers} workers"),
        ("recipe", f"{settings.recipe.name}: {', '.join(sorted(settings.recipe.rules)) or 'one rule for all classes'}"),
        ("template", _template(settings)),
        ("trigger", f"{line.trigger}, verdict within {line.deadline_ms:.0f} ms"),
        ("serial", f"{settings.serial.driver} {settings.serial.port}".strip() if settings.serial else "none"),
        ("gpio", _gpio(settings)),
        ("memory", f"frame ring of {line.ring_slots} slots, at most {settings.ring_bytes / 1e6:.0f} MB"),
    ]


def _template(settings: Settings) -> str:
    """Raises CameraError for a file that is no picture, ConfigError for a size that no picture will have."""
    path, camera = settings.recipe.template, settings.camera
    if path is None:
        return "none"
    height_px, width_px = read_picture(path).shape[:2]
    fits = (width_px, height_px) == (camera.width_px, camera.height_px)
    if isinstance(camera, FolderCameraSettings):
        fits = width_px * height_px <= camera.width_px * camera.height_px
    if not fits:
        raise ConfigError(
            f"template {path} is {width_px} x {height_px} px, the camera gives {camera.width_px} x {camera.height_px} "
            "px; save one of its own pictures"
        )
    return f"{path}, {width_px} × {height_px}"


def _gpio(settings: Settings) -> str:
    if settings.gpio is None:
        return "none"
    outputs = ", ".join(output.value for output in settings.gpio.outputs) or "no outputs"
    return f"{settings.gpio.driver} {settings.gpio.chip}: {outputs}"
