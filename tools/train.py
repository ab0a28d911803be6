"""`train`: checks the data, trains, shows progress, keeps a log."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edge_runtime.files import write_atomically
from tools.dataset import check_every_class_occurs, check_pictures, load_dataset, same_classes
from tools.engines import check_engine, is_frozen
from tools.errors import ToolError
from tools.graph import Graph, Weights
from tools.network_file import load_network, save_network
from tools.replicas import train
from tools.runs import (
    START_NAME,
    TEACHER_NAME,
    TrainSettings,
    load_checkpoint,
    load_settings,
    only_trainer,
    save_settings,
)
from tools.training_log import cut_log, logged

NetworkAndWeights = tuple[Graph, Weights]


def start_run(
    run: Path, settings: TrainSettings, start: NetworkAndWeights, teacher: NetworkAndWeights | None = None
) -> TrainSettings:
    """Check data, networks and folder, then write the settings. Raises ToolError before anything is computed."""
    if (run / "settings.json").exists():
        raise ToolError(f"{run}: holds a run already; go on with --resume or choose another --out")
    if (settings.distillation is None) != (teacher is None):
        raise ToolError("distillation needs a teacher, and a teacher needs distillation settings")
    check_engine(settings.engine)
    check_start(settings, start[0], teacher[0] if teacher else None)
    if teacher is not None:
        save_network(run / TEACHER_NAME, *teacher)
    save_network(run / START_NAME, *start)
    save_settings(run, settings)
    return settings


def check_start(settings: TrainSettings, graph: Graph, teacher: Graph | None) -> None:
    """Raise DatasetError or ToolError unless data, settings, network and teacher fit each other."""
    check_data(settings, graph)
    check_network(settings, graph)
    if teacher is not None:
        check_network(settings, teacher)
        _check_same_answer(graph, teacher)


def resume_run(run: Path) -> TrainSettings:
    """The settings of a stopped run, its log cut back to its checkpoint."""
    settings = load_settings(run)
    check_data(settings, load_network(run / START_NAME)[0])
    step = load_checkpoint(run).step
    with only_trainer(run):
        cut_log(run, step)
    return settings


def check_data(settings: TrainSettings, graph: Graph) -> None:
    """Raise DatasetError or ToolError unless every picture is readable, labelled and of the network's classes."""
    datasets = [load_dataset(Path(source.folder)) for source in settings.data]
    names = same_classes(datasets)
    if len(names) + 1 != graph.class_count:
        raise ToolError(f"the network has {graph.class_count - 1} defect classes, the data {len(names)}")
    for dataset in datasets:
        if len(dataset.pictures) < 2:
            raise ToolError(f"{dataset.folder}: one picture; at least two are needed, one of them is held out")
    check_every_class_occurs([dataset.split(settings.holdout_every)[0] for dataset in datasets])
    for dataset in datasets:
        check_pictures(dataset, settings.template)


def check_network(settings: TrainSettings, graph: Graph) -> None:
    """Raise ToolError when the network cannot be trained with these settings."""
    planes = 2 if settings.template else 1
    if graph.input_channels != planes:
        raise ToolError(f"the network takes {graph.input_channels} input channels, the settings give {planes}")
    if settings.crop_px % graph.total_stride_px:
        raise ToolError(f"crop {settings.crop_px} px must be a multiple of the total stride {graph.total_stride_px} px")
    settings.weights_of_classes(graph.class_count)
    for pattern in settings.frozen:
        if not any(is_frozen(node.name, (pattern,)) for node in graph):
            raise ToolError(
                f"frozen: no node is called {pattern!r}; nodes are {', '.join(n.name for n in graph)[:400]}"
            )


def _check_same_answer(student: Graph, teacher: Graph) -> None:
    if (student.class_count, student.output_stride_px) != (teacher.class_count, teacher.output_stride_px):
        raise ToolError(
            f"the teacher answers {teacher.class_count} classes at stride {teacher.output_stride_px}, the network "
            f"{student.class_count} at stride {student.output_stride_px}; they must be equal"
        )


def run_training(run: Path, settings: TrainSettings, resume: bool, console: Console) -> float:
    """Train to the end with a progress bar; returns the final mean IoU on the held-out pictures.

    Raises ToolError when a replica dies or the user stops it; the last checkpoint stays.
    """
    with only_trainer(run):
        final = _train_with_progress(run, settings, resume, console)
    result = {"steps": settings.steps, "holdout_mean_iou": round(final, 4)}
    write_atomically(run / "result.json", json.dumps(result).encode() + b"\n")
    return final


def training_progress(console: Console) -> Progress:
    """A bar for tasks with a field `loss`."""
    loss = TextColumn("loss {task.fields[loss]:.3f}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), loss)
    return Progress(*columns, console=console)


def _train_with_progress(run: Path, settings: TrainSettings, resume: bool, console: Console) -> float:
    reports = logged(run, train(settings, run, resume), append=resume)
    done = load_checkpoint(run).step if resume else 0
    final = 0.0
    try:
        with training_progress(console) as progress:
            task = progress.add_task("training", total=settings.steps, completed=done, loss=float("nan"))
            for report in reports:
                progress.update(task, completed=report.step, loss=report.loss)
                if report.mean_iou is not None:
                    final = report.mean_iou
                    console.print(f"step {report.step}: mean IoU {final:.3f} on the held-out pictures")
    except KeyboardInterrupt as exc:
        raise ToolError(f"{run}: stopped; go on from its last checkpoint with --resume") from exc
    return final
