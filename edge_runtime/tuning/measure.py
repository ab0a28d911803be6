"""What one set-up does on this device: time of a frame and of a tile, cores, memory, temperature."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from edge_runtime.config import Settings
from edge_runtime.device_state import DeviceState, read_state
from edge_runtime.tuning.search import percentile
from edge_runtime.tuning.stand import FRAMES_MIN, OpenWorkers

if TYPE_CHECKING:
    from edge_runtime.runtime.pool import PoolResult

ALONE_SHARE = 2 / 3


@dataclass(frozen=True)
class Figures:
    """Milliseconds but where a name says else.

    `frames` one after the other, over `seconds`. `tile_px`, `tile_ms`: side and predictor's time of one tile.
    `frames_per_s` and `cores_used`, of `cores`, by the workers while the next picture always waits. `load`: the
    machine's, just before.
    """

    frames: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    tiles: float
    tile_px: int
    tile_ms: float
    frames_per_s: float
    cores_used: float
    cores: int
    memory_mb: float
    load: float
    begin: DeviceState
    end: DeviceState

    def as_json(self) -> dict[str, Any]:
        return {key: _rounded(value) for key, value in asdict(self).items()}


@dataclass(frozen=True)
class DeadlineCheck:
    """Whether inspection leaves time for the rest of a part's way: `reserve_ms` is for exposure, camera and wire."""

    deadline_ms: float
    guard_ms: float
    frame_ms: float

    @property
    def reserve_ms(self) -> float:
        return self.deadline_ms - self.guard_ms - self.frame_ms

    @property
    def holds(self) -> bool:
        return self.reserve_ms > 0


def measure(workers: OpenWorkers, seconds: float, tell: Callable[[float], None]) -> Figures:
    """Frames one after the other for two thirds of the time, then as many as the workers can; `tell` hears the share
    that is done. Raises InferenceError."""
    processors = sorted(os.sched_getaffinity(0))
    load, begin = os.getloadavg()[0], read_state(processors)
    results: list[PoolResult] = []
    began_s = time.monotonic()
    while (passed_s := time.monotonic() - began_s) < seconds * ALONE_SHARE or len(results) < FRAMES_MIN:
        results.append(workers.inspect())
        tell(min(ALONE_SHARE, passed_s / seconds))
    alone_s = time.monotonic() - began_s
    pace_s, cores_used = _at_full_rate(workers, seconds * (1 - ALONE_SHARE))
    times = [result.ms["frame"] for result in results]
    tiles = sum(result.tiles for result in results)
    return Figures(
        frames=len(times),
        seconds=alone_s,
        p50_ms=percentile(times, 50),
        p99_ms=percentile(times, 99),
        max_ms=max(times),
        tiles=tiles / len(times),
        tile_px=results[-1].tile_px,
        tile_ms=sum(result.ms["predict"] for result in results) / max(1, tiles),
        frames_per_s=1 / pace_s,
        cores_used=cores_used,
        cores=len(processors),
        memory_mb=workers.memory_bytes() / 1e6,
        load=load,
        begin=begin,
        end=read_state(processors),
    )


def _at_full_rate(workers: OpenWorkers, seconds: float) -> tuple[float, float]:
    """Seconds a frame, and the cores that the workers used meanwhile."""
    began_s, cpu_s = time.monotonic(), workers.cpu_seconds()
    pace_s = workers.pace_s(seconds)
    return pace_s, (workers.cpu_seconds() - cpu_s) / (time.monotonic() - began_s)


def check_deadline(settings: Settings, figures: Figures) -> DeadlineCheck:
    """By the late frames, of which one in a hundred is later still."""
    return DeadlineCheck(settings.line.deadline_ms, settings.line.deadline_guard_ms, figures.p99_ms)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return round(value, 3) if isinstance(value, float) else value
