"""Tables on the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from tools.evaluation.cells import CellScores
from tools.evaluation.report import UNKNOWN, score_cells
from tools.evaluation.summary import VerdictCounts
from tools.evaluation.values import Evaluation, Thresholds
from tools.scoring import Scores


def show_scores(console: Console, title: str, scores: Mapping[str, Scores]) -> None:
    table = Table("class", "labelled", "found", "right", "precision", "recall", "F", "AP", title=title)
    for name, one in scores.items():
        table.add_row(name, str(one.labelled), str(one.found), str(one.right), *score_cells(one))
    console.print(table)


def show_cells(console: Console, scores: Mapping[str, CellScores]) -> None:
    table = Table("class", "IoU", "Dice", title="cells")
    for name, one in scores.items():
        table.add_row(name, *((f"{one.iou:.3f}", f"{one.dice:.3f}") if one.labelled else (UNKNOWN, UNKNOWN)))
    console.print(table)


def show_verdicts(console: Console, counts: VerdictCounts) -> None:
    console.print(
        f"verdicts: {counts.right_share:.1%} right; {counts.caught} of {counts.caught + counts.missed} defective parts "
        f"rejected, {counts.false_alarms} of {counts.passed + counts.false_alarms} clean parts rejected",
        highlight=False,
    )


def show_thresholds(console: Console, thresholds: Thresholds) -> None:
    table = Table("class", "threshold", "F", title="best thresholds")
    for known in thresholds.chosen:
        table.add_row(known.name, str(known.threshold), score_cells(thresholds.scores[known.name])[2])
    table.add_row("all", "", f"{thresholds.scores['all'].f_score:.3f}")
    console.print(table)


def show_evaluation(console: Console, done: Evaluation) -> None:
    show_scores(console, f"{done.bundle.model_id} on {done.dataset.folder}", done.figures.boxes)
    show_cells(console, done.figures.cells)
    show_verdicts(console, done.figures.verdicts)
    if done.thresholds:
        show_thresholds(console, done.thresholds)
    console.print(f"{done.folder / 'report.html'}", highlight=False)
