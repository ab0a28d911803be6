"""From defects to what the line is told."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import numpy as np

from edge_runtime.values import MAX_DEFECTS, Outcome, Verdict
from edge_runtime.vision.defect_columns import DefectColumns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from edge_runtime.values import ClassRule, Defect, Recipe

    Bools = npt.NDArray[np.bool_]

CLASS_IDS = 256


def make_verdict(
    *,
    part_id: int,
    batches: Iterable[DefectColumns],
    recipe: Recipe,
    class_names: Mapping[int, str],
    now_ns: Callable[[], int],
    model_id: str,
    recipe_id: str,
) -> Verdict:
    """`decide`, written down: the verdict lists the `MAX_DEFECTS` largest defects, largest first, and counts all.

    Of one area the first by (y0, x0, y1, x1) comes first. `now_ns` is asked when all batches were looked at.
    """
    tally, largest, count = _Tally(recipe, class_names), None, 0
    for batch in batches:
        tally.add(batch)
        largest = _largest(largest, batch)
        count += batch.rows
    reasons = tally.reasons()
    outcome = Outcome.REJECT if reasons else Outcome.PASS
    listed = tuple(largest.as_list(recipe)) if largest else ()
    return Verdict(part_id, outcome, reasons, listed, count, now_ns(), model_id, recipe_id)


def decide(
    defects: Sequence[Defect], recipe: Recipe, class_names: Mapping[int, str]
) -> tuple[Outcome, tuple[str, ...]]:
    """PASS, or REJECT with one reason per limit exceeded, by class id and then in the order of `ClassRule`.

    Defects in the IGNORE zone never count. Areas in mm² are those in px by the recipe's scale; without one every mm²
    limit is exceeded. Another defect can add reasons and never take one away. Raises ValueError for a class id that
    `class_names` does not hold.
    """
    tally = _Tally(recipe, class_names)
    tally.add(DefectColumns.of(defects))
    reasons = tally.reasons()
    return (Outcome.REJECT if reasons else Outcome.PASS), reasons


def counted(found: DefectColumns, recipe: Recipe, class_names: Mapping[int, str]) -> Bools:
    """True for each defect in the INSPECT zone that reaches its class's minima. Raises ValueError as `decide`."""
    minima = np.zeros((3, CLASS_IDS))
    for class_id in np.flatnonzero(np.bincount(found.class_ids)).tolist():
        rule = _rule(class_id, recipe, class_names)
        mm2 = -inf if rule.min_area_mm2 is None else rule.min_area_mm2
        minima[:, class_id] = rule.min_score, rule.min_area_px, mm2
    min_score, min_area_px, min_area_mm2 = minima[:, found.class_ids]
    enough = (found.scores >= min_score) & (found.areas_px >= min_area_px)
    if recipe.mm_per_px is not None:
        enough &= found.areas_px * recipe.mm_per_px**2 >= min_area_mm2
    counts: Bools = enough & ~found.ignored
    return counts


class _Tally:
    """What the limits ask of the defects that count, told some at a time: of each class how many, and which areas."""

    def __init__(self, recipe: Recipe, class_names: Mapping[int, str]) -> None:
        self._recipe, self._class_names = recipe, class_names
        self._counts, self._largest_px, self._totals_px = np.zeros((3, CLASS_IDS), np.int64)

    def add(self, found: DefectColumns) -> None:
        rows = counted(found, self._recipe, self._class_names)
        class_ids, areas_px = found.class_ids[rows], found.areas_px[rows]
        self._counts += np.bincount(class_ids, minlength=CLASS_IDS)
        self._totals_px += np.bincount(class_ids, areas_px, CLASS_IDS).astype(np.int64)
        np.maximum.at(self._largest_px, class_ids, areas_px)

    def reasons(self) -> tuple[str, ...]:
        """One for each limit exceeded, as `decide` orders them."""
        return tuple(
            f"{self._class_names[class_id]}: {excess}"
            for class_id in np.flatnonzero(self._counts).tolist()
            for excess in self._excesses(class_id)
        )

    def _excesses(self, class_id: int) -> Iterator[str]:
        rule = _rule(class_id, self._recipe, self._class_names)
        largest_px, total_px = int(self._largest_px[class_id]), int(self._totals_px[class_id])
        measured = (
            ("count", int(self._counts[class_id]), rule.max_count, ""),
            ("area", largest_px, rule.max_area_px, " px"),
            ("area", _mm2(largest_px, self._recipe), rule.max_area_mm2, " mm2"),
            ("total area", total_px, rule.max_total_area_px, " px"),
            ("total area", _mm2(total_px, self._recipe), rule.max_total_area_mm2, " mm2"),
        )
        for what, value, limit, unit in measured:
            if limit is not None and value > limit:
                yield f"{what} {_text(value)}{unit} > {_text(limit)}{unit}"


def _largest(so_far: DefectColumns | None, batch: DefectColumns) -> DefectColumns:
    """The `MAX_DEFECTS` largest of both, largest first."""
    if so_far and so_far.rows == MAX_DEFECTS:
        last_area_px, last_y0 = so_far.areas_px[-1], so_far.boxes_px[-1, 1]
        # All others come after the last one kept.
        earlier = (batch.areas_px == last_area_px) & (batch.boxes_px[:, 1] <= last_y0)
        batch = batch.taken(earlier | (batch.areas_px > last_area_px))
    both = DefectColumns.joined([so_far, batch]) if so_far else batch
    return both.taken(both.largest_first()[:MAX_DEFECTS])


def _rule(class_id: int, recipe: Recipe, class_names: Mapping[int, str]) -> ClassRule:
    if class_id not in class_names:
        raise ValueError(f"a defect has class id {class_id}, which the model's bundle does not name")
    return recipe.rules.get(class_names[class_id], recipe.default_rule)


def _mm2(area_px: int, recipe: Recipe) -> float:
    return inf if recipe.mm_per_px is None else area_px * recipe.mm_per_px**2


def _text(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")
