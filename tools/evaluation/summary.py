"""The figures of a whole data set from its pictures; pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edge_runtime.values import DefectClass, Outcome
from tools.evaluate import ALL, scores_by_class
from tools.evaluation.cells import CellScores, cell_scores
from tools.evaluation.examine import Examined
from tools.scoring import Curve, Scores, match_found, of_class, precision_recall


@dataclass(frozen=True)
class VerdictCounts:
    """Parts by what their labels say and what was decided with a recipe under which every defect rejects."""

    caught: int
    missed: int
    passed: int
    false_alarms: int

    @property
    def right_share(self) -> float:
        count = self.caught + self.missed + self.passed + self.false_alarms
        return (self.caught + self.passed) / count if count else 0.0


@dataclass(frozen=True)
class Figures:
    """Everything measured of a model on a data set; the dictionaries' keys are `all` and the class names."""

    boxes: dict[str, Scores]
    cells: dict[str, CellScores]
    curves: dict[str, Curve]
    verdicts: VerdictCounts


@dataclass(frozen=True)
class PictureErrors:
    """How far a picture is from its labels; larger is worse."""

    one: Examined
    missed: int
    false: int


def summarise(examined: Sequence[Examined], classes: Sequence[DefectClass]) -> Figures:
    candidates = [one.candidates for one in examined]
    curves = {known.name: precision_recall(of_class(candidates, known.class_id)) for known in classes}
    return Figures(
        boxes=scores_by_class([one.boxes for one in examined], classes, candidates),
        cells=cell_scores([one.cells for one in examined], classes, ALL),
        curves={ALL: precision_recall(candidates), **curves},
        verdicts=count_verdicts(examined),
    )


def count_verdicts(examined: Sequence[Examined]) -> VerdictCounts:
    cases = [(one.defective, one.outcome is Outcome.REJECT) for one in examined]
    return VerdictCounts(
        caught=cases.count((True, True)),
        missed=cases.count((True, False)),
        passed=cases.count((False, False)),
        false_alarms=cases.count((False, True)),
    )


def worst_pictures(examined: Sequence[Examined], count: int) -> list[PictureErrors]:
    """The pictures with errors, wrong verdicts first, then those with the most errors, in the data set's order."""
    errors = [picture_errors(one) for one in examined]
    wrong = [entry for entry in errors if entry.missed or entry.false]
    return sorted(wrong, key=lambda entry: (verdict_right(entry.one), -entry.missed - entry.false))[:count]


def picture_errors(one: Examined) -> PictureErrors:
    right = sum(match_found(one.boxes.found, one.boxes.truth))
    return PictureErrors(one, len(one.boxes.truth) - right, len(one.boxes.found) - right)


def verdict_right(one: Examined) -> bool:
    return one.defective == (one.outcome is Outcome.REJECT)


def as_json(figures: Figures) -> dict[str, Any]:
    """Plain values; what cannot be told for want of examples is null."""
    return {
        "verdicts": {**asdict(figures.verdicts), "right_share": figures.verdicts.right_share},
        "boxes": {name: _box_figures(scores) for name, scores in figures.boxes.items()},
        "cells": {name: _cell_figures(scores) for name, scores in figures.cells.items()},
    }


def _box_figures(scores: Scores) -> dict[str, float | int | None]:
    told = scores.labelled > 0
    return {
        **{key: getattr(scores, key) for key in ("labelled", "found", "right")},
        "precision": scores.precision if scores.found else None,
        "recall": scores.recall if told else None,
        "f_score": scores.f_score if told else None,
        "average_precision": scores.average_precision if told else None,
    }


def _cell_figures(scores: CellScores) -> dict[str, float | int | None]:
    told = scores.labelled > 0
    return {**asdict(scores), "iou": scores.iou if told else None, "dice": scores.dice if told else None}
