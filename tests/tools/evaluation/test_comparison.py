from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.values import ClassRule, Defect, DefectClass, Mask, Outcome, Recipe
from tools.evaluation.comparison import compare_defects, compare_masks, total

CLASSES = [DefectClass(1, "open", (0, 0, 0), 128), DefectClass(2, "short", (0, 0, 0), 128)]
RECIPE = Recipe("default", join_px=6)


def defect(class_id, x, y=0, side=8, score=0.9):
    return Defect(class_id, (x, y, x + side, y + side), side * side, None, score)


DEFECTS = st.lists(
    st.builds(
        defect,
        st.integers(1, 3),
        st.integers(0, 90),
        st.integers(0, 90),
        st.integers(1, 30),
        st.sampled_from([0.2, 0.9]),
    ),
    max_size=12,
)


@given(DEFECTS, DEFECTS)
def test_each_defect_is_in_exactly_one_place(a, b):
    found = compare_defects(a, b)
    pairs = found.same + found.changed_class
    assert sorted(map(repr, [first for first, _ in pairs] + list(found.missed))) == sorted(map(repr, a))
    assert sorted(map(repr, [second for _, second in pairs] + list(found.new))) == sorted(map(repr, b))
    assert all(first.class_id == second.class_id for first, second in found.same)


@given(DEFECTS)
def test_an_answer_equals_itself(a):
    found = compare_defects(a, a)
    assert (len(found.same), found.changed_class, found.missed, found.new) == (len(a), (), (), ())


def test_missed_new_and_changed_class():
    a = [defect(1, 0), defect(1, 100), defect(2, 200)]
    b = [defect(1, 2), defect(2, 100), defect(1, 300)]
    found = compare_defects(a, b)
    assert found.same == ((a[0], b[0]),)
    assert found.changed_class == ((a[1], b[1]),)
    assert (found.missed, found.new) == ((a[2],), (b[2],))


def test_a_cell_more_of_a_small_defect_is_no_other_defect():
    small, larger = defect(1, 50, 50, side=2), defect(1, 50, 50, side=6)
    assert compare_defects([small], [larger]).same
    assert compare_defects([small], [larger], margin_px=0).missed


def masks_of(*scores):
    """Masks with one square of class 1 of each score."""
    plane = np.zeros((40, 40), np.uint8)
    plane[10:20, 10:20] = 1
    return [Mask(np.ones_like(plane), plane * np.uint8(score), 1) for score in scores]


def test_a_changed_verdict_and_the_largest_score_difference_are_told():
    sure, unsure = masks_of(200, 90)
    found = compare_masks(sure, unsure, CLASSES, CLASSES, RECIPE, (40, 40))
    assert (found.outcome_a, found.outcome_b) == (Outcome.REJECT, Outcome.PASS)
    assert (found.max_score_difference, found.cells - found.equal_cells) == (110, 100)
    assert found.verdict_changed
    assert not found.equal
    assert (total([found]).missed, total([found]).verdicts_changed) == (1, 1)


def test_each_model_keeps_its_own_thresholds_and_the_recipe_decides():
    sure, unsure = masks_of(200, 90)
    lower = [replace(known, threshold=80) for known in CLASSES]
    assert compare_masks(sure, unsure, CLASSES, lower, RECIPE, (40, 40)).equal
    lenient = Recipe("lenient", default_rule=ClassRule(max_count=1))
    assert not compare_masks(sure, unsure, CLASSES, CLASSES, lenient, (40, 40)).verdict_changed


@pytest.mark.parametrize("image_hw", [(40, 40), (39, 38)])
def test_masks_of_other_stride_are_compared_pixel_by_pixel(image_hw):
    fine = masks_of(200)[0]
    fine = Mask(fine.class_ids[: image_hw[0], : image_hw[1]], fine.scores[: image_hw[0], : image_hw[1]], 1)
    coarse = Mask(fine.class_ids[::2, ::2], fine.scores[::2, ::2], 2)
    found = compare_masks(fine, coarse, CLASSES, CLASSES, RECIPE, image_hw)
    assert found.equal
    assert (found.equal_cells, found.max_score_difference) == (image_hw[0] * image_hw[1], 0)


def test_nothing_compared_is_no_difference():
    assert total([]).equal_cell_share == 1.0
