"""`train`: checks the data, trains, shows progress, keeps a CSV log."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edge_runtime.files import write_atomically
from tools.dataset import check_pictures, load_dataset, same_classes
from tools.errors import ToolError
from tools.replicas import StepReport, train
from tools.runs import TrainSettings, load_checkpoint, load_settings, only_trainer, save_settings

LOG_COLUMNS = ("step", "loss", "rate", "mean_iou", "elapsed_s")
LOG_EVERY = 10


def start_run(run: Path, settings: TrainSettings) -> TrainSettings:
    """Check data and folder, then write the settings. Raises ToolError before anything is computed."""
    if (run / "settings.json").exists():
        raise ToolError(f"{run}: holds a run already; go on with --resume or choose another --out")
    check_data(settings)
    save_settings(run, settings)
    return settings


def resume_run(run: Path) -> TrainSettings:
    """The settings of a stopped run, its log cut back to its checkpoint."""
    settings = load_settings(run)
    check_data(settings)
    step = load_checkpoint(run).step
    with only_trainer(run):
        kept = [row for row in _read_log(run / "log.csv") if int(row["step"]) <= step]
        lines = [",".join(LOG_COLUMNS), *(",".join(row[name] for name in LOG_COLUMNS) for row in kept)]
        write_atomically(run / "log.csv", "\n".join([*lines, ""]).encode())
    return settings


def check_data(settings: TrainSettings) -> None:
    datasets = [load_dataset(Path(source.folder)) for source in settings.data]
    names = same_classes(datasets)
    if len(names) + 1 != settings.shape.class_count:
        raise ToolError(f"the network has {settings.shape.class_count - 1} defect classes, the data {len(names)}")
    for dataset in datasets:
        check_pictures(dataset)
        if len(dataset.pictures) < 2:
            raise ToolError(f"{dataset.folder}: one picture; at least two are needed, one of them is held out")


def run_training(run: Path, settings: TrainSettings, resume: bool, console: Console) -> float:
    """Train to the end with a progress bar; returns the final mean IoU on the held-out pictures.

    Raises ToolError when a replica dies or the user stops it; the last checkpoint stays.
    """
    with only_trainer(run):
        final = _train_with_progress(run, settings, resume, console)
    result = {"steps": settings.steps, "holdout_mean_iou": round(final, 4)}
    write_atomically(run / "result.json", json.dumps(result).encode() + b"\n")
    return final


def _train_with_progress(run: Path, settings: TrainSettings, resume: bool, console: Console) -> float:
    reports = _logged(run / "log.csv", train(settings, run, resume), append=resume)
    done = load_checkpoint(run).step if resume else 0
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
    )
    final = 0.0
    try:
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("training", total=settings.steps, completed=done, loss=float("nan"))
            for report in reports:
                progress.update(task, completed=report.step, loss=report.loss)
                if report.mean_iou is not None:
                    final = report.mean_iou
                    console.print(f"step {report.step}: mean IoU {final:.3f} on the held-out pictures")
    except KeyboardInterrupt as exc:
        raise ToolError(f"{run}: stopped; go on from its last checkpoint with --resume") from exc
    return final


def _logged(path: Path, reports: Iterable[StepReport], append: bool) -> Iterator[StepReport]:
    began_s = time.monotonic()
    with path.open("a" if append else "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        if not append:
            writer.writerow(LOG_COLUMNS)
        for report in reports:
            if report.step % LOG_EVERY == 0 or report.mean_iou is not None:
                iou = "" if report.mean_iou is None else f"{report.mean_iou:.4f}"
                elapsed_s = f"{time.monotonic() - began_s:.1f}"
                writer.writerow((report.step, f"{report.loss:.5f}", f"{report.rate:.6f}", iou, elapsed_s))
                stream.flush()
            yield report


def _read_log(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return [row for row in csv.DictReader(stream) if all(row.get(name) is not None for name in LOG_COLUMNS)]
