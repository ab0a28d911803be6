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
from edge_runtime.tuning.stand import OpenWorkers

if TYPE_CHECKING:
    from edge_runtime.runtime.pool import PoolResult


@dataclass(frozen=True)
class Figures:
    """Milliseconds but where a name says else. `tile_ms`: the predictor's time of one tile; `frames_per_s`: one picture
    after the other. `cores_used`: of `cores`, by the workers. `load`: the machine's, just before."""

    frames: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    tiles: float
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
    """Frames for so long; `tell` hears the share that is done. Raises InferenceError."""
    processors = sorted(os.sched_getaffinity(0))
    load, begin = os.getloadavg()[0], read_state(processors)
    results: list[PoolResult] = []
    cpu_s, began_s = workers.cpu_seconds(), time.monotonic()
    while (passed_s := time.monotonic() - began_s) < seconds or len(results) < 3:
        results.append(workers.inspect())
        tell(min(1.0, passed_s / seconds))
    wall_s, cpu_s = time.monotonic() - began_s, workers.cpu_seconds() - cpu_s
    times = [result.ms["frame"] for result in results]
    tiles = sum(result.tiles for result in results)
    return Figures(
        frames=len(times),
        seconds=wall_s,
        p50_ms=percentile(times, 50),
        p99_ms=percentile(times, 99),
        max_ms=max(times),
        tiles=tiles / len(times),
        tile_ms=sum(result.ms["predict"] for result in results) / max(1, tiles),
        frames_per_s=len(times) / wall_s,
        cores_used=cpu_s / wall_s,
        cores=len(processors),
        memory_mb=workers.memory_bytes() / 1e6,
        load=load,
        begin=begin,
        end=read_state(processors),
    )


def check_deadline(settings: Settings, figures: Figures) -> DeadlineCheck:
    """By the late frames, of which one in a hundred is later still."""
    return DeadlineCheck(settings.line.deadline_ms, settings.line.deadline_guard_ms, figures.p99_ms)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return round(value, 3) if isinstance(value, float) else value
