"""Tables on the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tools.evaluation.bundle_diff import BundleDiff
from tools.evaluation.cells import CellScores
from tools.evaluation.comparison import MaskComparison, Totals
from tools.evaluation.report import UNKNOWN, score_cells
from tools.evaluation.summary import VerdictCounts
from tools.evaluation.values import Evaluation, Thresholds
from tools.scoring import Scores

PICTURES_SHOWN = 30


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


def show_diff(console: Console, done: BundleDiff) -> None:
    """What the manifests say, what changed on the pictures, and the pictures where it did, changed verdicts first."""
    console.print(_facts_table(done))
    console.print(_totals_text(done.totals), highlight=False)
    changed = {name: one for name, one in done.comparisons.items() if not one.equal}
    if changed:
        console.print(_pictures_table(changed, done.class_names))
    if len(changed) > PICTURES_SHOWN:
        console.print(f"… and {len(changed) - PICTURES_SHOWN} more pictures; --json lists all")


def _facts_table(done: BundleDiff) -> Table:
    """Sizes and times always, thresholds and contract where they differ."""
    table = Table("", f"A: {done.a.model_id}", f"B: {done.b.model_id}", title=f"recipe {done.recipe.name}")
    for fact in done.facts:
        if fact.group == "model" or fact.changed:
            name = fact.name if fact.group == "model" else f"{fact.group} {fact.name}"
            table.add_row(escape(name), *(_value(value) for value in (fact.a, fact.b)))
    return table


def _value(value: object) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else escape(str(value))


def _totals_text(totals: Totals) -> str:
    return (
        f"{totals.pictures} pictures: {totals.verdicts_changed} verdicts changed; of A's defects {totals.same} are the "
        f"same in B, {totals.missed} are missed by B, {totals.changed_class} have another class; {totals.new} are new "
        f"in B; {totals.equal_cell_share:.4%} of the cells agree, scores differ by up to {totals.max_score_difference} "
        "of 255"
    )


def _pictures_table(changed: Mapping[str, MaskComparison], class_names: Mapping[int, str]) -> Table:
    ranked = sorted(changed.items(), key=lambda entry: (not entry[1].verdict_changed, -_differences(entry[1])))
    table = Table("picture", "verdict", "missed by B", "new in B", "other class")
    for name, one in ranked[:PICTURES_SHOWN]:
        verdict = f"{one.outcome_a.value} to {one.outcome_b.value}" if one.verdict_changed else one.outcome_a.value
        moved = [f"{class_names[a.class_id]} to {class_names[b.class_id]}" for a, b in one.defects.changed_class]
        gone, new = (
            [class_names[defect.class_id] for defect in some] for some in (one.defects.missed, one.defects.new)
        )
        table.add_row(escape(name), verdict, *(_counted(names) for names in (gone, new, moved)))
    return table


def _differences(one: MaskComparison) -> int:
    return len(one.defects.missed) + len(one.defects.new) + len(one.defects.changed_class)


def _counted(names: Sequence[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in Counter(names).most_common())
