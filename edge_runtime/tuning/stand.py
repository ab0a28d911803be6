"""The test stand: the daemon's own workers, run by one set-up after another, and what they cost."""

from __future__ import annotations

import itertools
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

import psutil

from edge_runtime.app import build_pool
from edge_runtime.config import Settings
from edge_runtime.config_inspection import InspectionSettings
from edge_runtime.errors import EdgeRuntimeError, InferenceError
from edge_runtime.tuning.material import Material
from edge_runtime.tuning.setups import Setup

if TYPE_CHECKING:
    from edge_runtime.runtime.pool import InspectionPool, PoolResult

log = logging.getLogger(__name__)
WARM_UP_FRAMES = 2
FRAMES_MIN = 3
MEMORY_KEPT_FREE = 0.25


def with_setup(settings: Settings, setup: Setup) -> Settings:
    """The settings of this set-up, checked anew."""
    inspection = InspectionSettings.model_validate({**settings.inspection.model_dump(), **setup.keys})
    return settings.model_copy(update={"inspection": inspection})


class OpenWorkers:
    """Workers that are ready; pictures go to them one after the other. Raises EdgeRuntimeError when one is lost."""

    def __init__(self, settings: Settings, mask_stride_px: int, material: Material) -> None:
        self._material = material
        self._images = itertools.cycle(material.images)
        self._pool: InspectionPool = build_pool(settings, mask_stride_px)
        try:
            self._pool.__enter__()
            for _ in range(WARM_UP_FRAMES):
                self.inspect()
        except BaseException:
            self.close()
            raise

    def inspect(self) -> PoolResult:
        """One frame. Raises InferenceError where it was not inspected: no figure is of that."""
        result = self._pool.inspect(next(self._images), self._material.template)
        if result.mask is None:
            raise InferenceError(f"a picture was not inspected: {', '.join(result.verdict.reasons)}")
        return result

    def frames_for(self, seconds: float) -> list[PoolResult]:
        """As many frames as fit, at least `FRAMES_MIN`."""
        until_s = time.monotonic() + seconds
        results = [self.inspect() for _ in range(FRAMES_MIN)]
        while time.monotonic() < until_s:
            results.append(self.inspect())
        return results

    def pace_s(self, seconds: float) -> float:
        """Seconds a frame when the next picture always waits."""
        return self._pool.pace_s(self._material.images[0], self._material.template, seconds)

    def cpu_seconds(self) -> float:
        """Processor time of all workers since their start."""
        times = [psutil.Process(pid).cpu_times() for pid in self._pool.pids]
        return float(sum(each.user + each.system for each in times))

    def memory_bytes(self) -> int:
        """Pages of the workers, each divided by the number of processes that have it."""
        return sum(int(psutil.Process(pid).memory_full_info().pss) for pid in self._pool.pids)

    def close(self) -> None:
        self._pool.__exit__()


class Stand:
    """Workers by set-up, opened at their first visit and kept open while there is memory for them.

    A set-up that cannot be opened or loses a worker is unusable from then on; `problems` says why. `worker_bytes`: what
    one of its workers had of the memory after its last visit.
    """

    def __init__(self, settings: Settings, mask_stride_px: int, material: Material) -> None:
        self.problems: dict[Setup, str] = {}
        self.worker_bytes: dict[Setup, int] = {}
        self._settings = settings
        self._mask_stride_px = mask_stride_px
        self._material = material
        self._open: OrderedDict[Setup, OpenWorkers] = OrderedDict()

    def __enter__(self) -> Stand:
        return self

    def __exit__(self, *exc: object) -> None:
        for setup in list(self._open):
            self.drop(setup)

    def frames_ms(self, setup: Setup, seconds: float) -> list[float] | None:
        """The time of each frame, from its request to its verdict; None: unusable."""
        return self._tried(setup, lambda workers: [result.ms["frame"] for result in workers.frames_for(seconds)])

    def pace_ms(self, setup: Setup, seconds: float) -> list[float] | None:
        """One value: the time a frame takes when the next picture always waits; None: unusable."""
        return self._tried(setup, lambda workers: [1000 * workers.pace_s(seconds)])

    def drop(self, setup: Setup) -> None:
        """End its workers, if there are any."""
        workers = self._open.pop(setup, None)
        if workers is not None:
            workers.close()

    def _tried(self, setup: Setup, work: Callable[[OpenWorkers], list[float]]) -> list[float] | None:
        if setup in self.problems:
            return None
        try:
            workers = self._workers(setup)
            times = work(workers)
            self.worker_bytes[setup] = workers.memory_bytes() // setup.workers
            return times
        except (EdgeRuntimeError, psutil.Error, OSError) as exc:
            self.problems[setup] = str(exc)
            self.drop(setup)
            return None

    def _workers(self, setup: Setup) -> OpenWorkers:
        if setup not in self._open:
            memory = psutil.virtual_memory()
            while self._open and memory.available < MEMORY_KEPT_FREE * memory.total:
                self.drop(next(iter(self._open)))
                memory = psutil.virtual_memory()
            self._open[setup] = OpenWorkers(with_setup(self._settings, setup), self._mask_stride_px, self._material)
        self._open.move_to_end(setup)
        return self._open[setup]
