"""Who was hit, and whether he should have been."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.interfaces import Output
from edge_runtime.signal_io.recording import Driven
from edge_runtime.simulation.faults import FAULTS
from edge_runtime.simulation.truth import (
    FOR_EVER_NS,
    Fate,
    Way,
    Window,
    active_spans,
    fate_of,
    is_hit,
    joined,
    still_spans,
)

SPANS = st.lists(st.tuples(st.integers(0, 200), st.integers(1, 30)).map(lambda each: (each[0], sum(each))), max_size=20)
WAY = Way(7, False, 1000, ((2000, 2100),))
BAD = Way(7, True, 1000, ((2000, 2100),))


def reject(*changes: tuple[int, bool]) -> list[Driven]:
    return [Driven(at_ns, Output.REJECT, active) for at_ns, active in changes]


@given(SPANS, SPANS)
def test_a_part_is_hit_exactly_when_the_ejector_worked_while_it_lay_there(there, working):
    way = Way(1, True, 0, tuple(joined(there)) or ((0, 1),))
    by_hand = any(a < d and c < b for a, b in way.at_ejector for c, d in working)
    assert is_hit(way, joined(working)) is by_hand


@given(SPANS, st.integers(0, 240))
def test_joined_spans_cover_the_same_times_and_do_not_touch(spans, at):
    together = joined(spans)
    assert any(a <= at < b for a, b in together) is any(a <= at < b for a, b in spans)
    assert all(before[1] < after[0] for before, after in pairwise(together))


def test_a_level_holds_until_the_next_one_whoever_repeats_it():
    driven = [*reject((0, True), (5, True), (9, False), (9, False), (20, True)), Driven(22, Output.OK, True)]
    assert active_spans(driven, Output.REJECT) == [(0, 9), (20, FOR_EVER_NS)]


def test_a_heartbeat_that_stands_still_rejects_from_the_fourth_beat_on():
    beats = [Driven(at_ns, Output.HEARTBEAT, active) for at_ns, active in ((0, True), (100, False), (900, True))]
    assert still_spans(beats, 100) == [(400, 900), (1200, FOR_EVER_NS)]
    assert still_spans([], 100) == []


def test_a_defective_part_that_is_let_through_is_missed_whatever_happened():
    everything = [Window(kind, 0, FOR_EVER_NS) for kind in FAULTS.values()]
    assert fate_of(BAD, False, False, everything)[0] is Fate.MISSED
    assert fate_of(BAD, True, False, [])[0] is Fate.EJECTED_RIGHT


@pytest.mark.parametrize(
    ("fault", "inspected", "fate"),
    [
        ("noise", False, Fate.EJECTED_WRONG),
        ("office_kill", False, Fate.EJECTED_WRONG),
        ("worker_kill", False, Fate.NOT_INSPECTED),
        ("worker_kill", True, Fate.EJECTED_WRONG),
        ("daemon_kill", True, Fate.NOT_INSPECTED),
    ],
)
def test_a_good_part_is_excused_by_what_its_fault_excuses_and_no_more(fault, inspected, fate):
    assert fate_of(WAY, True, inspected, [Window(FAULTS[fault], 1500, 1600)])[0] is fate


@pytest.mark.parametrize(("from_ns", "to_ns"), [(0, 1000), (2100, 3000)])
def test_a_window_that_is_over_or_not_yet_begun_excuses_nobody(from_ns, to_ns):
    window = Window(FAULTS["daemon_kill"], from_ns, to_ns)
    assert fate_of(WAY, True, False, [window]) == (Fate.EJECTED_WRONG, None)


def test_the_fault_of_an_edge_excuses_its_own_part_alone():
    for number, fate in ((7, Fate.NOT_INSPECTED), (8, Fate.EJECTED_WRONG)):
        window = Window(FAULTS["doubled_edge"], 900, 3000, part=number)
        assert fate_of(WAY, True, True, [window])[0] is fate
