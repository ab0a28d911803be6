"""Who was hit, and whether he should have been."""

from datetime import datetime, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.interfaces import Output
from edge_runtime.protocol.messages import Result
from edge_runtime.signal_io.recording import Driven
from edge_runtime.simulation.far_end import Heard, Told
from edge_runtime.simulation.faults import FAULTS
from edge_runtime.simulation.findings import percentile, row_problems, unrecorded, wire_problems
from edge_runtime.simulation.truth import (
    FOR_EVER_NS,
    Fate,
    Way,
    Window,
    active_spans,
    fate_of,
    is_hit,
    joined,
    missed_by_ns,
    still_spans,
)
from edge_runtime.values import InspectionRecord, Outcome, Trigger, Verdict

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


@pytest.mark.parametrize(
    ("working", "aside_ns"),
    [((), None), (((2050, 2060),), None), (((1000, 1990), (2130, 2140)), -10), (((2130, 2140), (9000, 9010)), 30)],
)
def test_how_far_aside_the_ejector_worked(working, aside_ns):
    assert missed_by_ns(WAY, working) == aside_ns


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


def record(outcome: Outcome, label: str = "belt/7", part_id: int = 3) -> InspectionRecord:
    reasons = () if outcome is Outcome.PASS else ("deadline",)
    verdict = Verdict(part_id, outcome, reasons, (), 0, 1500, "m", "r")
    return InspectionRecord(Trigger(part_id, 1000, 2000), verdict, datetime.now(timezone.utc), None, {}, label)


def heard(outcome: Outcome, part_id: int = 3) -> Heard:
    return Heard(results={part_id: Told(Result(1, part_id, None, outcome, 0, "", ""), 1600)})


@pytest.mark.parametrize(
    ("way", "row", "told", "problem"),
    [
        (WAY, record(Outcome.PASS), heard(Outcome.PASS), ""),
        (WAY, record(Outcome.PASS), Heard(), "never came"),
        (WAY, record(Outcome.REJECT), heard(Outcome.PASS), "told PASS, recorded REJECT"),
        (BAD, record(Outcome.PASS), heard(Outcome.PASS), "is defective and was passed"),
        (WAY, record(Outcome.PASS, "belt/8"), heard(Outcome.PASS), "judged by the picture belt/8"),
    ],
)
def test_what_was_told_is_checked_against_the_truth(way, row, told, problem):
    problems = wire_problems(way, [row], [], told)
    assert len(problems) == bool(problem)
    assert problem in "".join(problems)


def test_a_part_has_one_row_unless_a_fault_says_otherwise():
    row = record(Outcome.PASS)
    assert [len(row_problems(WAY, rows, [])) for rows in ([], [row], [row, row])] == [1, 0, 1]
    killed, doubled = Window(FAULTS["daemon_kill"], 0, 9000), Window(FAULTS["doubled_edge"], 0, 9000, part=7)
    assert row_problems(WAY, [], [killed]) == row_problems(WAY, [row, row], [doubled]) == []
    assert row_problems(WAY, [], [Window(FAULTS["worker_kill"], 0, 9000)]) != []
    laid = Way(8, True, 1000, ((2000, 2100),), laid=True)
    assert [len(row_problems(laid, rows, [])) for rows in ([], [row])] == [0, 1]


def test_a_result_without_a_record_is_a_problem():
    assert unrecorded([record(Outcome.PASS)], heard(Outcome.PASS)) == []
    assert unrecorded([], heard(Outcome.PASS)) == ["part_id 3: told and not recorded"]


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.5, 2.0), (0.99, 4.0), (1.0, 4.0)])
def test_a_percentile_is_a_value_that_was_measured(share, value):
    assert percentile([3.0, 1.0, 4.0, 2.0], share) == value
    assert percentile([], share) is None
