"""Where tasks run: the seam, and its implementation on this machine's cores."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any, Protocol, TypeVar

from edge_runtime.processes import die_with_parent
from tools.errors import ToolError
from tools.reinspection.inspector import check_worker, inspect_pictures
from tools.reinspection.values import InspectionSpec, Results, Task

Answer = TypeVar("Answer")
TRIES = 2


class Executor(Protocol):
    """Runs tasks on workers that may die at any moment.

    Synchronization: one thread owns it, and runs one iteration at a time.
    """

    def check(self) -> None:
        """Raise ToolError or BundleError unless the workers can inspect."""

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Results | None]]:
        """Each task with its results as it is done; None for one that took several workers with it.

        Takes tasks only as workers become free. What a worker raises is raised here.
        """

    def run_suspects(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Results | None]]:
        """Like `run`, with no doubt which task it was that a worker died of."""

    def close(self) -> None:
        """Give up what is running, at once."""


class LocalExecutor:
    """One process a worker, each a pool of its own: when it dies, the task it had is known."""

    def __init__(self, spec: InspectionSpec, workers: int) -> None:
        self._spec = spec
        self._workers = [_Worker() for _ in range(workers)]

    def check(self) -> None:
        try:
            self._workers[0].submit(partial(check_worker, self._spec)).result()
        except BrokenProcessPool as exc:
            raise ToolError(
                f"{self._spec.bundle_folder}: the predictor dies of the bundle's own golden tiles on this machine; "
                "try `edge-runtime bundle verify`, and convert the model again"
            ) from exc

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Results | None]]:
        return self._run(tasks, TRIES)

    def run_suspects(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Results | None]]:
        return self._run(tasks, 1)

    def _run(self, tasks: Iterable[Task], tries: int) -> Iterator[tuple[Task, Results | None]]:
        fresh = ((task, tries) for task in tasks)
        again: deque[tuple[Task, int]] = deque()
        idle = list(self._workers)
        running: dict[Future[Results], tuple[_Worker, Task, int]] = {}
        while True:
            while idle and (chosen := again.popleft() if again else next(fresh, None)):
                future = idle[-1].submit(partial(inspect_pictures, self._spec, chosen[0].paths))
                running[future] = (idle.pop(), *chosen)
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                worker, task, tries_left = running.pop(future)
                idle.append(worker)
                results = _results(future)
                if results is None and tries_left > 1:
                    again.append((task, tries_left - 1))
                else:
                    yield task, results

    def close(self) -> None:
        for worker in self._workers:
            worker.close()


def _results(future: Future[Results]) -> Results | None:
    try:
        return future.result()
    except BrokenProcessPool:
        return None


class _Worker:
    """A process that is started when needed, and anew when it has died."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._pid: Future[int] | None = None

    def submit(self, work: Callable[[], Answer]) -> Future[Answer]:
        if self._pool is None:
            self._start()
        assert self._pool is not None
        try:
            return self._pool.submit(work)
        except BrokenProcessPool:
            self._pool.shutdown()
            self._start()
            return self._pool.submit(work)

    def close(self) -> None:
        if self._pool is not None and self._pid is not None:
            if self._pid.done() and self._pid.exception() is None:
                _kill(self._pid.result())
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def _start(self) -> None:
        os.environ["OMP_NUM_THREADS"] = "1"
        context: Any = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, context, _begin_worker)
        self._pid = self._pool.submit(os.getpid)


def _begin_worker() -> None:
    """Ctrl-C is the tool's to answer, and a killed tool leaves no worker behind."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()


def _kill(pid: int) -> None:
    """A child of ours, if it still is one: its number may be another process's by now."""
    for child in multiprocessing.active_children():
        if child.pid == pid:
            child.kill()
