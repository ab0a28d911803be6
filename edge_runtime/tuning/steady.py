"""When a device has become as warm and as slow as it will be."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

WINDOWS = 4
SAME_TIME_SHARE = 0.03
SAME_CLOCK_SHARE = 0.03
SAME_TEMPERATURE_K = 1.0


@dataclass(frozen=True)
class Window:
    """Some seconds under load: the median frame, and the device at their end."""

    frame_ms: float
    temperature_c: float | None = None
    clock_mhz: float | None = None


def is_steady(windows: Sequence[Window]) -> bool:
    """Whether frame time, temperature and clock stood still over the last `WINDOWS` windows; what is not told is not
    looked at."""
    last = windows[-WINDOWS:]
    if len(last) < WINDOWS:
        return False
    temperatures = [window.temperature_c for window in last if window.temperature_c is not None]
    clocks = [window.clock_mhz for window in last if window.clock_mhz is not None]
    return (
        _spread([window.frame_ms for window in last]) <= SAME_TIME_SHARE
        and (not clocks or _spread(clocks) <= SAME_CLOCK_SHARE)
        and (not temperatures or max(temperatures) - min(temperatures) <= SAME_TEMPERATURE_K)
    )


def _spread(values: Sequence[float]) -> float:
    return (max(values) - min(values)) / max(statistics.median(values), 1e-9)
