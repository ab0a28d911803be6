"""A job as a command: progress while it runs, one line or one JSON object at its end."""

from __future__ import annotations

import json
import os
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from tools.reinspection.executors import Executor, LocalExecutor
from tools.reinspection.run import Finished, Request, Watcher, reinspect
from tools.reinspection.values import InspectionSpec

DONE, INTERRUPTED = 0, 130


def run_in_terminal(request: Request, workers: int | None, cluster: str | None, as_json: bool) -> int:
    """Run a job on `workers` processes, by default one a core, or on the Dask scheduler at `cluster`; the exit code."""
    started_s = time.monotonic()
    console = Console(stderr=True)
    try:
        with _Bar(console) as watcher:
            finished = reinspect(request, lambda spec: _open_executor(spec, workers, cluster), watcher)
    except KeyboardInterrupt:
        console.print(
            f"stopped; what is done is kept in {request.out}: run the same command again to go on",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )
        return INTERRUPTED
    _show(finished, time.monotonic() - started_s, as_json)
    return DONE


def _open_executor(spec: InspectionSpec, workers: int | None, cluster: str | None) -> Executor:
    if cluster is None:
        return LocalExecutor(spec, workers or len(os.sched_getaffinity(0)))
    from tools.reinspection.dask_executor import DaskExecutor

    return DaskExecutor(spec, cluster)


def _show(finished: Finished, duration_s: float, as_json: bool) -> None:
    names = {each.class_id: each.name for each in finished.bundle.classes}
    summary = finished.summary.as_json(names)
    if as_json:
        about = {"out": str(finished.folder), "model_id": finished.bundle.model_id}
        figures = {"pictures_resumed": finished.pictures_resumed, "seconds": round(duration_s, 1)}
        print(json.dumps({**about, **summary, **figures}))
        return
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in summary["outcomes"].items())
    Console().print(
        f"{finished.folder / 'report.md'}: {outcomes}; {finished.summary.changed_count} verdicts changed",
        soft_wrap=True,
    )


class _Bar(Watcher):
    """Progress on the error stream, for a terminal alone."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task: TaskID | None = None

    def __enter__(self) -> _Bar:
        self._progress.start()
        self._task = self._progress.add_task("listing", total=None)
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def begin(self, pictures: int, done: int) -> None:
        self._update(description="inspecting", total=pictures, completed=done)

    def kept(self, pictures: int) -> None:
        self._update(advance=pictures)

    def combine(self) -> None:
        self._update(description="writing the tables")

    def _update(self, **what: object) -> None:
        if self._task is not None:
            self._progress.update(self._task, **what)  # type: ignore[arg-type]
