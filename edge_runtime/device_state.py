"""How warm and how fast this device is right now, as its kernel tells; what it does not tell is left out."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

SYSFS = Path("/sys")
_ACCELERATOR = re.compile(r"npu|gpu|ga10b|gv11b|nvdla", re.IGNORECASE)
_NPU_LOAD = Path("kernel/debug/rknpu/load")


@dataclass(frozen=True)
class DeviceState:
    """A moment of the device.

    `temperature_c` of the hottest sensor, `sensor` its name. `clock_mhz`: mean over the processors. `cooling`: what
    holds the device back now, as the kernel names it. `accelerators`: clocks in MHz. `npu_load`: in its driver's words.
    """

    temperature_c: float | None = None
    sensor: str = ""
    clock_mhz: float | None = None
    cooling: tuple[str, ...] = ()
    accelerators: dict[str, float] = field(default_factory=dict)
    npu_load: str = ""

    def __str__(self) -> str:
        parts = [] if self.temperature_c is None else [f"{self.temperature_c:.1f} °C ({self.sensor})"]
        parts += [] if self.clock_mhz is None else [f"{self.clock_mhz:.0f} MHz"]
        parts += [f"{name} {mhz:.0f} MHz" for name, mhz in self.accelerators.items()]
        parts += [self.npu_load] if self.npu_load else []
        parts += [f"held back by {', '.join(self.cooling)}"] if self.cooling else []
        return ", ".join(parts) or "no sensor tells"


def read_state(processors: Iterable[int], sysfs: Path = SYSFS) -> DeviceState:
    """The state now; the clock is that of `processors`."""
    sensor, temperature_c = _hottest(sysfs)
    return DeviceState(
        temperature_c,
        sensor,
        _clock_mhz(processors, sysfs),
        tuple(sorted(_cooling(sysfs))),
        _accelerators(sysfs),
        _text(sysfs / _NPU_LOAD),
    )


def _hottest(sysfs: Path) -> tuple[str, float | None]:
    readings: dict[str, float] = {}
    for zone in (sysfs / "class/thermal").glob("thermal_zone*"):
        millidegrees = _number(zone / "temp")
        if millidegrees is not None:
            readings[_text(zone / "type") or zone.name] = millidegrees / 1000
    if not readings and sysfs == SYSFS:
        found = psutil.sensors_temperatures()
        readings = {each.label or chip: each.current for chip, sensors in found.items() for each in sensors}
    if not readings:
        return "", None
    sensor = max(readings, key=lambda name: readings[name])
    return sensor, readings[sensor]


def _clock_mhz(processors: Iterable[int], sysfs: Path) -> float | None:
    folder = sysfs / "devices/system/cpu"
    clocks_khz = [_number(folder / f"cpu{number}/cpufreq/scaling_cur_freq") for number in processors]
    known = [khz for khz in clocks_khz if khz is not None]
    return statistics.fmean(known) / 1000 if known else None


def _cooling(sysfs: Path) -> Iterable[str]:
    """Names of the cooling devices at work; a fan is no restraint."""
    for device in (sysfs / "class/thermal").glob("cooling_device*"):
        name, state = _text(device / "type"), _number(device / "cur_state")
        if state and not re.search(r"fan|powerclamp", name, re.IGNORECASE):
            yield name


def _accelerators(sysfs: Path) -> dict[str, float]:
    found = {}
    for device in sorted((sysfs / "class/devfreq").glob("*")):
        hz = _number(device / "cur_freq")
        if _ACCELERATOR.search(device.name) and hz is not None:
            found[device.name] = hz / 1e6
    return found


def _number(path: Path) -> float | None:
    try:
        return float(_text(path))
    except ValueError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
