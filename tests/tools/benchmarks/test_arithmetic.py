"""Medians, lines, flatness and rounds: each the sentence of its docstring."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.benchmarks.arithmetic import busiest_share, fit_line, flatness, medians, rounds_for, shares

FINITE = st.floats(-1e3, 1e3)


@given(slope=FINITE, at_zero=FINITE, xs=st.lists(st.integers(-100, 100), min_size=2, unique=True))
def test_a_line_through_points_of_a_line_is_that_line(slope, at_zero, xs):
    line = fit_line(xs, [at_zero + slope * x for x in xs])
    assert line.slope == pytest.approx(slope, abs=1e-6)
    assert line.at_zero == pytest.approx(at_zero, abs=1e-4)
    assert line.worst_residual == pytest.approx(0, abs=1e-4)


def test_the_worst_residual_is_the_farthest_points():
    line = fit_line([0, 1, 2, 3], [0, 1, 2, 7])
    assert line.worst_residual == pytest.approx(
        max(abs(y - line.at_zero - line.slope * x) for x, y in enumerate([0, 1, 2, 7]))
    )
    assert line.slope == pytest.approx(2.2)


def test_one_x_makes_no_line():
    with pytest.raises(ValueError, match="two different x"):
        fit_line([1, 1], [2, 3])


@given(st.lists(st.floats(0.001, 1e6), min_size=1))
def test_flatness_is_at_least_one_and_one_for_equal_values(values):
    assert flatness(values) >= 1
    assert flatness([values[0]] * 3) == 1


def test_flatness_refuses_what_is_not_positive():
    for values in ([], [0.0, 1.0], [-1.0, 1.0]):
        with pytest.raises(ValueError, match="positive"):
            flatness(values)


def test_medians_are_per_key():
    assert medians([{"a": 1, "b": 5}, {"a": 3, "b": 5}, {"a": 9, "b": 4}]) == {"a": 3, "b": 5}
    assert medians([]) == {}


def test_shares_add_up_to_one():
    assert shares({"a": 1.0, "b": 3.0}) == {"a": 0.25, "b": 0.75}
    assert shares({"a": 0.0}) == {"a": 0.0}


@given(tiles=st.integers(1, 10_000), workers=st.integers(1, 64))
def test_the_busiest_worker_takes_at_least_its_share(tiles, workers):
    floor = busiest_share(tiles, workers)
    assert floor >= 1
    assert floor * tiles / workers == pytest.approx(-(-tiles // workers))


@given(rounds=st.integers(1, 1000), megapixels=st.floats(0.001, 1e4))
def test_rounds_never_exceed_the_wish_and_fall_with_the_size(rounds, megapixels):
    assert 1 <= rounds_for(rounds, megapixels) <= rounds
    assert rounds_for(rounds, megapixels * 2) <= rounds_for(rounds, megapixels)
    assert rounds_for(rounds, 20) == rounds
