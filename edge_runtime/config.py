"""Settings and recipes: read once, bounded; a misspelt key is an error that names file, key and what is allowed."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tomli
from pydantic import Field, ValidationError, model_validator

from edge_runtime.config_camera import BeltCameraSettings, CameraSettings, FolderCameraSettings
from edge_runtime.config_checks import check_ejection, check_gpio, check_modbus_trigger, check_serial
from edge_runtime.config_inspection import InspectionSettings
from edge_runtime.config_mqtt import MqttSettings
from edge_runtime.config_recipe import (
    NumberedRecipeSettings,
    RecipeCodeSettings,
    RecipeSettings,
    RecipesSettings,
)
from edge_runtime.config_signals import EjectionSettings, GpioSettings, ModbusSettings, SerialSettings, StopSettings
from edge_runtime.errors import ConfigError
from edge_runtime.interfaces import Input
from edge_runtime.validation import StrictModel, describe

RING_PAGES_LIMIT_BYTES = 8 * 1024**3
MAX_SETTINGS_BYTES = 128 * 1024


class StationSettings(StrictModel):
    """Who this box is and where it keeps its data."""

    name: str = Field(default="station", min_length=1, max_length=64, description="Name of this box")
    data_dir: Path = Field(default=Path("/var/lib/edge-runtime"), description="Records, pictures and snapshot.json")


class LineSettings(StrictModel):
    """Triggers, deadlines and the shared frames.

    `camera_hang_timeout_ms` exceeds `capture_timeout_ms` by at least 500, `deadline_guard_ms` is at most half of the
    deadline.
    """

    trigger: Literal["free_run", "serial", "gpio", "modbus"] = Field(
        default="free_run",
        description="Each picture, a TRG sentence, an edge of gpio.inputs.trigger, or the trigger register",
    )
    deadline_ms: float = Field(default=2000, ge=1, le=600_000, description="From trigger to verdict")
    deadline_guard_ms: float = Field(default=10, ge=0, le=1000, description="A part is given up this long before")
    capture_timeout_ms: float = Field(default=1000, ge=1, le=60_000, description="Wait this long for a part's picture")
    camera_hang_timeout_ms: float = Field(
        default=5000, ge=100, le=120_000, description="A camera process silent for longer is killed"
    )
    ring_slots: int = Field(default=6, ge=2, le=64, description="Pictures in shared memory at a time")
    heartbeat_ms: float = Field(default=1000, ge=50, le=60_000, description="Between two heartbeats, sentence and line")
    restarts_max: int = Field(
        default=10, ge=0, le=1000, description="Quick restarts of a child in the window; then one every 5 s"
    )
    restarts_window_s: float = Field(default=300, ge=1, le=86_400, description="Length of that window")
    takeover_timeout_s: float = Field(
        default=120, ge=1, le=3600, description="What a reload asks for is refused when it is not ready by then"
    )
    realtime_priority: int = Field(default=0, ge=0, le=80, description="SCHED_RR priority of the line; 0: none")

    @model_validator(mode="after")
    def _times_fit_each_other(self) -> LineSettings:
        if self.camera_hang_timeout_ms < self.capture_timeout_ms + 500:
            raise ValueError("camera_hang_timeout_ms must exceed capture_timeout_ms by at least 500")
        if self.deadline_guard_ms * 2 > self.deadline_ms:
            raise ValueError("deadline_guard_ms must be at most half of deadline_ms")
        return self


class ArchiveSettings(StrictModel):
    """Pictures: all of NG parts, some of OK parts. The oldest OK ones make room first. Records wait for the disk."""

    picture_budget_mb: int = Field(default=2000, ge=0, le=10_000_000, description="All pictures together")
    free_mb_min: int = Field(default=500, ge=0, le=10_000_000, description="With less free, none is written")
    keep_ok: int = Field(default=200, ge=0, le=1_000_000, description="Passed parts whose pictures are kept")
    keep_ok_every: int = Field(default=10, ge=0, le=1_000_000, description="Only every n-th of them; 0: none")
    max_pending_records: int = Field(
        default=50_000, ge=100, le=1_000_000, description="At this number nothing is inspected"
    )


@dataclass(frozen=True)
class NumberedRecipe:
    """A recipe and the folder of the model it is made for."""

    recipe: RecipeSettings
    bundle: Path


class Settings(StrictModel):
    """The whole of a settings file. Paths in it are relative to the file's folder."""

    station: StationSettings = StationSettings()
    camera: CameraSettings
    inspection: InspectionSettings
    line: LineSettings = LineSettings()
    serial: SerialSettings | None = None
    gpio: GpioSettings | None = None
    modbus: ModbusSettings | None = None
    ejection: EjectionSettings | None = None
    stop: StopSettings = StopSettings()
    mqtt: MqttSettings | None = None
    archive: ArchiveSettings = ArchiveSettings()
    recipe: RecipeSettings = RecipeSettings()
    recipes: RecipesSettings = Field(default_factory=dict)
    recipe_code: RecipeCodeSettings | None = None

    @model_validator(mode="after")
    def _sections_fit_each_other(self) -> Settings:
        if self.line.trigger == "serial" and self.serial is None:
            raise ValueError("line.trigger 'serial' needs a [serial] section")
        if self.line.trigger == "gpio" and (self.gpio is None or Input.TRIGGER not in self.gpio.inputs):
            raise ValueError("line.trigger 'gpio' needs a [gpio.inputs.trigger] section")
        if self.line.trigger == "modbus" and self.modbus is None:
            raise ValueError("line.trigger 'modbus' needs a [modbus] section")
        if self.line.trigger == "modbus" and self.modbus is not None:
            check_modbus_trigger(self.modbus)
        if self.ejection is not None:
            check_ejection(self.ejection, self.gpio, self.line.trigger, self.line.deadline_ms)
        if self.gpio is not None:
            check_gpio(self.gpio, self.line.trigger, self.ejection)
        if self.serial is not None:
            check_serial(self.serial, self.line.trigger, self.modbus)
        if self.mqtt is not None:
            self.mqtt.topics(self.station.name)
        self._check_recipes()
        if self.ring_bytes > RING_PAGES_LIMIT_BYTES:
            raise ValueError(
                f"line.ring_slots × camera size needs {self.ring_bytes / 1e9:.1f} GB of shared memory, more than "
                f"{RING_PAGES_LIMIT_BYTES / 1e9:.1f} GB: take fewer slots"
            )
        return self

    def _check_recipes(self) -> None:
        names = Counter(entry.recipe.name for entry in self.recipes.values())
        twice = [name for name, count in names.items() if count > 1]
        if twice:
            raise ValueError(f"recipes: two have the name {twice[0]!r}; records could not tell them apart")
        if self.recipe_code is None:
            return
        unknown = sorted(set(self.recipe_code.codes.values()) - set(self.numbered_recipes))
        if unknown:
            raise ValueError(f"recipe_code.codes names recipe {unknown[0]}, which [recipes] does not have")
        if self.gpio is not None and self.gpio.recipe_bits:
            raise ValueError("recipe_code and gpio.inputs.recipe_0 … both select the recipe: take one of them")

    @property
    def numbered_recipes(self) -> dict[int, NumberedRecipe]:
        """Every recipe and the folder of its bundle, by number; a single `recipe` has number 1."""
        if not self.recipes:
            return {1: NumberedRecipe(self.recipe, self.inspection.bundle)}
        entries = sorted(self.recipes.items())
        return {n: NumberedRecipe(entry.recipe, entry.bundle or self.inspection.bundle) for n, entry in entries}

    @property
    def ring_bytes(self) -> int:
        """Shared memory for pictures, masks and templates when every slot is in use."""
        with_template = any(each.recipe.template is not None for each in self.numbered_recipes.values())
        bytes_per_pixel = 6 if with_template else 5
        return self.line.ring_slots * self.camera.width_px * self.camera.height_px * bytes_per_pixel


def load_settings(path: Path) -> Settings:
    """Read a settings file (TOML). `recipe`, in `recipes.N` too, is a section or a file's name. Raises ConfigError."""
    return settings_of(read_text(path), path)


def settings_of(text: str, path: Path) -> Settings:
    """What `text` means as the content of the settings file `path`. Raises ConfigError."""
    data = _parsed_toml(text, path)
    if "recipe" in data and "recipes" in data:
        raise ConfigError(f"{path}: has both recipe and recipes; number that one, too: [recipes.1]")
    numbered = data.get("recipes", {})
    places = {f"recipes.{number}.": each for number, each in numbered.items()} if isinstance(numbered, dict) else {}
    for place, section in [("", data), *places.items()]:
        if isinstance(section, dict) and isinstance(section.get("recipe"), str):
            recipe = _recipe_file(path.parent / section["recipe"], f"{path}: {place}recipe")
            section["recipe"] = recipe.model_dump(exclude_defaults=True)
    settings: Settings = _validate(Settings, data, path)
    settings = _with_absolute_paths(settings, path.parent.resolve())
    _check_can_be_told(settings, path)
    return settings


def _check_can_be_told(settings: Settings, path: Path) -> None:
    """The children receive the settings as one JSON message."""
    try:
        size_bytes = len(settings.model_dump_json())
    except ValueError as exc:
        raise ConfigError(f"{path}: a path in it or to it is not UTF-8: {exc}; rename that file or folder") from exc
    if size_bytes > MAX_SETTINGS_BYTES:
        raise ConfigError(
            f"{path}: settings and recipe have {size_bytes} bytes, at most {MAX_SETTINGS_BYTES} are taken; "
            "draw the polygons with fewer points"
        )


def load_recipe(path: Path) -> RecipeSettings:
    """Read a recipe file (TOML). A template's path in it is relative to the file's folder. Raises ConfigError."""
    recipe: RecipeSettings = _validate(RecipeSettings, _parsed_toml(read_text(path), path), path)
    return _with_absolute_template(recipe, path.parent.resolve())


def _recipe_file(path: Path, named_by: str) -> RecipeSettings:
    if not os.path.exists(path):
        raise ConfigError(f"{path}: cannot be read: there is no such file; it is named by {named_by}")
    return load_recipe(path)


def _with_absolute_template(recipe: RecipeSettings, folder: Path) -> RecipeSettings:
    return recipe if recipe.template is None else recipe.model_copy(update={"template": folder / recipe.template})


def read_text(path: Path) -> str:
    """The text of a TOML file. Raises ConfigError."""
    if path.is_fifo() or path.is_char_device() or path.is_socket():
        what = "named pipe" if path.is_fifo() else "device or socket"
        raise ConfigError(f"{path}: cannot be read: it is a {what}; name a TOML file")
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc}") from exc


def _parsed_toml(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError as exc:
        raise ConfigError(f"{path}: not valid TOML: {exc}") from exc


def _validate(model: type[Any], data: dict[str, Any], path: Path) -> Any:
    try:
        return model.model_validate(data)
    except ValidationError as exc:
        raise ConfigError(f"{path}: {describe(exc)}") from exc


def _with_absolute_paths(settings: Settings, folder: Path) -> Settings:
    camera = settings.camera
    if isinstance(camera, FolderCameraSettings):
        camera = camera.model_copy(update={"path": folder / camera.path})
    elif isinstance(camera, BeltCameraSettings):
        camera = camera.model_copy(update={"script": folder / camera.script})
    station = settings.station.model_copy(update={"data_dir": folder / settings.station.data_dir})
    paths = {"bundle": settings.inspection.bundle, "onnxruntime_cache": settings.inspection.onnxruntime_cache}
    changes = {key: folder / path for key, path in paths.items() if path is not None}
    inspection = settings.inspection.model_copy(update=changes)
    recipe = _with_absolute_template(settings.recipe, folder)
    sections: dict[str, object] = {
        "camera": camera,
        "station": station,
        "inspection": inspection,
        "recipe": recipe,
        "recipes": {number: _absolute_entry(entry, folder) for number, entry in settings.recipes.items()},
    }
    if settings.serial is not None and settings.serial.journal is not None:
        sections["serial"] = settings.serial.model_copy(update={"journal": folder / settings.serial.journal})
    if settings.gpio is not None:
        files = {"journal": settings.gpio.journal, "feed": settings.gpio.feed}
        named = {key: folder / file for key, file in files.items() if file is not None}
        sections["gpio"] = settings.gpio.model_copy(update=named)
    if settings.mqtt is not None:
        sections["mqtt"] = _with_absolute_files(settings.mqtt, folder)
    return settings.model_copy(update=sections)


def _with_absolute_files(mqtt: MqttSettings, folder: Path) -> MqttSettings:
    def absolute(section: StrictModel) -> dict[str, Any]:
        return {key: folder / value for key, value in section if isinstance(value, Path)}

    tls = mqtt.tls and mqtt.tls.model_copy(update=absolute(mqtt.tls))
    return mqtt.model_copy(update={**absolute(mqtt), "tls": tls})


def _absolute_entry(entry: NumberedRecipeSettings, folder: Path) -> NumberedRecipeSettings:
    bundle = None if entry.bundle is None else folder / entry.bundle
    return entry.model_copy(update={"recipe": _with_absolute_template(entry.recipe, folder), "bundle": bundle})
