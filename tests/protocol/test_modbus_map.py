"""The register map: no two registers overlap, and what the box says can be read back from the words, in both orders."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.commands.modbus_map import HEAD, as_csv
from edge_runtime.protocol.modbus_image import (
    FieldDefect,
    FieldResult,
    FieldState,
    image_of,
    numbers_of,
    reason_code,
    status_bits,
)
from edge_runtime.protocol.modbus_map import (
    COMMANDS,
    COMMANDS_AT,
    COUNTERS,
    DEFECTS_SHOWN,
    IMAGE_WORDS,
    MAX_READ_WORDS,
    OUTCOMES,
    REASON_OTHER,
    REASON_RECIPE,
    REASONS,
    REGISTERS,
    STATES,
    STATUS_BITS,
    number_of,
    words_of,
)
from edge_runtime.runtime.health import State
from edge_runtime.values import Defect, Outcome, Verdict, Zone

WORD, LONG, ID = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1), st.integers(1, 2**63 - 1)
ORDERS = st.sampled_from(["big", "little"])
DEFECTS = st.builds(FieldDefect, WORD, st.tuples(WORD, WORD, WORD, WORD), LONG, st.integers(0, 1000))
RESULTS = st.builds(
    FieldResult,
    part_id=ID,
    line_seqno=st.none() | WORD,
    outcome=st.sampled_from(Outcome),
    reason=WORD,
    defect_count=WORD,
    in_mm=st.booleans(),
    defects=st.lists(DEFECTS, max_size=DEFECTS_SHOWN).map(tuple),
)


@st.composite
def states(draw: st.DrawFn) -> FieldState:
    result = draw(st.none() | RESULTS)
    busy, fault = draw(st.booleans()), draw(st.booleans())
    return FieldState(
        state=draw(st.sampled_from(STATES)),
        heartbeat=draw(WORD),
        ready=not busy and not fault,
        busy=busy,
        fault=fault,
        overrun=draw(st.booleans()),
        stop=draw(st.booleans()),
        takes_triggers=draw(st.booleans()),
        accepted_seqno=draw(WORD),
        accepted_part_id=draw(st.just(0) | ID),
        recipe_number=draw(WORD),
        recipe_digest=draw(LONG),
        waiting=draw(WORD),
        counters=tuple(draw(LONG) for _ in COUNTERS),
        result_id=draw(st.integers(1, 2**16 - 1)) if result is not None else 0,
        result=result,
        commands=tuple(draw(WORD) for _ in COMMANDS),
    )


def test_registers_do_not_overlap_and_one_request_reads_status_and_result() -> None:
    addresses = [register.address + n for register in REGISTERS for n in range(register.words)]
    assert len(set(addresses)) == len(addresses)
    assert sorted(addresses) == [*range(IMAGE_WORDS), *range(COMMANDS_AT, COMMANDS_AT + len(COMMANDS))]
    assert IMAGE_WORDS <= MAX_READ_WORDS
    assert {r.address for r in REGISTERS if r.access == "write"} == {COMMANDS_AT + n for n in range(len(COMMANDS))}
    assert len({r.name for r in REGISTERS}) == len(REGISTERS)


def test_every_state_of_the_daemon_has_a_code() -> None:
    assert set(STATES) == {"down"} | {state.value for state in State}
    assert STATES[0] == "down"


@given(states(), WORD, ORDERS)
def test_what_is_shown_can_be_read_back(state: FieldState, refused: int, order: str) -> None:
    numbers = numbers_of(image_of(state, refused, order), order)
    assert STATES[numbers["state"]] == state.state
    assert [bool(numbers["status_bits"] >> n & 1) for n in range(len(STATUS_BITS))] == [*status_bits(state).values()]
    named = (
        "heartbeat",
        "accepted_seqno",
        "accepted_part_id",
        "recipe_number",
        "recipe_digest",
        "waiting",
        "result_id",
    )
    assert {name: numbers[name] for name in named} == {name: getattr(state, name) for name in named}
    assert numbers["refused"] == refused
    assert tuple(numbers[name] for name in COUNTERS) == state.counters
    assert tuple(numbers[name] for name in COMMANDS) == state.commands
    assert numbers["result_id_again"] == numbers["result_id"]
    assert result_of(numbers) == state.result


def result_of(numbers: dict[str, int]) -> FieldResult | None:
    if numbers["result_id"] == 0:
        assert not any(numbers[name] for name in ("outcome", "part_id", "defects_shown", "defect_1_class"))
        return None
    outcome = next(outcome for outcome, code in OUTCOMES.items() if code == numbers["outcome"])
    defects = []
    for n in range(1, numbers["defects_shown"] + 1):
        box = tuple(numbers[f"defect_{n}_{edge}"] for edge in ("x_min", "y_min", "x_max", "y_max"))
        defects.append(
            FieldDefect(numbers[f"defect_{n}_class"], box, numbers[f"defect_{n}_area"], numbers[f"defect_{n}_score"])
        )
    return FieldResult(
        part_id=numbers["part_id"],
        line_seqno=numbers["line_seqno"] if numbers["result_bits"] & 1 else None,
        outcome=outcome,
        reason=numbers["reason"],
        defect_count=numbers["defect_count"],
        in_mm=bool(numbers["result_bits"] & 2),
        defects=tuple(defects),
    )


@given(st.integers(0, 2**64 - 1), ORDERS)
def test_words_keep_the_number(number: int, order: str) -> None:
    assert number_of(words_of(number, 4, order), order) == number
    assert words_of(number, 4, "big") == words_of(number, 4, "little")[::-1]


@given(st.integers(), st.sampled_from([1, 2, 4]), ORDERS)
def test_too_large_a_number_is_shown_as_the_largest(number: int, words: int, order: str) -> None:
    assert number_of(words_of(number, words, order), order) == min(max(number, 0), 2 ** (16 * words) - 1)


def test_a_box_that_is_down_promises_nothing() -> None:
    bits = status_bits(FieldState())
    assert {name for name, is_set in bits.items() if is_set} == {"fault"}


@pytest.mark.parametrize("outcome", Outcome)
def test_only_a_pass_is_ok(outcome: Outcome) -> None:
    result = FieldResult(1, None, outcome, 0, 0, False, ())
    bits = status_bits(FieldState(result_id=2, result=result))
    assert (bits["ok"], bits["reject"]) == (outcome is Outcome.PASS, outcome is not Outcome.PASS)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"state": "asleep"}, "asleep"),
        ({"result_id": 1}, "no result has id 0"),
        ({"counters": (1,)}, "counters"),
        ({"ready": True, "fault": True}, "excludes"),
    ],
)
def test_a_state_that_contradicts_itself_is_never_built(wrong: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        replace(FieldState(), **wrong)


def defect(area_px: int, box: tuple[int, int, int, int] = (10, 20, 30, 41)) -> Defect:
    return Defect(3, box, area_px, None, 0.5)


def verdict(outcome: Outcome, reasons: tuple[str, ...], defects: tuple[Defect, ...] = ()) -> Verdict:
    return Verdict(7, outcome, reasons, defects, len(defects), 0, "m", "r")


def test_the_largest_defects_are_shown_in_tenths_of_a_millimetre_or_in_pixels() -> None:
    found = tuple(defect(area) for area in range(1, 20))
    in_px = FieldResult.of(verdict(Outcome.REJECT, ("open: 2 > 0",), found), 5, None)
    assert [each.area for each in in_px.defects] == [19, 18, 17, 16, 15, 14, 13, 12]
    assert (in_px.defect_count, in_px.in_mm, in_px.defects[0].box) == (19, False, (10, 20, 30, 41))
    in_mm = FieldResult.of(verdict(Outcome.REJECT, ("open: 2 > 0",), found), 5, 0.1)
    assert (in_mm.in_mm, in_mm.defects[0]) == (True, FieldDefect(3, (10, 20, 30, 41), 19, 500))


def test_defects_outside_the_inspected_zone_are_counted_and_not_shown() -> None:
    ignored = replace(defect(50), zone=Zone.IGNORE)
    result = FieldResult.of(verdict(Outcome.PASS, (), (ignored, defect(7))), None, None)
    assert (result.defect_count, [each.area for each in result.defects]) == (2, [7])


def test_reasons_are_codes() -> None:
    assert len({*REASONS.values(), 0, REASON_RECIPE, REASON_OTHER}) == len(REASONS) + 3
    assert reason_code(verdict(Outcome.PASS, ())) == 0
    assert reason_code(verdict(Outcome.REJECT, ("open: 2 > 0",))) == REASON_RECIPE
    assert reason_code(verdict(Outcome.NOT_INSPECTED, ("deadline",))) == REASONS["deadline"]
    assert reason_code(verdict(Outcome.NOT_INSPECTED, ("a new one",))) == REASON_OTHER


def test_the_csv_names_every_register_and_every_bit() -> None:
    lines = list(csv.DictReader(io.StringIO(as_csv("high"))))
    assert tuple(lines[0]) == HEAD
    assert [line["name"] for line in lines] == [*(r.name for r in REGISTERS), *STATUS_BITS]
    part = next(line for line in lines if line["name"] == "part_id")
    assert (part["address"], part["reference"], part["word_order"]) == ("34", "40035", "high word first")
