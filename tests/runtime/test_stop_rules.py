"""The demand to stop comes with the part that breaks a rule, not before, and stands until the reset."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.runtime.stop_rules import StopLimits, StopRule
from edge_runtime.values import Outcome

verdicts = st.lists(st.sampled_from(list(Outcome)), max_size=60)


@given(verdicts, st.integers(1, 5))
def test_so_many_rejects_in_a_row(outcomes, limit):
    rule = StopRule(StopLimits(consecutive_rejects=limit))
    rejected = [outcome is not Outcome.PASS for outcome in outcomes]
    for count, outcome in enumerate(outcomes, 1):
        rule.concluded(outcome)
        broken = any(all(rejected[i : i + limit]) for i in range(count - limit + 1))
        assert bool(rule.reason) is broken


@given(verdicts, st.integers(2, 10), st.sampled_from([0.2, 0.5, 1.0]))
def test_a_share_of_the_last_parts(outcomes, window, rate):
    rule = StopRule(StopLimits(reject_rate=rate, rate_window=window))
    rejected = [outcome is not Outcome.PASS for outcome in outcomes]
    for count, outcome in enumerate(outcomes, 1):
        rule.concluded(outcome)
        broken = any(sum(rejected[i : i + window]) >= rate * window for i in range(count - window + 1))
        assert bool(rule.reason) is broken


@given(verdicts)
def test_without_limits_nothing_is_demanded(outcomes):
    rule = StopRule(StopLimits())
    for outcome in outcomes:
        rule.concluded(outcome)
    assert rule.reason == ""


def test_a_reset_starts_the_count_anew():
    rule = StopRule(StopLimits(consecutive_rejects=2))
    for _ in range(3):
        rule.concluded(Outcome.REJECT)
    assert (rule.reason, rule.demands) == ("consecutive_rejects", 1)
    rule.reset()
    rule.concluded(Outcome.REJECT)
    assert rule.reason == ""
    rule.concluded(Outcome.NOT_INSPECTED)
    assert (rule.reason, rule.demands) == ("consecutive_rejects", 2)
