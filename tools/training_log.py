"""What a run writes while it trains: log.csv, curves.png and, where VisualDL is installed, its event files."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from edge_runtime.files import write_atomically
from tools.replicas import StepReport

LOG_NAME, CURVES_NAME, VISUALDL_NAME = "log.csv", "curves.png", "visualdl"
LOG_COLUMNS = ("step", "loss", "rate", "mean_iou", "elapsed_s")
LOG_EVERY = 10


def logged(run: Path, reports: Iterable[StepReport], append: bool) -> Iterator[StepReport]:
    """The same reports, written down: every tenth step and every validation; the curves at each validation."""
    began_s = time.monotonic()
    writer = open_visualdl(run / VISUALDL_NAME)
    with (run / LOG_NAME).open("a" if append else "w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        if not append:
            rows.writerow(LOG_COLUMNS)
        for report in reports:
            if _is_new(run, report) and (report.step % LOG_EVERY == 0 or report.mean_iou is not None):
                rows.writerow(_row(report, time.monotonic() - began_s))
                stream.flush()
                _tell_visualdl(writer, report)
            if report.mean_iou is not None:
                draw_curves(run)
            yield report


def cut_log(run: Path, step: int) -> None:
    """Drop what was logged after `step`, to which a resumed run goes back."""
    kept = [row for row in read_log(run) if int(row["step"]) <= step]
    lines = [",".join(LOG_COLUMNS), *(",".join(row[name] for name in LOG_COLUMNS) for row in kept)]
    write_atomically(run / LOG_NAME, "\n".join([*lines, ""]).encode())


def read_log(run: Path) -> list[dict[str, str]]:
    """Whole rows only: a killed run may leave half of one."""
    path = run / LOG_NAME
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return [row for row in csv.DictReader(stream) if all(row.get(name) is not None for name in LOG_COLUMNS)]


def draw_curves(run: Path) -> None:
    """Loss and held-out mean IoU over the steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = read_log(run)
    validated = [row for row in rows if row["mean_iou"]]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    losses = figure.add_subplot(xlabel="step", ylabel="loss", yscale="log")
    losses.plot([int(row["step"]) for row in rows], [float(row["loss"]) for row in rows], lw=0.8, label="loss")
    ious = losses.twinx()
    ious.set(ylabel="mean IoU, held out", ylim=(0, 1))
    steps, values = zip(*((int(row["step"]), float(row["mean_iou"])) for row in validated), strict=True)
    ious.plot(steps, values, "o-", color="tab:orange")
    losses.set_title(run.name)
    figure.savefig(run / CURVES_NAME, dpi=110)


def open_visualdl(folder: Path) -> Any:
    """A VisualDL writer, or None where VisualDL is not installed."""
    try:
        from visualdl import LogWriter
    except ImportError:
        return None
    return LogWriter(logdir=str(folder))


def _is_new(run: Path, report: StepReport) -> bool:
    """Whether the log lacks the step: a run resumed after its last one only validates again, without a loss."""
    return not math.isnan(report.loss) or all(int(row["step"]) != report.step for row in read_log(run))


def _row(report: StepReport, elapsed_s: float) -> tuple[object, ...]:
    iou = "" if report.mean_iou is None else f"{report.mean_iou:.4f}"
    return report.step, f"{report.loss:.5f}", f"{report.rate:.6f}", iou, f"{elapsed_s:.1f}"


def _tell_visualdl(writer: Any, report: StepReport) -> None:
    if writer is None:
        return
    values = {"loss": report.loss, "learning rate": report.rate, "held-out mean IoU": report.mean_iou}
    for tag, value in values.items():
        if value is not None:
            writer.add_scalar(tag=tag, step=report.step, value=value)
