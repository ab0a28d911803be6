"""`edge-runtime bench`: what this device needs for a frame, by the daemon's own workers. No wire is touched."""

from __future__ import annotations

import json
import os
import platform
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from edge_runtime.commands.daemon_watch import refuse_beside_daemon
from edge_runtime.commands.inspect import find_pictures, pool_settings
from edge_runtime.config import Settings, load_settings
from edge_runtime.config_inspection import InspectionSettings, inspection_of
from edge_runtime.config_recipe import MAX_SIDE_PX, RecipeSettings
from edge_runtime.errors import ConfigError
from edge_runtime.fastest_engine import Use, told_engine
from edge_runtime.inference.bundle import Bundle, load_bundle
from edge_runtime.pictures import picture_hw
from edge_runtime.processors import check_online
from edge_runtime.tuning.material import Material, from_folder, made_up
from edge_runtime.tuning.measure import DeadlineCheck, Figures, check_deadline, measure
from edge_runtime.tuning.neighbour import neighbour
from edge_runtime.tuning.stand import OpenWorkers

MIN_SIDE_PX, UNSAID_PX = 64, 2048


@dataclass(frozen=True)
class BenchOptions:
    """What the command line asked for. `settings` or `bundle`; `frame_hw` None: the camera's size."""

    settings: Path | None
    bundle: Path | None
    backend: str | None
    precision: str
    workers: int | None
    threads: int | None
    frame_hw: tuple[int, int] | None
    pictures: Path | None
    reserve: float
    force: bool


@dataclass(frozen=True)
class Subject:
    """What is measured: settings, the bundle of their first recipe, and pictures."""

    settings: Settings
    bundle: Bundle
    material: Material

    @property
    def use(self) -> Use:
        """All that the settings have the bundle do."""
        return Use.of(self.settings, _first_folder(self.settings))


def run_bench(options: BenchOptions, seconds: float, as_json: bool) -> bool:
    """Measure and print; whether the deadline holds. Raises ConfigError, BundleError, InferenceError."""
    if not options.force:
        refuse_beside_daemon()
    subject = subject_of(options)
    settings, bundle = subject.settings, subject.bundle
    with progress() as bar, neighbour(options.reserve):
        task = bar.add_task("starting the workers", total=1.0)
        workers = OpenWorkers(settings, bundle.mask_stride_px, subject.material)
        try:
            bar.update(task, description="measuring")
            figures = measure(workers, seconds, lambda share: bar.update(task, completed=share))
        finally:
            workers.close()
    deadline = check_deadline(settings, figures) if options.settings else None
    if as_json:
        print(json.dumps(_json(subject, options, figures, deadline)))
    else:
        Console().print(_table(subject, figures, deadline))
    return deadline is None or deadline.holds


def subject_of(options: BenchOptions) -> Subject:
    """Settings, bundle and pictures as wished, checked; from now on the workers tell their troubles only.

    Raises ConfigError, BundleError, CameraError.
    """
    os.environ.setdefault("EDGE_RUNTIME_LOG", "WARNING")
    settings = _settings(options)
    check_online(settings.inspection.cpu_affinity)
    bundle = load_bundle(_first_folder(settings))
    with_template = bundle.input_contract.template
    if options.pictures is not None:
        return Subject(settings, bundle, from_folder(options.pictures, settings, with_template))
    image_hw = (settings.camera.height_px, settings.camera.width_px)
    return Subject(settings, bundle, made_up(image_hw, with_template))


def frame_hw_of(text: str) -> tuple[int, int]:
    """Height and width in "2448x2048", width first. Raises ConfigError."""
    match = re.fullmatch(r"(\d{2,5})[x×](\d{2,5})", text.strip(), re.ASCII)
    width_px, height_px = (int(match[1]), int(match[2])) if match else (0, 0)
    if not (MIN_SIDE_PX <= width_px <= MAX_SIDE_PX and MIN_SIDE_PX <= height_px <= MAX_SIDE_PX):
        raise ConfigError(
            f"--frame-size {text!r}: must be WIDTHxHEIGHT, each {MIN_SIDE_PX} to {MAX_SIDE_PX} pixels, as 2448x2048"
        )
    return height_px, width_px


def progress() -> Progress:
    """On standard error where that is a terminal, and gone afterwards."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def machine_json() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "cores": len(os.sched_getaffinity(0)),
    }


def _settings(options: BenchOptions) -> Settings:
    if options.settings is not None:
        settings = load_settings(options.settings)
        wished = {"backend": options.backend, "workers": options.workers, "threads": options.threads}
        keys = {key: value for key, value in wished.items() if value is not None}
        settings = settings.model_copy(update={"inspection": _changed(settings.inspection, keys)})
        frame_hw = options.frame_hw
    else:
        assert options.bundle is not None
        inspection = inspection_of(options.bundle.absolute(), options.backend or "auto", None, options.precision)
        pictures = find_pictures([options.pictures]) if options.pictures else []
        frame_hw = options.frame_hw or (picture_hw(pictures[0]) if pictures else (UNSAID_PX, UNSAID_PX))
        settings = pool_settings(options.bundle, RecipeSettings(), options.workers or 2, image_hw=frame_hw)
        keys = {"workers": options.workers or 2, "threads": options.threads or 1, "hang_timeout_ms": 60_000}
        settings = settings.model_copy(update={"inspection": _changed(inspection, keys)})
    if frame_hw is None:
        return settings
    camera = settings.camera.model_copy(update={"height_px": frame_hw[0], "width_px": frame_hw[1]})
    return settings.model_copy(update={"camera": camera})


def _first_folder(settings: Settings) -> Path:
    """The first recipe's bundle, as the settings name it."""
    return next(iter(settings.numbered_recipes.values())).bundle


def _changed(inspection: InspectionSettings, keys: dict[str, Any]) -> InspectionSettings:
    try:
        return InspectionSettings.model_validate({**inspection.model_dump(), **keys})
    except ValueError as exc:
        raise ConfigError(f"these options do not fit the settings: {exc}") from exc


def _engine(subject: Subject) -> str:
    inspection = subject.settings.inspection
    told = told_engine(inspection, subject.bundle, subject.use, subject.settings.station.data_dir)
    return told if inspection.openvino_precision == "f32" else f"{told} in {inspection.openvino_precision}"


def _json(subject: Subject, options: BenchOptions, figures: Figures, deadline: DeadlineCheck | None) -> dict[str, Any]:
    inspection, (height_px, width_px) = subject.settings.inspection, subject.material.image_hw
    return {
        **machine_json(),
        "model": subject.bundle.model_id,
        "engine": _engine(subject),
        "picture_px": [width_px, height_px],
        "workers": inspection.workers,
        "threads": inspection.threads,
        "cpu_affinity": list(inspection.cpu_affinity),
        "reserve_cores": options.reserve,
        **figures.as_json(),
        "deadline": deadline and {**asdict(deadline), "reserve_ms": deadline.reserve_ms, "holds": deadline.holds},
    }


def _table(subject: Subject, figures: Figures, deadline: DeadlineCheck | None) -> Table:
    inspection, (height_px, width_px) = subject.settings.inspection, subject.material.image_hw
    where = f", CPUs {' | '.join(inspection.cpu_affinity)}" if inspection.cpu_affinity else ""
    table = Table("", "", title=f"{subject.bundle.model_id}, {width_px} × {height_px} px", show_header=False)
    for row in [
        ("engine", _engine(subject)),
        ("set-up", f"{inspection.workers} workers × {inspection.threads} threads{where}"),
        (
            "frame",
            f"p50 {figures.p50_ms:.1f}, p99 {figures.p99_ms:.1f}, max {figures.max_ms:.1f} ms ({figures.frames})",
        ),
        ("tiles", f"{figures.tiles:g} a frame, of {figures.tile_px} px, {figures.tile_ms:.1f} ms each"),
        ("rate", f"{figures.frames_per_s:.2f} frames/s while the next picture always waits"),
        (
            "cores",
            f"{figures.cores_used:.2f} of {figures.cores} used by the workers then, load {figures.load:.2f} before",
        ),
        ("memory", f"{figures.memory_mb:.0f} MB, workers with their share of the frame ring"),
        ("at begin", str(figures.begin)),
        ("at end", str(figures.end)),
        *([("deadline", _told(deadline))] if deadline else []),
    ]:
        table.add_row(*row)
    return table


def _told(deadline: DeadlineCheck) -> str:
    given = f"{deadline.deadline_ms:.0f} ms less {deadline.guard_ms:.0f} ms guard"
    if deadline.holds:
        return f"[green]holds[/]: of {given}, {deadline.reserve_ms:.0f} ms are left for exposure, camera and wire"
    return f"[red]does not hold[/]: inspection alone takes {-deadline.reserve_ms:.0f} ms more than {given}"
