"""One simulation from its wish to its findings."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edge_runtime.camera.belt import write_script
from edge_runtime.clock import NS_PER_MS, NS_PER_S, SystemClock
from edge_runtime.config import load_settings
from edge_runtime.config_signals import InputLineSettings
from edge_runtime.errors import ConfigError
from edge_runtime.interfaces import Input
from edge_runtime.simulation.cable import Cable
from edge_runtime.simulation.daemon_settings import (
    CABLE_NAME,
    CONFIG_NAME,
    SCRIPT_NAME,
    Mode,
    fitting_settings,
    settings_of,
    with_simulated_hardware,
)
from edge_runtime.simulation.findings import Findings, find
from edge_runtime.simulation.gpio_sim import GpioSimWires
from edge_runtime.simulation.machine import START_IN_S, Machine, put_machine_first
from edge_runtime.simulation.plan import RunPlan, RunWish, plan_run
from edge_runtime.simulation.station import Station, new_folder, write_scripted_bundle
from edge_runtime.simulation.toml_text import to_toml
from edge_runtime.simulation.wires import RecordedWires, Wires


@dataclass(frozen=True)
class RunOptions:
    """A wish, and where the daemon's settings come from and its files go."""

    wish: RunWish
    mode: Mode
    trigger: Literal["gpio", "serial"]
    settings: Path | None
    keep: Path | None
    wires: Literal["recording", "gpio-sim"] = "recording"


def simulate(options: RunOptions, on_progress: Callable[[float, float], None]) -> Findings:
    """Run it in real time; `on_progress` gets seconds done and in all. Raises EdgeRuntimeError."""
    plan = plan_run(options.wish)
    with _folder(options.keep) as folder:
        sections, clock = sections_for(options), SystemClock()
        on_kernel = options.wires == "gpio-sim"
        wires = GpioSimWires(sections["gpio"], clock) if on_kernel else RecordedWires(folder)
        try:
            return _run(plan, sections, wires, folder, on_progress)
        finally:
            wires.close()


def sections_for(options: RunOptions) -> dict[str, Any]:
    """The daemon's settings without its hardware."""
    if options.settings is None:
        return fitting_settings(options.wish, options.mode, options.trigger)
    settings = load_settings(options.settings)
    sections = settings_of(settings, options.settings)
    has_eye = settings.ejection is not None and settings.ejection.has_eye
    if has_eye and not options.wish.second_eye_mm:
        raise ConfigError(f"{options.settings}: has a second photo-eye; say by --second-eye where it stands, in mm")
    if options.wish.second_eye_mm and not has_eye:
        raise ConfigError(f"--second-eye: {options.settings} has none; set ejection.eye_ms or eye_pulses")
    return sections


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        yield new_folder(keep)
        return
    with tempfile.TemporaryDirectory(prefix="edge-runtime-simulation-") as name:
        yield Path(name)


def _run(
    plan: RunPlan, sections: dict[str, Any], wires: Wires, folder: Path, on_progress: Callable[[float, float], None]
) -> Findings:
    bundle = write_scripted_bundle(folder / "bundle")
    config = folder / CONFIG_NAME
    config.write_text(
        to_toml(with_simulated_hardware(sections, wires.settings(sections["gpio"]), folder, bundle)), encoding="utf-8"
    )
    settings = load_settings(config)
    inputs = {Input(name): InputLineSettings.model_validate(each) for name, each in sections["gpio"]["inputs"].items()}
    debounce_s = {name: 0.0 if wires.debounces else each.debounce_us / 1e6 for name, each in inputs.items()}
    clock, station, cable = SystemClock(), Station(folder, config), Cable(folder / CABLE_NAME)
    machine = Machine(
        plan, station, cable, wires, clock, debounce_s=debounce_s,
        with_encoder=Input.ENCODER_A in inputs, serial_trigger=settings.line.trigger == "serial",
    )  # fmt: skip
    put_machine_first()
    try:
        machine.wait_until_ready()
        start_ns = clock.monotonic_ns() + round(START_IN_S * NS_PER_S)
        write_script(folder / SCRIPT_NAME, plan.script(start_ns))
        machine.run(start_ns, lambda done_s: on_progress(done_s, plan.end_s))
        machine.stop()
    finally:
        station.end()
        cable.pull()
    injector = machine.injector
    assert injector is not None
    beat_ns = round(settings.line.heartbeat_ms * NS_PER_MS)
    findings = find(
        plan, machine.seen, injector.windows, injector.times, wires.driven(), beat_ns,
        station.records(), machine.far_end.heard,
    )  # fmt: skip
    findings.daemon_starts = station.starts
    return findings
