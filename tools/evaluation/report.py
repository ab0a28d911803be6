"""The report of an evaluation for people: report.md, and the same as report.html."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_runtime.files import write_atomically
from tools.evaluate import ALL, RECIPE
from tools.evaluation.cells import CellScores
from tools.evaluation.curves import CURVES_CSV, CURVES_PNG, THRESHOLDS_PNG
from tools.evaluation.data import absent_classes
from tools.evaluation.examine import Examined
from tools.evaluation.summary import PictureErrors, verdict_right
from tools.evaluation.values import Evaluation, Thresholds
from tools.markdown import as_html, code, escape, table
from tools.scoring import IOU_MIN, MARGIN_PX, Scores

UNKNOWN = "–"
NAMES_SHOWN = 40


def write_report(folder: Path, done: Evaluation, worst: Sequence[tuple[PictureErrors, str]]) -> None:
    """`worst` are the drawn pictures with their files, relative to `folder`. Raises OSError."""
    text = report_text(done, worst)
    write_atomically(folder / "report.md", text.encode())
    write_atomically(folder / "report.html", as_html(f"Evaluation of {done.bundle.model_id}", text).encode())


def report_text(done: Evaluation, worst: Sequence[tuple[PictureErrors, str]]) -> str:
    """Markdown; names from outside are shown as they are, never as markup."""
    figures = done.figures
    parts = [
        ("Verdicts", _verdicts(done)),
        ("Defects", [*_boxes(figures.boxes), "", f"![precision and recall]({CURVES_PNG})"]),
        ("Cells", _cells(figures.cells, done.bundle.mask_stride_px)),
        ("Thresholds", _thresholds(done.thresholds) if done.thresholds else []),
        ("Worst pictures", _worst(worst)),
        ("How this is counted", _definitions(done)),
    ]
    sections = ["\n".join([f"## {title}", "", *lines, ""]) for title, lines in parts if lines]
    return "\n".join(["# Evaluation", "", *_head(done), "", *sections])


def _head(done: Evaluation) -> list[str]:
    absent = absent_classes(done.dataset, done.bundle.classes)
    rows = [
        ("model", code(done.bundle.model_id)),
        ("run", escape(done.predictor.name(done.bundle))),
        ("data", code(str(done.dataset.folder))),
        ("pictures", f"{len(done.dataset.pictures):,}"),
        ("seconds", f"{done.seconds:.1f}"),
        *([("classes without example", escape(", ".join(absent)))] if absent else []),
    ]
    return table(("", ""), rows)


def _verdicts(done: Evaluation) -> list[str]:
    counts = done.figures.verdicts
    rows = [
        ("defective", f"{counts.caught:,}", f"{counts.missed:,}"),
        ("clean", f"{counts.false_alarms:,}", f"{counts.passed:,}"),
    ]
    right = f"{counts.right_share:.1%} of the parts are judged rightly when every found defect rejects."
    lines = [*table(("part by its labels", "REJECT", "PASS"), rows), "", right]
    if not counts.passed + counts.false_alarms:
        lines += [
            "",
            "No part is clean by its labels: how often a good part would be rejected cannot be told from them.",
        ]
    for title, defective in (("Defective parts that pass", True), ("Clean parts that are rejected", False)):
        lines += _named(title, [one for one in done.examined if one.defective is defective and not verdict_right(one)])
    return lines


def _named(title: str, pictures: Sequence[Examined]) -> list[str]:
    names = [escape(one.picture.name) for one in pictures[:NAMES_SHOWN]]
    more = [f"… and {len(pictures) - NAMES_SHOWN:,} more, see figures.json"] if len(pictures) > NAMES_SHOWN else []
    return ["", f"{title}: {', '.join(names + more)}"] if pictures else []


def _boxes(scores: dict[str, Scores]) -> list[str]:
    head = ("class", "labelled", "found", "right", "precision", "recall", "F", "AP")
    rows = [
        (escape(name), *(f"{count:,}" for count in (one.labelled, one.found, one.right)), *score_cells(one))
        for name, one in scores.items()
    ]
    return table(head, rows)


def score_cells(scores: Scores) -> tuple[str, str, str, str]:
    """Precision, recall, F and AP as text; a dash where nothing can be said."""
    precision = f"{scores.precision:.3f}" if scores.found else UNKNOWN
    if not scores.labelled:
        return precision, UNKNOWN, UNKNOWN, UNKNOWN
    return precision, f"{scores.recall:.3f}", f"{scores.f_score:.3f}", f"{scores.average_precision:.3f}"


def _cells(scores: dict[str, CellScores], stride_px: int) -> list[str]:
    rows = [
        (
            escape(name),
            *(f"{count:,}" for count in (one.labelled, one.found, one.right)),
            *((f"{one.iou:.3f}", f"{one.dice:.3f}") if one.labelled else (UNKNOWN, UNKNOWN)),
        )
        for name, one in scores.items()
    ]
    about = f"One cell is {stride_px} x {stride_px} px; `{ALL}` is any defect against background."
    return [*table(("class", "labelled", "found", "right", "IoU", "Dice"), rows), "", about]


def _thresholds(thresholds: Thresholds) -> list[str]:
    rows = [
        (escape(known.name), str(known.threshold), score_cells(thresholds.scores[known.name])[2])
        for known in thresholds.chosen
    ]
    together = f"All classes together at these thresholds: F {thresholds.scores[ALL].f_score:.3f}."
    return [*table(("class", "threshold", "F"), rows), "", together, "", f"![F by threshold]({THRESHOLDS_PNG})"]


def _worst(worst: Sequence[tuple[PictureErrors, str]]) -> list[str]:
    lines = ["Green: right. Red: missed. Orange: false.", ""] if worst else []
    for entry, file in worst:
        title = f"{escape(entry.one.picture.name)}: {entry.missed} missed, {entry.false} false"
        lines += [title, "", f"![{entry.missed} missed, {entry.false} false]({file})", ""]
    return lines


def _definitions(done: Evaluation) -> list[str]:
    return [
        f"- Defects are those of the device: cells at their class's threshold, fewer than {RECIPE.join_px} px apart "
        "joined, one box each.",
        f"- Found boxes are grown by {MARGIN_PX} px a side, the labels by what they lack of it (they keep "
        f"{done.dataset.label_margin_px} px). A box is right when its IoU with a free label of its class exceeds "
        f"{IOU_MIN}, the surest first; counts are pooled (DeepPCB protocol).",
        "- AP ranks every candidate by its mean score, whatever the thresholds: the score plane's components at "
        "all levels, each down to half of its peak, form a tree, and of each branch and what it divides into the one "
        f"with more mass counts. `{CURVES_CSV}` holds the curves; dots in the picture are the thresholds' own points. "
        f"AP of `{ALL}` is the mean over the classes with labels.",
        "- Cells: a labelled cell is defective when any of its pixels is.",
    ]
