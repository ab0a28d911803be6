"""The part that was seen is the part that is thrown out, whatever the order and distance of triggers and verdicts."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.runtime.tracking import Fire, Tracker, TrackRules
from edge_runtime.values import Outcome

TRAVEL, GAP = 1000, 100
RULES = TrackRules(TRAVEL, GAP)
distances = st.lists(st.integers(1, 400), min_size=1, max_size=30)
outcomes = st.sampled_from(list(Outcome))


def places(steps: list[int], start: int = 5000) -> list[int]:
    """Rising positions, none before `start`."""
    return [start + sum(steps[: index + 1]) for index in range(len(steps))]


@given(distances, st.data())
def test_each_part_fires_exactly_once_at_its_place_with_its_own_verdict(steps, data):
    """Parts far enough apart: PASS if and only if concluded PASS before the ejector; in the order of the triggers."""
    ats = places([step + GAP for step in steps])
    verdicts = {part_id: data.draw(st.none() | outcomes) for part_id in range(len(ats))}
    tracker = Tracker(RULES, 0)
    for part_id, at in enumerate(ats):
        assert tracker.see(part_id, at) == ()
    for part_id in data.draw(st.permutations(list(verdicts))):
        if verdicts[part_id] is not None:
            tracker.conclude(part_id, verdicts[part_id])
    stops = sorted(data.draw(st.lists(st.integers(0, ats[-1] + 2 * TRAVEL), max_size=20)))
    fired: list[tuple[int, Fire]] = []
    for position in [*stops, ats[-1] + TRAVEL]:
        assert tracker.undecided(position) == [
            p for p, at in enumerate(ats) if at + TRAVEL <= position and verdicts[p] is None and p not in dict_of(fired)
        ]
        fired += [(position, fire) for fire in tracker.advance(position)]
    expected = [Fire(part_id, verdicts[part_id] or Outcome.NOT_INSPECTED) for part_id in range(len(ats))]
    assert [fire for _, fire in fired] == expected
    assert all(position >= ats[fire.part_id] + TRAVEL for position, fire in fired)
    assert len(tracker) == 0


def dict_of(fired: list[tuple[int, Fire]]) -> dict[int, Outcome]:
    return {fire.part_id: fire.outcome for _, fire in fired}


@given(distances)
def test_parts_closer_than_the_gap_never_pass_and_others_do(steps):
    ats = places(steps)
    tracker = Tracker(RULES, 0)
    told: set[int] = set()
    for part_id, at in enumerate(ats):
        told |= set(tracker.see(part_id, at))
        tracker.conclude(part_id, Outcome.PASS)
    fired = dict_of([(0, fire) for fire in tracker.advance(ats[-1] + TRAVEL)])
    close = {p for p, at in enumerate(ats) if any(abs(at - other) < GAP for q, other in enumerate(ats) if q != p)}
    assert told == close
    assert {part_id for part_id, outcome in fired.items() if outcome is not Outcome.PASS} == close


@given(distances, st.integers(1, 5))
def test_a_part_whose_trigger_was_lost_is_ejected_and_its_neighbours_are_not(steps, lost):
    """One part between any two of those seen is never seen itself, and lies at least a gap from each."""
    ats = places([step + 2 * GAP for step in steps])
    tracker = Tracker(RULES, 0)
    for part_id, at in enumerate(ats):
        tracker.see(part_id, at, lost_before=lost if part_id else 0)
    for before, after in pairwise(ats):
        for unseen in range(before + GAP, after - GAP):
            assert tracker.is_blind(unseen + TRAVEL)
    assert [at for at in ats if tracker.is_blind(at + TRAVEL)] == []
    assert tracker.counters.lost == lost * (len(ats) - 1)


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_what_passed_the_trigger_before_the_start_is_ejected(unseen, first):
    """Whatever came before the first part seen, at least a gap before it, meets a working ejector."""
    start = 3000
    tracker = Tracker(RULES, start)
    tracker.see(1, start + first)
    if unseen < start and start + first - unseen >= GAP:
        for position in range(start, unseen + TRAVEL):
            tracker.advance(position)
        assert unseen + TRAVEL < start or tracker.is_blind(unseen + TRAVEL)
    assert not tracker.is_blind(start + first + TRAVEL)


@given(distances, st.integers(0, 5000))
def test_nothing_on_its_way_when_sight_is_lost_passes(steps, after):
    ats = places([step + GAP for step in steps])
    tracker = Tracker(RULES, 0)
    for part_id, at in enumerate(ats):
        tracker.see(part_id, at)
        tracker.conclude(part_id, Outcome.PASS)
    tracker.lose_sight(ats[-1] + after)
    fired = tracker.advance(ats[-1] + after + TRAVEL)
    assert {fire.outcome for fire in fired} == {Outcome.NOT_INSPECTED}
    assert tracker.counters.overridden == len(ats)


@given(distances, st.integers(0, 20_000))
def test_nothing_changes_before_the_next_change(steps, position):
    tracker = Tracker(RULES, 4000)
    for part_id, at in enumerate(places([step + GAP for step in steps])):
        tracker.see(part_id, at, lost_before=part_id % 2)
    tracker.advance(position)
    change = tracker.next_change(position)
    before = change - 1 if change is not None else position + 50_000
    assert tracker.advance(before) == []
    assert tracker.is_blind(before) is tracker.is_blind(position)


def test_a_trigger_that_comes_out_of_order_keeps_its_own_place():
    tracker = Tracker(RULES, 0)
    tracker.see(1, 2000)
    tracker.see(2, 1500)
    tracker.conclude(2, Outcome.PASS)
    assert tracker.advance(2500) == [Fire(2, Outcome.PASS)]
    assert tracker.advance(3000) == [Fire(1, Outcome.NOT_INSPECTED)]
    assert tracker.counters.out_of_order == 1


def test_only_counted_losses_leave_the_ejector_at_rest():
    tracker = Tracker(TrackRules(TRAVEL, GAP, on_lost="count"), 0)
    tracker.see(1, 2000)
    tracker.see(2, 3000, lost_before=1)
    assert not any(tracker.is_blind(position) for position in range(3000, 4000))
    assert tracker.counters.lost == 1


@pytest.mark.parametrize(("travel", "gap"), [(0, 0), (-1, 0), (10, 11), (10, -1)])
def test_rules_that_cannot_be_are_refused(travel, gap):
    with pytest.raises(ValueError, match="travel"):
        TrackRules(travel, gap)
