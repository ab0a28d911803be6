"""Settings and recipes: read once, bounded; a misspelt key is an error that names file, key and what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import tomli
from pydantic import Field, ValidationError, model_validator

from edge_runtime import values
from edge_runtime.errors import ConfigError
from edge_runtime.interfaces import Output
from edge_runtime.validation import StrictModel, describe

MAX_SIDE_PX = 8192
RING_PAGES_LIMIT_BYTES = 8 * 1024**3


class StationSettings(StrictModel):
    """Who this box is and where it keeps its data."""

    name: Annotated[str, Field(min_length=1, max_length=64)] = "station"
    data_dir: Path = Path("/var/lib/edge-runtime")


class SyntheticCameraSettings(StrictModel):
    """An endless, seeded line of painted boards."""

    driver: Literal["synthetic"]
    width_px: Annotated[int, Field(ge=64, le=MAX_SIDE_PX)] = 2048
    height_px: Annotated[int, Field(ge=64, le=MAX_SIDE_PX)] = 2048
    seed: Annotated[int, Field(ge=0)] = 1
    rate_hz: Annotated[float, Field(gt=0, le=1000)] | None = None
    distinct: Annotated[int, Field(ge=0, le=1000)] = 0
    parts: Annotated[int, Field(ge=1)] | None = None


class FolderCameraSettings(StrictModel):
    """Pictures of a folder, one picture, or a video file. The largest picture must fit width_px × height_px."""

    driver: Literal["folder"]
    path: Path
    width_px: Annotated[int, Field(ge=1, le=MAX_SIDE_PX)] = 2048
    height_px: Annotated[int, Field(ge=1, le=MAX_SIDE_PX)] = 2048
    rate_hz: Annotated[float, Field(gt=0, le=1000)] | None = None
    loop: bool = False


class OpenCvCameraSettings(StrictModel):
    """A V4L2 device, an RTSP or HTTP address, or a GStreamer pipeline (`gst:…`)."""

    driver: Literal["opencv"]
    source: Annotated[str, Field(min_length=1, max_length=2048)]
    width_px: Annotated[int, Field(ge=1, le=MAX_SIDE_PX)] = 1920
    height_px: Annotated[int, Field(ge=1, le=MAX_SIDE_PX)] = 1080
    rate_hz: Annotated[float, Field(gt=0, le=1000)] | None = None
    exposure: float | None = None
    pixel_format: Annotated[str, Field(pattern=r"^[A-Z0-9]{4}$")] | None = None


CameraSettings = Annotated[
    SyntheticCameraSettings | FolderCameraSettings | OpenCvCameraSettings, Field(discriminator="driver")
]


class InspectionSettings(StrictModel):
    """The model and the processes that run it."""

    bundle: Path
    backend: Literal["paddle_lite", "scripted"] = "paddle_lite"
    workers: Annotated[int, Field(ge=1, le=64)] = 2
    threads: Annotated[int, Field(ge=1, le=64)] = 1
    hang_timeout_ms: Annotated[float, Field(ge=100, le=60_000)] = 3000
    start_timeout_ms: Annotated[float, Field(ge=500, le=600_000)] = 30_000
    scripted_predict_ms: Annotated[float, Field(ge=0, le=10_000)] = 0
    scripted_busy: bool = False


class LineSettings(StrictModel):
    """Triggers, deadlines and the shared frames."""

    trigger: Literal["free_run", "serial", "gpio"] = "free_run"
    deadline_ms: Annotated[float, Field(ge=1, le=600_000)] = 2000
    deadline_guard_ms: Annotated[float, Field(ge=0, le=1000)] = 10
    capture_timeout_ms: Annotated[float, Field(ge=1, le=60_000)] = 1000
    camera_hang_timeout_ms: Annotated[float, Field(ge=100, le=120_000)] = 5000
    ring_slots: Annotated[int, Field(ge=2, le=64)] = 6
    heartbeat_ms: Annotated[float, Field(ge=50, le=60_000)] = 1000
    restarts_max: Annotated[int, Field(ge=0, le=1000)] = 10
    restarts_window_s: Annotated[float, Field(ge=1, le=86_400)] = 300
    realtime_priority: Annotated[int, Field(ge=0, le=80)] = 0

    @model_validator(mode="after")
    def _times_fit_each_other(self) -> LineSettings:
        if self.camera_hang_timeout_ms < self.capture_timeout_ms + 500:
            raise ValueError("camera_hang_timeout_ms must exceed capture_timeout_ms by at least 500")
        if self.deadline_guard_ms * 2 > self.deadline_ms:
            raise ValueError("deadline_guard_ms must be at most half of deadline_ms")
        return self


class SerialSettings(StrictModel):
    """The serial line to the controller; `port` is a path, best under /dev/serial/by-id/, or a pattern."""

    driver: Literal["serial", "recording"] = "serial"
    port: str = ""
    journal: Path | None = None
    baud_rate: Annotated[int, Field(ge=1200, le=921_600)] = 115_200
    acknowledge: bool = True
    ack_timeout_ms: Annotated[float, Field(ge=10, le=60_000)] = 200
    max_unacknowledged: Annotated[int, Field(ge=1, le=20_000)] = 2000

    @model_validator(mode="after")
    def _port_is_named(self) -> SerialSettings:
        if self.driver == "serial" and not self.port:
            raise ValueError("driver 'serial' needs a port, for example /dev/serial/by-id/usb-…")
        return self


class OutputLineSettings(StrictModel):
    """One output: kernel line name or offset, polarity, safe level (both by default fail-safe), pulse for a part."""

    line: Annotated[int, Field(ge=0)] | str
    active_low: bool | None = None
    safe_active: bool | None = None
    pulse_ms: Annotated[float, Field(gt=0, le=60_000)] = 50


class TriggerLineSettings(StrictModel):
    """The trigger input: kernel line name or offset, edge and debounce by the kernel."""

    line: Annotated[int, Field(ge=0)] | str
    edge: Literal["rising", "falling"] = "rising"
    bias: Literal["as_is", "disabled", "pull_up", "pull_down"] = "as_is"
    debounce_us: Annotated[int, Field(ge=0, le=1_000_000)] = 1000


class GpioSettings(StrictModel):
    """Digital lines. Outputs that are not listed are not driven."""

    driver: Literal["gpio", "recording"] = "gpio"
    chip: str = "/dev/gpiochip0"
    journal: Path | None = None
    outputs: dict[Output, OutputLineSettings] = Field(default_factory=dict)
    trigger: TriggerLineSettings | None = None


class ArchiveSettings(StrictModel):
    """Pictures: NG first, every n-th OK one, oldest OK ones deleted first when the budget is spent."""

    picture_budget_mb: Annotated[int, Field(ge=0, le=10_000_000)] = 2000
    free_mb_min: Annotated[int, Field(ge=0, le=10_000_000)] = 500
    keep_ok: Annotated[int, Field(ge=0, le=1_000_000)] = 200
    keep_ok_every: Annotated[int, Field(ge=0, le=1_000_000)] = 10
    max_pending_records: Annotated[int, Field(ge=100, le=1_000_000)] = 50_000


class ClassRuleSettings(StrictModel):
    """Limits for one defect class; see `values.ClassRule`."""

    min_score: Annotated[float, Field(ge=0, le=1)] = 0.0
    min_area_px: Annotated[float, Field(ge=0)] = 0.0
    min_area_mm2: Annotated[float, Field(ge=0)] | None = None
    max_count: Annotated[int, Field(ge=0)] = 0
    max_area_px: Annotated[float, Field(ge=0)] | None = None
    max_area_mm2: Annotated[float, Field(ge=0)] | None = None
    max_total_area_px: Annotated[float, Field(ge=0)] | None = None
    max_total_area_mm2: Annotated[float, Field(ge=0)] | None = None

    def value(self) -> values.ClassRule:
        return values.ClassRule(**self.model_dump())


Point = tuple[Annotated[float, Field(ge=0, le=MAX_SIDE_PX)], Annotated[float, Field(ge=0, le=MAX_SIDE_PX)]]
PolygonSettings = Annotated[tuple[Point, ...], Field(min_length=3, max_length=1000)]


class RecipeSettings(StrictModel):
    """What counts as a bad part."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = "default"
    mm_per_px: Annotated[float, Field(gt=0, le=100)] | None = None
    join_px: Annotated[int, Field(ge=0, le=256)] = 6
    default_rule: ClassRuleSettings = ClassRuleSettings()
    rules: dict[str, ClassRuleSettings] = Field(default_factory=dict)
    include: tuple[PolygonSettings, ...] = ()
    ignore: tuple[PolygonSettings, ...] = ()

    @model_validator(mode="after")
    def _areas_have_a_scale(self) -> RecipeSettings:
        if self.mm_per_px is None:
            for name, rule in [("default_rule", self.default_rule), *self.rules.items()]:
                in_mm2 = [key for key, value in rule if key.endswith("_mm2") and value is not None]
                if in_mm2:
                    raise ValueError(f"{name}.{in_mm2[0]} needs mm_per_px, the scale of the picture")
        return self

    def value(self) -> values.Recipe:
        return values.Recipe(
            name=self.name,
            mm_per_px=self.mm_per_px,
            join_px=self.join_px,
            default_rule=self.default_rule.value(),
            rules={name: rule.value() for name, rule in self.rules.items()},
            include=self.include,
            ignore=self.ignore,
        )


class Settings(StrictModel):
    """The whole of a settings file. Paths in it are relative to the file's folder."""

    station: StationSettings = StationSettings()
    camera: CameraSettings
    inspection: InspectionSettings
    line: LineSettings = LineSettings()
    serial: SerialSettings | None = None
    gpio: GpioSettings | None = None
    archive: ArchiveSettings = ArchiveSettings()
    recipe: RecipeSettings = RecipeSettings()

    @model_validator(mode="after")
    def _sections_fit_each_other(self) -> Settings:
        if self.line.trigger == "serial" and self.serial is None:
            raise ValueError("line.trigger 'serial' needs a [serial] section")
        if self.line.trigger == "gpio" and (self.gpio is None or self.gpio.trigger is None):
            raise ValueError("line.trigger 'gpio' needs a [gpio.trigger] section")
        ring_bytes = self.line.ring_slots * self.camera.width_px * self.camera.height_px * 5
        if ring_bytes > RING_PAGES_LIMIT_BYTES:
            raise ValueError(
                f"line.ring_slots × camera size needs {ring_bytes / 1e9:.1f} GB of shared memory, more than "
                f"{RING_PAGES_LIMIT_BYTES / 1e9:.1f} GB: take fewer slots"
            )
        return self


def load_settings(path: Path) -> Settings:
    """Read a settings file (TOML). `recipe` is a section, or `recipe = "FILE"`. Raises ConfigError."""
    data = _read_toml(path)
    if isinstance(data.get("recipe"), str):
        data["recipe"] = load_recipe(path.parent / data["recipe"]).model_dump(exclude_defaults=True)
    settings: Settings = _validate(Settings, data, path)
    return _with_absolute_paths(settings, path.parent.resolve())


def load_recipe(path: Path) -> RecipeSettings:
    """Read a recipe file (TOML). Raises ConfigError."""
    recipe: RecipeSettings = _validate(RecipeSettings, _read_toml(path), path)
    return recipe


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomli.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: cannot be read: {exc}") from exc
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
    station = settings.station.model_copy(update={"data_dir": folder / settings.station.data_dir})
    inspection = settings.inspection.model_copy(update={"bundle": folder / settings.inspection.bundle})
    sections: dict[str, StrictModel] = {"camera": camera, "station": station, "inspection": inspection}
    for name, port in (("serial", settings.serial), ("gpio", settings.gpio)):
        if port is not None and port.journal is not None:
            sections[name] = port.model_copy(update={"journal": folder / port.journal})
    return settings.model_copy(update=sections)
