"""From defects to what the line is told."""

from __future__ import annotations

from collections import defaultdict
from heapq import nlargest
from math import inf
from typing import TYPE_CHECKING

from edge_runtime.errors import ConfigError
from edge_runtime.values import MAX_DEFECTS, Outcome, Verdict, Zone

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edge_runtime.values import ClassRule, Defect, Recipe


def make_verdict(
    *,
    part_id: int,
    defects: Sequence[Defect],
    recipe: Recipe,
    class_names: Mapping[int, str],
    decided_ns: int,
    model_id: str,
    recipe_id: str,
) -> Verdict:
    """`decide`, written down: the verdict lists the `MAX_DEFECTS` largest defects, largest first, and counts all."""
    outcome, reasons = decide(defects, recipe, class_names)
    largest = nlargest(MAX_DEFECTS, defects, key=lambda defect: defect.area_px)
    return Verdict(part_id, outcome, reasons, tuple(largest), len(defects), decided_ns, model_id, recipe_id)


def decide(
    defects: Sequence[Defect], recipe: Recipe, class_names: Mapping[int, str]
) -> tuple[Outcome, tuple[str, ...]]:
    """PASS, or REJECT with one reason per limit exceeded, by class id and then in the order of `ClassRule`.

    Defects in the IGNORE zone never count. A defect without mm² exceeds every mm² limit. Another defect can add
    reasons and never take one away. Raises ValueError for a class id that `class_names` does not hold.
    """
    counted: dict[int, list[Defect]] = defaultdict(list)
    for defect in defects:
        if is_counted(defect, recipe, class_names):
            counted[defect.class_id].append(defect)
    reasons = tuple(
        f"{class_names[class_id]}: {excess}"
        for class_id, of_class in sorted(counted.items())
        for excess in _excesses(of_class, _rule(recipe, class_names[class_id]))
    )
    return (Outcome.REJECT if reasons else Outcome.PASS), reasons


def is_counted(defect: Defect, recipe: Recipe, class_names: Mapping[int, str]) -> bool:
    """Whether the defect lies in the INSPECT zone and reaches its class's minima. Raises ValueError as `decide`."""
    if defect.class_id not in class_names:
        raise ValueError(f"a defect has class id {defect.class_id}, which the model's bundle does not name")
    return defect.zone is Zone.INSPECT and _counts(defect, _rule(recipe, class_names[defect.class_id]))


def check_recipe(recipe: Recipe, class_names: Mapping[int, str]) -> None:
    """Raise ConfigError unless every rule names a class of the model and every mm² limit has a scale."""
    names = sorted(class_names.values())
    strange = sorted(set(recipe.rules) - set(names))
    if strange:
        raise ConfigError(f"recipe {recipe.name}: rules for {strange}, but the model's classes are {names}")
    if recipe.mm_per_px is None and any(map(_uses_mm2, [recipe.default_rule, *recipe.rules.values()])):
        raise ConfigError(f"recipe {recipe.name}: limits in mm² need mm_per_px; set it or give the limits in px")


def _rule(recipe: Recipe, class_name: str) -> ClassRule:
    return recipe.rules.get(class_name, recipe.default_rule)


def _uses_mm2(rule: ClassRule) -> bool:
    limits = (rule.min_area_mm2, rule.max_area_mm2, rule.max_total_area_mm2)
    return any(limit is not None for limit in limits)


def _counts(defect: Defect, rule: ClassRule) -> bool:
    return (
        defect.score >= rule.min_score
        and defect.area_px >= rule.min_area_px
        and (rule.min_area_mm2 is None or _area_mm2(defect) >= rule.min_area_mm2)
    )


def _area_mm2(defect: Defect) -> float:
    return inf if defect.area_mm2 is None else defect.area_mm2


def _excesses(counted: list[Defect], rule: ClassRule) -> Iterator[str]:
    areas_px = [defect.area_px for defect in counted]
    areas_mm2 = [_area_mm2(defect) for defect in counted]
    measured = (
        ("count", len(counted), rule.max_count, ""),
        ("area", max(areas_px), rule.max_area_px, " px"),
        ("area", max(areas_mm2), rule.max_area_mm2, " mm2"),
        ("total area", sum(areas_px), rule.max_total_area_px, " px"),
        ("total area", sum(areas_mm2), rule.max_total_area_mm2, " mm2"),
    )
    for what, value, limit, unit in measured:
        if limit is not None and value > limit:
            yield f"{what} {_text(value)}{unit} > {_text(limit)}{unit}"


def _text(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")
