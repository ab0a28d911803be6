from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import ConfigError
from edge_runtime.values import MAX_DEFECTS, ClassRule, Defect, Outcome, Recipe, Zone
from edge_runtime.vision.decision import decide, make_verdict
from edge_runtime.vision.defect_columns import DefectColumns
from edge_runtime.vision.recipe_fit import check_recipe

NAMES = {1: "open", 2: "short"}
TOLERANT = ClassRule(max_count=1000)


def defect(class_id=1, area_px=10, score=0.9, zone=Zone.INSPECT) -> Defect:
    return Defect(class_id, (0, 0, 5, 5), area_px, None, score, zone)


defects = st.builds(
    defect,
    class_id=st.sampled_from([1, 2]),
    area_px=st.integers(1, 30),
    score=st.floats(0, 1),
    zone=st.sampled_from(Zone),
)
scales = st.none() | st.floats(0.01, 2)
limits = st.none() | st.floats(0, 60)
rules = st.builds(
    ClassRule,
    min_score=st.floats(0, 1),
    min_area_px=st.floats(0, 30),
    min_area_mm2=limits,
    max_count=st.integers(0, 4),
    max_area_px=limits,
    max_area_mm2=limits,
    max_total_area_px=limits,
    max_total_area_mm2=limits,
)


@given(st.lists(defects, max_size=6), st.lists(defects, max_size=4), rules, rules, scales)
def test_more_defects_never_turn_a_reject_into_a_pass(some, more, rule, default_rule, mm_per_px):
    recipe = Recipe("monotonic", mm_per_px, default_rule=default_rule, rules={"open": rule})
    before, reasons = decide(some, recipe, NAMES)
    after, more_reasons = decide(some + more, recipe, NAMES)
    assert before is Outcome.PASS or after is Outcome.REJECT
    assert len(more_reasons) >= len(reasons)


@given(
    st.lists(defects, max_size=6).flatmap(lambda some: st.tuples(st.just(some), st.permutations(some))), rules, scales
)
def test_outcome_and_reasons_do_not_depend_on_the_order_of_defects(lists, rule, mm_per_px):
    recipe = Recipe("order", mm_per_px, default_rule=rule)
    one, other = (decide(some, recipe, NAMES) for some in lists)
    assert one == other


def slow_reasons(found: list[Defect], recipe: Recipe) -> list[str]:
    """A slow reading of the contract, a defect at a time: what is exceeded, without the figures."""
    scale = math.inf if recipe.mm_per_px is None else recipe.mm_per_px**2
    reasons = []
    for class_id, name in NAMES.items():
        rule = recipe.rules.get(name, recipe.default_rule)
        areas_px = [
            each.area_px
            for each in found
            if (each.class_id, each.zone) == (class_id, Zone.INSPECT)
            and each.score >= rule.min_score
            and each.area_px >= rule.min_area_px
            and (rule.min_area_mm2 is None or each.area_px * scale >= rule.min_area_mm2)
        ]
        compared = [
            ("count", len(areas_px), rule.max_count),
            ("area px", max(areas_px, default=0), rule.max_area_px),
            ("area mm2", max(areas_px, default=0) * scale, rule.max_area_mm2),
            ("total area px", sum(areas_px), rule.max_total_area_px),
            ("total area mm2", sum(areas_px) * scale, rule.max_total_area_mm2),
        ]
        reasons += [f"{name}: {w}" for w, value, limit in compared if areas_px and limit is not None and value > limit]
    return reasons


@given(st.lists(defects, max_size=8), rules, rules, scales)
def test_decide_equals_a_slow_reading_of_its_contract(found, rule, default_rule, mm_per_px):
    recipe = Recipe("slow", mm_per_px, default_rule=default_rule, rules={"open": rule})
    outcome, reasons = decide(found, recipe, NAMES)
    expected = slow_reasons(found, recipe)
    assert [re.sub(r" (inf|[\d.]+)", "", reason.split(" > ")[0]) for reason in reasons] == expected
    assert outcome is (Outcome.REJECT if expected else Outcome.PASS)


@pytest.mark.parametrize(
    ("found", "rule", "reasons"),
    [
        ([], ClassRule(), ()),
        ([defect(), defect()], ClassRule(), ("open: count 2 > 0",)),
        ([defect(), defect()], ClassRule(max_count=1), ("open: count 2 > 1",)),
        ([defect(), defect()], ClassRule(max_count=2), ()),
        (
            [defect(area_px=14), defect(area_px=11)],
            ClassRule(max_count=9, max_area_px=10),
            ("open: area 14 px > 10 px",),
        ),
        ([defect(area_px=10)], ClassRule(max_count=9, max_area_px=10), ()),
        (
            [defect(area_px=14), defect(area_px=11)],
            ClassRule(max_count=9, max_total_area_px=24.5),
            ("open: total area 25 px > 24.5 px",),
        ),
        ([defect(area_px=1)], ClassRule(max_count=9, max_area_mm2=0.2), ("open: area 0.25 mm2 > 0.2 mm2",)),
        ([defect(area_px=1)], ClassRule(max_count=9, max_area_mm2=0.25), ()),
        (
            [defect(area_px=1), defect(area_px=2)],
            ClassRule(max_count=9, max_total_area_mm2=0.7),
            ("open: total area 0.75 mm2 > 0.7 mm2",),
        ),
        (
            [defect(area_px=2_000_000)],
            ClassRule(max_area_px=1_000_000),
            ("open: count 1 > 0", "open: area 2000000 px > 1000000 px"),
        ),
    ],
)
def test_each_limit_gives_its_reason(found, rule, reasons):
    outcome = Outcome.REJECT if reasons else Outcome.PASS
    assert decide(found, Recipe("limits", mm_per_px=0.5, rules={"open": rule}), NAMES) == (outcome, reasons)


@pytest.mark.parametrize(
    ("found", "rule", "counts"),
    [
        (defect(score=0.5), ClassRule(min_score=0.5), True),
        (defect(score=0.49), ClassRule(min_score=0.5), False),
        (defect(area_px=10), ClassRule(min_area_px=10), True),
        (defect(area_px=9), ClassRule(min_area_px=10), False),
        (defect(area_px=2), ClassRule(min_area_mm2=0.5), True),
        (defect(area_px=1), ClassRule(min_area_mm2=0.5), False),
        (defect(zone=Zone.IGNORE), ClassRule(), False),
    ],
)
def test_a_defect_below_a_minimum_or_in_an_ignored_zone_does_not_count(found, rule, counts):
    outcome, _ = decide([found], Recipe("minimum", mm_per_px=0.5, default_rule=rule), NAMES)
    assert outcome is (Outcome.REJECT if counts else Outcome.PASS)


@pytest.mark.parametrize(
    "rule",
    [
        ClassRule(min_area_mm2=5.0),
        ClassRule(max_count=9, max_area_mm2=5.0),
        ClassRule(max_count=9, max_total_area_mm2=5.0),
    ],
)
def test_a_defect_of_unknown_mm2_is_never_let_through_by_a_mm2_limit(rule):
    assert decide([defect()], Recipe("no scale", default_rule=rule), NAMES)[0] is Outcome.REJECT


def test_reasons_come_by_class_id_and_a_class_without_a_rule_uses_the_default():
    recipe = Recipe("order", default_rule=ClassRule(max_area_px=5), rules={"open": ClassRule(max_count=1)})
    found = [defect(2), defect(1), defect(1)]
    assert decide(found, recipe, NAMES)[1] == ("open: count 2 > 1", "short: count 1 > 0", "short: area 10 px > 5 px")


def test_a_class_id_without_a_name_is_refused():
    with pytest.raises(ValueError, match="class id 3"):
        decide([defect(3)], Recipe("strange"), NAMES)


def verdict_of(found: list[Defect], recipe: Recipe):
    return make_verdict(
        part_id=4,
        batches=[DefectColumns.of(found)],
        recipe=recipe,
        class_names=NAMES,
        now_ns=lambda: 9,
        model_id="m/1",
        recipe_id="r",
    )


def test_a_verdict_lists_the_largest_defects_and_counts_all():
    found = [defect(area_px=area_px) for area_px in range(1, MAX_DEFECTS + 51)]
    verdict = verdict_of(found, Recipe("many"))
    assert [listed.area_px for listed in verdict.defects] == list(range(MAX_DEFECTS + 50, 50, -1))
    assert verdict.defect_count == MAX_DEFECTS + 50
    assert (verdict.outcome, verdict.reasons) == (Outcome.REJECT, ("open: count 250 > 0",))


def test_a_verdict_without_counted_defects_passes_and_still_lists_them():
    verdict = verdict_of([defect(zone=Zone.IGNORE)], Recipe("few"))
    assert (verdict.outcome, verdict.reasons, verdict.defect_count) == (Outcome.PASS, (), 1)
    assert (verdict.part_id, verdict.decided_ns, verdict.model_id, verdict.recipe_id) == (4, 9, "m/1", "r")


def test_a_recipe_that_fits_the_model_is_accepted():
    check_recipe(Recipe("fits", mm_per_px=0.1, rules={"open": ClassRule(max_area_mm2=1.0)}), NAMES)
    check_recipe(Recipe("fits", rules={"short": TOLERANT}), NAMES)


def test_a_rule_for_a_class_the_model_does_not_know_is_refused():
    with pytest.raises(ConfigError, match=r"rules for \['opne'\], but the model's classes are \['open', 'short'\]"):
        check_recipe(Recipe("typo", rules={"opne": TOLERANT}), NAMES)


@pytest.mark.parametrize("limit", ["min_area_mm2", "max_area_mm2", "max_total_area_mm2"])
def test_a_limit_in_mm2_without_a_scale_is_refused(limit):
    rule = ClassRule(**{limit: 1.0})
    for recipe in (Recipe("flat", default_rule=rule), Recipe("flat", rules={"open": rule})):
        with pytest.raises(ConfigError, match="need mm_per_px"):
            check_recipe(recipe, NAMES)
