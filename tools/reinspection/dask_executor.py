"""Tasks on an existing Dask cluster: the scheduler runs them again when a worker dies."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from typing import Any

from tools.errors import ToolError
from tools.reinspection.inspector import check_worker, inspect_pictures
from tools.reinspection.values import InspectionSpec, Results, Task

CONNECT_S = 5
CHECK_S = 120
STALL_S = 60
TASKS_A_THREAD = 3
IN_FLIGHT_MIN = 64
VERSIONS_THAT_MUST_AGREE = ("python", "distributed", "dask", "cloudpickle", "numpy")
ADVICE = (
    "start scheduler and workers with this environment in this repository's folder: `PYTHONPATH=. dask scheduler`, "
    "`PYTHONPATH=. dask worker tcp://HOST:8786 --nthreads 1 --nworkers CORES`"
)


class DaskExecutor:
    """The workers of the scheduler at `address`; bundle and archive have the same path on each of them.

    Raises ToolError within seconds when there is no scheduler or no worker, or when their versions differ from ours.
    """

    def __init__(self, spec: InspectionSpec, address: str) -> None:
        self._spec = spec
        self._address = address
        self._dask = _import_dask()
        self._client = _connect(self._dask, address)
        try:
            self._check_cluster()
        except BaseException:
            self.close()
            raise

    def check(self) -> None:
        """Every worker that is there now makes its predictor and runs the golden tiles."""
        futures = {
            worker: self._client.submit(check_worker, self._spec, workers=[worker], pure=False)
            for worker in self._worker_threads()
        }
        until_s = time.monotonic() + CHECK_S
        for worker, future in futures.items():
            self._checked(worker, future, until_s)

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Results | None]]:
        in_flight = max(IN_FLIGHT_MIN, TASKS_A_THREAD * sum(self._worker_threads().values()))
        return self._run(tasks, in_flight)

    def run_suspects(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Results | None]]:
        """One at a time in the whole cluster: the scheduler blames every task that a dead worker held."""
        return self._run(tasks, 1)

    def close(self) -> None:
        self._client.close(timeout=CONNECT_S)

    def _run(self, tasks: Iterable[Task], in_flight: int) -> Iterator[tuple[Task, Results | None]]:
        source = iter(tasks)
        running: dict[Any, Task] = {}
        while True:
            for task in islice(source, in_flight - len(running)):
                running[self._client.submit(inspect_pictures, self._spec, task.paths, pure=False)] = task
            if not running:
                return
            for future in self._finished(running):
                yield running.pop(future), self._results(future)

    def _finished(self, running: Mapping[Any, Task]) -> list[Any]:
        """At least one future that is done; ToolError when no worker is left to do any."""
        while True:
            try:
                return list(self._dask.wait(list(running), timeout=STALL_S, return_when="FIRST_COMPLETED").done)
            except self._dask.TimeoutError:
                if not self._worker_threads():
                    raise ToolError(
                        f"{self._address}: no worker is left; what is done is kept: start workers, then run the same "
                        "command again"
                    ) from None
            except (CancelledError, asyncio.CancelledError, OSError) as exc:
                raise self._lost(exc) from exc

    def _results(self, future: Any) -> Results | None:
        try:
            results: Results = future.result()
            return results
        except self._dask.KilledWorker:
            return None
        except (CancelledError, asyncio.CancelledError, OSError) as exc:
            raise self._lost(exc) from exc
        except ImportError as exc:
            raise ToolError(f"{self._address}: {exc}; {ADVICE}") from exc

    def _lost(self, exc: BaseException) -> ToolError:
        return ToolError(
            f"{self._address}: the scheduler is lost ({type(exc).__name__}); what is done is kept: run the same "
            "command again when it is back"
        )

    def _worker_threads(self) -> dict[str, int]:
        try:
            threads: dict[str, int] = self._client.nthreads()
            return threads
        except OSError as exc:
            raise self._lost(exc) from exc

    def _check_cluster(self) -> None:
        if not self._worker_threads():
            raise ToolError(f"{self._address}: the scheduler has no workers; {ADVICE}")
        conflicts = version_conflicts(self._client.get_versions())
        if conflicts:
            raise ToolError(f"{self._address}: {'; '.join(conflicts)}; {ADVICE}")
        self._check_code()

    def _check_code(self) -> None:
        """A worker that is sent what it cannot import ends itself, so it is asked first."""
        for who, run in (("the scheduler", self._client.run_on_scheduler), ("a worker", self._client.run)):
            try:
                found = run(find_spec, inspect_pictures.__module__)
            except ImportError:
                found = None
            if found is None or (isinstance(found, dict) and None in found.values()):
                raise ToolError(f"{self._address}: {who} cannot import {inspect_pictures.__module__}; {ADVICE}")

    def _checked(self, worker: str, future: Any, until_s: float) -> None:
        try:
            future.result(timeout=max(0.1, until_s - time.monotonic()))
        except self._dask.KilledWorker as exc:
            raise ToolError(
                f"{worker}: dies of the bundle's own golden tiles; run `edge-runtime bundle verify` there"
            ) from exc
        except self._dask.TimeoutError as exc:
            raise ToolError(f"{worker}: has not checked the bundle within {CHECK_S} s; look at its log") from exc
        except (ImportError, RuntimeError) as exc:
            raise ToolError(f"{worker}: {exc}; {ADVICE}") from exc
        except (CancelledError, asyncio.CancelledError, OSError) as exc:
            raise self._lost(exc) from exc


def version_conflicts(versions: Mapping[str, Any]) -> list[str]:
    """What `Client.get_versions` shows to differ between this tool and the scheduler or a worker, in words."""
    ours = versions["client"]["packages"]
    theirs = {"the scheduler": versions["scheduler"], **versions["workers"]}
    return [
        f"{package} is {found} on {who} and {_release(package, ours.get(package))} here"
        for who, info in theirs.items()
        for package in VERSIONS_THAT_MUST_AGREE
        if (found := _release(package, info["packages"].get(package))) != _release(package, ours.get(package))
    ]


def _release(package: str, version: str | None) -> str:
    """Python's patch releases and NumPy's agree with each other."""
    if package in ("python", "numpy") and version:
        return ".".join(version.split(".")[:2])
    return str(version)


def _import_dask() -> Any:
    try:
        return import_module("distributed")
    except ImportError as exc:
        raise ToolError("--cluster needs Dask: pip install 'edge-defect-runtime[cluster]'") from exc


def _connect(dask: Any, address: str) -> Any:
    if not re.fullmatch(r"[a-z]+://.+:\d+", address):
        raise ToolError(f"--cluster {address}: give the address that `dask scheduler` prints, tcp://HOST:8786")
    for name in ("distributed", "distributed.client", "distributed.utils"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what it reports is raised here, in our words
    try:
        return dask.Client(address, timeout=CONNECT_S)
    except (OSError, ValueError, RuntimeError, asyncio.TimeoutError) as exc:
        raise ToolError(
            f"{address}: no Dask scheduler answers within {CONNECT_S} s ({exc}); give the address that "
            "`dask scheduler` prints, tcp://HOST:8786"
        ) from exc
