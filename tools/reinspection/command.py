"""The command `reinspect`, ready to be registered: `app.command()(reinspect)`."""

from __future__ import annotations

import json as json_module
import os
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from tools.reinspection.executors import Executor, LocalExecutor
from tools.reinspection.run import Finished, Request, Watcher
from tools.reinspection.run import reinspect as run_job
from tools.reinspection.values import InspectionSpec

INTERRUPTED = 130


def reinspect(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder, opt_models/NAME/VERSION.")],
    archive: Annotated[
        Path, typer.Argument(help="Folder tree of pictures, or a device's data_dir (records.sqlite and pictures/).")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the job, outside the archive; the same command goes on where it stopped.")
    ],
    recipe: Annotated[Path | None, typer.Option(help="Recipe file (TOML); default: every defect rejects.")] = None,
    template: Annotated[
        Path | None,
        typer.Option(
            help="Defect-free picture, for a model that takes one, or a folder with one of the same name for each, in "
            "the same subfolder or right in it; default: the recipe's."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Processes on this machine; default: one a core.")
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="tcp://HOST:PORT",
            help="Dask scheduler to work on instead. Bundle and archive must have the same absolute path on every "
            "worker; start scheduler and workers with the same environment and PYTHONPATH=. in this repository's "
            "folder, workers with `--nthreads 1`.",
        ),
    ] = None,
    chunk: Annotated[
        int, typer.Option(min=1, max=10_000, help="Pictures inspected, kept and, after a stop, repeated together.")
    ] = 32,
    overlays: Annotated[
        int, typer.Option(min=0, max=1000, help="Pictures to draw: changed verdicts first, then the most defective.")
    ] = 20,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Inspect an archive of any size with a bundle, as the device would: Parquet tables and a report.

    OUT gets pictures.parquet (a row a picture, with the old verdict and what changed for a device's records),
    defects.parquet (a row a defect), report.md, report.html and overlays. Ctrl-C, a crash or a power cut cost the
    chunks in work at most: run the same command again. A picture that cannot be read, or that kills its worker,
    is a row with an error.
    """
    request = Request(bundle, archive, out, recipe, template, chunk, overlays)
    started_s = time.monotonic()
    console = Console(stderr=True)
    try:
        with _Bar(console) as watcher:
            finished = run_job(request, lambda spec: _open_executor(spec, workers, cluster), watcher)
    except KeyboardInterrupt:
        console.print(f"stopped; what is done is kept in {out}: run the same command again to go on", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    _show(finished, time.monotonic() - started_s, json)


def _open_executor(spec: InspectionSpec, workers: int | None, cluster: str | None) -> Executor:
    if cluster is None:
        return LocalExecutor(spec, workers or len(os.sched_getaffinity(0)))
    from tools.reinspection.dask_executor import DaskExecutor

    return DaskExecutor(spec, cluster)


def _show(finished: Finished, duration_s: float, json: bool) -> None:
    names = {each.class_id: each.name for each in finished.bundle.classes}
    summary = finished.summary.as_json(names)
    if json:
        about = {"out": str(finished.folder), "model_id": finished.bundle.model_id}
        figures = {"pictures_resumed": finished.pictures_resumed, "seconds": round(duration_s, 1)}
        print(json_module.dumps({**about, **summary, **figures}))
        return
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in summary["outcomes"].items())
    Console().print(f"{finished.folder / 'report.md'}: {outcomes}; {finished.summary.changed_count} verdicts changed")


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
