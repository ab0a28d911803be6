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


@given(distances, st.data())
def test_with_a_second_eye_only_parts_that_come_to_it_pass(steps, data):
    """Slipped within the tolerance: passed at the corrected place. Absent: ejected. Unknown: the ejector works."""
    eye, tolerance = 700, 40
    tracker = Tracker(TrackRules(TRAVEL, GAP, eye=eye, tolerance=tolerance), 0)
    ats = places([step + GAP for step in steps])
    for part_id, at in enumerate(ats):
        tracker.see(part_id, at)
        tracker.conclude(part_id, Outcome.PASS)
    slips = {part_id: data.draw(st.none() | st.integers(-tolerance, tolerance)) for part_id in range(len(ats))}
    arrivals = {ats[part_id] + slip + eye for part_id, slip in slips.items() if slip is not None}
    stops = arrivals | {at + TRAVEL + off for at in ats for off in range(-tolerance, tolerance + 1)}
    fired: dict[int, tuple[int, Outcome]] = {}
    for position in sorted(stops):
        if position in arrivals:
            tracker.arrive(position)
        fired |= {fire.part_id: (position, fire.outcome) for fire in tracker.advance(position)}
    assert fired == {
        part_id: (at + TRAVEL, Outcome.NOT_INSPECTED)
        if slips[part_id] is None
        else (at + slips[part_id] + TRAVEL, Outcome.PASS)
        for part_id, at in enumerate(ats)
    }
    assert tracker.counters.missing == sum(slip is None for slip in slips.values())


def test_something_unknown_at_the_second_eye_is_ejected():
    tracker = Tracker(TrackRules(TRAVEL, GAP, eye=700, tolerance=40), 0)
    tracker.see(1, 2000)
    tracker.arrive(2700 + 41)
    assert tracker.counters.unexpected == 1
    assert [p for p in range(2000, 4000) if tracker.is_blind(p)] == list(range(3001, 3081))


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


def test_a_verdict_that_overtakes_is_counted_and_stays_with_its_part():
    tracker = Tracker(RULES, 0)
    tracker.see(1, 2000)
    tracker.see(2, 2500)
    tracker.conclude(2, Outcome.PASS)
    tracker.conclude(1, Outcome.REJECT)
    assert tracker.counters.overtaken == 1
    assert tracker.advance(3500) == [Fire(1, Outcome.REJECT), Fire(2, Outcome.PASS)]


@pytest.mark.parametrize(("eye", "tolerance"), [(10, 11), (990, 20), (1001, 0), (-1, 0)])
def test_an_eye_that_cannot_be_is_refused(eye, tolerance):
    with pytest.raises(ValueError, match="eye"):
        TrackRules(TRAVEL, GAP, eye=eye, tolerance=tolerance)


@pytest.mark.parametrize(("travel", "gap"), [(0, 0), (-1, 0), (10, 11), (10, -1)])
def test_rules_that_cannot_be_are_refused(travel, gap):
    with pytest.raises(ValueError, match="travel"):
        TrackRules(travel, gap)
