"""The bound on missed defects is that of Clopper and Pearson, and the threshold keeps it."""

from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.errors import ToolError
from tools.gating.bound import check_bound, chosen_threshold, defects_needed, lost_share_max

CONFIDENCES = st.floats(0.5, 0.999)


@st.composite
def samples(draw):
    defects = draw(st.integers(1, 60))
    return defects, draw(st.integers(0, defects - 1)), draw(CONFIDENCES)


@given(samples())
def test_at_the_bound_so_few_losses_have_the_probability_that_is_left(sample):
    defects, lost, confidence = sample
    share = lost_share_max(defects, lost, confidence)
    chance = sum(comb(defects, k) * share**k * (1 - share) ** (defects - k) for k in range(lost + 1))
    assert chance == pytest.approx(1 - confidence, rel=1e-6)
    assert share >= lost / defects


@pytest.mark.parametrize(
    ("defects", "lost", "expected"), [(100, 0, 0.02951), (1000, 0, 0.002991), (7437, 2, 0.0008463)]
)
def test_known_bounds(defects, lost, expected):
    assert lost_share_max(defects, lost, 0.95) == pytest.approx(expected, rel=1e-3)


def test_where_all_are_lost_nothing_is_proved():
    assert lost_share_max(5, 5, 0.95) == 1.0
    for defects, lost, confidence in ((5, 6, 0.9), (5, -1, 0.9), (5, 0, 1.0)):
        with pytest.raises(ValueError, match="no bound"):
            lost_share_max(defects, lost, confidence)


@given(st.floats(0.001, 0.3), st.integers(0, 5), CONFIDENCES)
def test_one_defect_less_than_needed_is_not_enough(share, lost, confidence):
    needed = defects_needed(share, lost, confidence)
    assert lost_share_max(needed, lost, confidence) <= share
    assert needed - 1 <= lost or lost_share_max(needed - 1, lost, confidence) > share


def test_too_few_defects_for_the_bound_are_refused_with_their_number():
    assert check_bound(2995, 0, 0.95, 0.001) <= 0.001
    with pytest.raises(ToolError, match=r"100 defects, 0 of them lost.*2\.951%.*not 0\.100%; that takes 2995"):
        check_bound(100, 0, 0.95, 0.001)
    with pytest.raises(ToolError, match="give more data"):
        check_bound(0, 0, 0.95, 0.001)


@given(st.lists(st.floats(0, 255), min_size=1), st.data(), st.floats(0.05, 1.0))
def test_no_more_defects_than_allowed_lie_below_the_threshold(scores, data, margin):
    lost = data.draw(st.integers(0, len(scores) - 1))
    threshold = chosen_threshold(scores, lost, margin)
    assert sum(score < threshold for score in scores) <= lost
