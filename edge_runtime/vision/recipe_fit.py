"""Whether a recipe fits a model. The process that holds the wire asks too: no numpy here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_runtime.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_runtime.values import ClassRule, Recipe


def check_recipe(recipe: Recipe, class_names: Mapping[int, str]) -> None:
    """Raise ConfigError unless every rule names a class of the model and every mm² limit has a scale."""
    names = sorted(class_names.values())
    strange = sorted(set(recipe.rules) - set(names))
    if strange:
        raise ConfigError(f"recipe {recipe.name}: rules for {strange}, but the model's classes are {names}")
    if recipe.mm_per_px is None and any(map(_uses_mm2, [recipe.default_rule, *recipe.rules.values()])):
        raise ConfigError(f"recipe {recipe.name}: limits in mm² need mm_per_px; set it or give the limits in px")


def _uses_mm2(rule: ClassRule) -> bool:
    limits = (rule.min_area_mm2, rule.max_area_mm2, rule.max_total_area_mm2)
    return any(limit is not None for limit in limits)
