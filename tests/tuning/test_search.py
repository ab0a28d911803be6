"""The race among set-ups on scripted costs: it finds the best within tolerance, and never visits more than it says."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edge_runtime.tuning.search import Race, RaceRules, Standing, choose, is_slower, percentile, run_race

COSTS = st.lists(st.floats(min_value=1, max_value=1000), min_size=1, max_size=24)
RULES = st.builds(RaceRules, keep=st.integers(1, 4), rounds=st.integers(1, 6))


def never() -> bool:
    return False


def raced(
    costs: Sequence[float], rules: RaceRules, seed: int = 0, noise: float = 0.0, drift: float = 0.0
) -> tuple[Race[int], Counter[int]]:
    """Subject n costs `costs[n]`, give or take `noise`, and all become slower by `drift` with each visit."""
    chance, visits = random.Random(seed), Counter[int]()

    def measure(subject: int) -> list[float]:
        slowness = 1 + drift * visits.total()
        visits[subject] += 1
        return [costs[subject] * slowness * (1 + chance.uniform(-noise, noise)) for _ in range(5)]

    return run_race(range(len(costs)), measure, rules, never), visits


@given(costs=COSTS, rules=RULES, seed=st.integers(0, 1000))
def test_the_choice_is_within_tolerance_of_the_best_in_spite_of_noise(
    costs: list[float], rules: RaceRules, seed: int
) -> None:
    race, _ = raced(costs, rules, seed, noise=0.02)
    chosen = choose(race.finalists, lambda subject: subject)
    assert costs[chosen.subject] <= min(costs) * 1.25


@given(costs=COSTS, rules=RULES)
def test_visits_are_bounded(costs: list[float], rules: RaceRules) -> None:
    race, visits = raced(costs, rules)
    assert visits.total() <= 3 * len(costs) + rules.keep * rules.rounds
    assert set(visits) == set(range(len(costs)))
    assert sorted(s.subject for s in [*race.finalists, *race.beaten]) == list(range(len(costs)))


@given(seed=st.integers(0, 1000))
def test_a_device_that_throttles_meanwhile_changes_nothing(seed: int) -> None:
    """It doubles its times over the race; measured one after the other, the first would win."""
    costs = [120.0, 115.0, 100.0, 130.0, 125.0, 140.0]
    race, visits = raced(costs, RaceRules(keep=2, rounds=8), seed, noise=0.01, drift=0.04)
    assert visits.total() * 0.04 > 0.8
    assert choose(race.finalists, lambda subject: 0).subject == 2


@given(costs=COSTS, rules=RULES, which=st.integers(0, 23), disturbed=st.floats(1.0, 2.0))
def test_one_disturbed_visit_beats_nobody(costs: list[float], rules: RaceRules, which: int, disturbed: float) -> None:
    """The best one's n-th visit took up to twice as long: something else ran."""
    best, visits = costs.index(min(costs)), Counter[int]()

    def measure(subject: int) -> list[float]:
        visits[subject] += 1
        is_hit = subject == best and visits[subject] == which % 2 + 1
        return [costs[subject] * (disturbed if is_hit else 1)]

    race = run_race(range(len(costs)), measure, rules, never)
    assert best in {standing.subject for standing in race.finalists}


@given(costs=COSTS, rules=RULES, which=st.integers(0, 23))
def test_the_protected_one_stays_and_no_worse_one_is_chosen(costs: list[float], rules: RaceRules, which: int) -> None:
    now = which % len(costs)
    race = run_race(range(len(costs)), lambda n: [costs[n]], rules, never, protected=(now,))
    assert now in {standing.subject for standing in race.finalists}
    assert costs[choose(race.finalists, lambda n: n != now).subject] <= costs[now]


@given(costs=COSTS, rules=RULES, broken=st.sets(st.integers(0, 23)))
def test_what_cannot_be_measured_is_left_out(costs: list[float], rules: RaceRules, broken: set[int]) -> None:
    race = run_race(range(len(costs)), lambda n: None if n in broken else [costs[n]], rules, never)
    assert race.unusable == [n for n in range(len(costs)) if n in broken]
    assert not broken & {standing.subject for standing in [*race.finalists, *race.beaten]}
    assert bool(race.finalists) == any(n not in broken for n in range(len(costs)))


@given(costs=COSTS, visits_allowed=st.integers(0, 60))
def test_time_ends_a_race_but_not_before_the_first_visit(costs: list[float], visits_allowed: int) -> None:
    count = 0

    def measure(subject: int) -> list[float]:
        nonlocal count
        count += 1
        return [costs[subject]]

    race = run_race(range(len(costs)), measure, RaceRules(3, 5), lambda: count >= visits_allowed)
    assert count <= max(1, visits_allowed)
    assert race.finalists
    assert sorted([*(s.subject for s in [*race.finalists, *race.beaten]), *race.untried]) == list(range(len(costs)))


@given(costs=COSTS, sure=st.integers(1, 4))
def test_a_round_that_is_sure_is_run_without_time(costs: list[float], sure: int) -> None:
    race = run_race(range(len(costs)), lambda n: [costs[n]], RaceRules(3, 5, sure), lambda: True)
    assert {len(standing.visits) for standing in race.finalists} == {sure}
    assert race.untried == []


@given(costs=st.lists(st.floats(min_value=10, max_value=10.1), min_size=2, max_size=8))
def test_of_equals_the_smallest_is_taken(costs: list[float]) -> None:
    race, _ = raced(costs, RaceRules(keep=8, rounds=10))
    assert choose(race.finalists, lambda subject: -subject).subject == len(costs) - 1


@given(seed=st.integers(0, 100))
def test_one_that_is_often_late_does_not_win_by_its_median(seed: int) -> None:
    chance = random.Random(seed)
    steady = Standing("steady", tuple((10.2,) * 10 for _ in range(5)))
    late = Standing("late", tuple((*(10.0,) * 9, 40.0 + chance.random()) for _ in range(5)))
    assert choose([late, steady], lambda name: name).subject == "steady"


def test_one_late_frame_decides_nothing() -> None:
    fast = Standing("fast", (*((42.0,) * 10 for _ in range(4)), (*(42.0,) * 9, 1300.0)))
    slow = Standing("slow", tuple((54.0,) * 10 for _ in range(5)))
    assert choose([slow, fast], lambda name: name == "fast").subject == "fast"


def test_few_rounds_prove_little() -> None:
    one, other = Standing("a", ((10.0,),)), Standing("b", ((11.0,),))
    assert not is_slower(other, one)
    many = [Standing(each.subject, each.visits * 10) for each in (one, other)]
    assert is_slower(many[1], many[0])


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 100))
def test_a_percentile_lies_among_its_values(values: list[float], percent: float) -> None:
    assert min(values) <= percentile(values, percent) <= max(values)
    below = sum(value <= percentile(values, percent) for value in values)
    assume(len(values) > 1)
    assert below >= math.floor(percent / 100 * (len(values) - 1))


@pytest.mark.parametrize(("keep", "rounds"), [(0, 1), (1, 0)])
def test_a_race_without_anybody_is_no_race(keep: int, rounds: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        RaceRules(keep, rounds)
