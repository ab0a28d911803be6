"""Every message survives the pipe unchanged, and nothing else gets through it."""

from dataclasses import fields, replace
from datetime import datetime, timedelta, timezone
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_runtime.protocol.modbus_bank import Command
from edge_runtime.protocol.modbus_image import FieldResult, FieldState
from edge_runtime.protocol.modbus_map import COMMANDS, COUNTERS, STATES
from edge_runtime.runtime import messages, snapshot
from edge_runtime.runtime.messages import MessageError, decode, encode
from edge_runtime.runtime.recipes import RecipeFacts
from edge_runtime.values import Defect, InspectionRecord, Outcome, TileCounts, Trigger, Verdict, Zone

PART_IDS = st.integers(1, 2**63 - 1)
TIMES_NS = st.integers(0, 2**62)
COUNTS = st.integers(0, 2**32)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
MS = st.floats(0, 1e9)
UTC = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(timezone.utc))
IMAGE_HW = st.tuples(st.integers(1, 8192), st.integers(1, 8192))
STAGE_MS = st.dictionaries(TEXTS, MS, max_size=4)


@st.composite
def defects(draw):
    x0, y0 = draw(st.integers(0, 5000)), draw(st.integers(0, 5000))
    box = (x0, y0, x0 + draw(st.integers(1, 500)), y0 + draw(st.integers(1, 500)))
    area_mm2 = draw(st.none() | st.floats(0, 1e6))
    zone = draw(st.sampled_from(Zone))
    return Defect(draw(st.integers(1, 255)), box, draw(st.integers(1, 10**9)), area_mm2, draw(st.floats(0, 1)), zone)


@st.composite
def verdicts(draw):
    outcome = draw(st.sampled_from(Outcome))
    reasons = tuple(draw(st.lists(TEXTS, min_size=outcome is not Outcome.PASS, max_size=3)))
    found = tuple(draw(st.lists(defects(), max_size=3)))
    count = len(found) + draw(COUNTS)
    return Verdict(draw(PART_IDS), outcome, reasons, found, count, draw(TIMES_NS), draw(TEXTS), draw(TEXTS))


@st.composite
def tile_counts(draw):
    missed, also_audited, others = draw(COUNTS), draw(COUNTS), draw(COUNTS)
    return TileCounts(missed + also_audited + others, draw(COUNTS), missed + also_audited, missed)


@st.composite
def records(draw):
    at_ns = draw(TIMES_NS)
    trigger = Trigger(draw(PART_IDS), at_ns, at_ns + draw(st.integers(1, 10**12)))
    line_seqno = draw(st.none() | st.integers(0, 65535))
    more = draw(COUNTS), draw(TEXTS), draw(tile_counts()), draw(COUNTS), draw(TEXTS)
    return InspectionRecord(trigger, draw(verdicts()), draw(UTC), line_seqno, draw(STAGE_MS), draw(TEXTS), *more)


WORDS = st.integers(0, 65535)
COMMAND_LISTS = st.lists(st.builds(Command, st.sampled_from(COMMANDS), WORDS), max_size=4).map(tuple)


@st.composite
def field_states(draw):
    counters = tuple(draw(COUNTS) for _ in COUNTERS)
    state = FieldState(state=draw(st.sampled_from(STATES)), ready=draw(st.booleans()), fault=False, counters=counters)
    if draw(st.booleans()):
        result = FieldResult.of(draw(verdicts()), draw(st.none() | WORDS), draw(st.none() | st.floats(0.001, 10)))
        state = replace(state, result_id=draw(st.integers(1, 65535)), result=result)
    return state


CLASS_NAMES = st.dictionaries(st.integers(1, 255), TEXTS, max_size=3)
RECIPES = st.builds(RecipeFacts, COUNTS, TEXTS, TEXTS, TEXTS, CLASS_NAMES, st.none() | st.floats(0.001, 10))

FIELD_VALUES = {
    "recipes": st.lists(RECIPES, max_size=3).map(tuple),
    "recipe_at_start": COUNTS,
    "problem": TEXTS,
    "engines": TEXTS,
    "settings": TEXTS,
    "tile_counts": tile_counts(),
    "index": COUNTS,
    "digests": st.dictionaries(st.integers(1, 65535), TEXTS, max_size=3),
    "kept_recipe": st.none() | COUNTS,
    "load_no": COUNTS,
    "model_id": TEXTS,
    "kept_gate": TEXTS,
    "recipe": COUNTS,
    "number": COUNTS,
    "code_ms": st.none() | MS,
    "next_part_id": PART_IDS,
    "reason": TEXTS,
    "unfit": TEXTS,
    "slot": st.integers(0, 63),
    "part_id": PART_IDS,
    "trigger_ns": st.none() | TIMES_NS,
    "timeout_ms": MS,
    "image_hw": IMAGE_HW,
    "captured_ns": TIMES_NS,
    "captured_at": UTC,
    "label": TEXTS,
    "end": st.booleans(),
    "verdict": verdicts(),
    "stage_ms": STAGE_MS,
    "tiles": COUNTS,
    "tile_px": COUNTS,
    "engine": TEXTS,
    "predict_ms": MS,
    "record": records(),
    "part_ids": st.lists(PART_IDS, max_size=5).map(tuple),
    "snapshot": TEXTS,
    "state": field_states(),
    "commands": COMMAND_LISTS,
    "at_ns": TIMES_NS,
    "asked_ns": TIMES_NS,
    "taken_ns": TIMES_NS,
    "stored_ns": TIMES_NS,
}


def messages_of(message_type):
    named = {each.name: FIELD_VALUES[each.name] for each in fields(message_type) if each.name != "kind"}
    return st.builds(message_type, **named)


MESSAGE_TYPES = get_args(messages.Message)
ANY_MESSAGE = st.one_of([messages_of(each) for each in MESSAGE_TYPES])


@pytest.mark.parametrize("message_type", MESSAGE_TYPES)
def test_a_message_arrives_as_it_was_sent(message_type):
    @settings(max_examples=30, deadline=None)
    @given(messages_of(message_type))
    def arrives_as_sent(message):
        assert decode(encode(message)) == message

    arrives_as_sent()


def test_each_type_is_told_by_a_kind_of_its_own():
    kinds = [each.kind for each in MESSAGE_TYPES]
    assert sorted(set(kinds)) == sorted(kinds)
    assert len(kinds) > 10


@settings(max_examples=50, deadline=None)
@given(ANY_MESSAGE, st.data())
def test_a_cut_message_is_refused(message, data):
    whole = encode(message)
    with pytest.raises(MessageError, match="not a message of this program"):
        decode(whole[: data.draw(st.integers(0, len(whole) - 1))])


@given(st.binary(max_size=200))
def test_rubbish_is_refused(rubbish):
    with pytest.raises(MessageError):
        decode(rubbish)


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "{}",
        "[]",
        '{"kind": "unheard_of"}',
        '{"kind": "capture"}',
        '{"kind": "capture", "slot": "none", "part_id": 1, "trigger_ns": 1, "timeout_ms": 1}',
        '{"kind": "captured", "slot": 1, "part_id": 1, "image_hw": [1], "captured_ns": 1, "captured_at": "2026-01-01"}',
        '{"kind": "committed", "part_ids": 3}',
    ],
)
def test_what_no_process_says_is_refused(text):
    with pytest.raises(MessageError):
        decode(text.encode())


def test_a_damaged_value_inside_a_message_is_refused():
    verdict = Verdict(1, Outcome.REJECT, ("open",), (), 0, 5, "model", "recipe")
    without_reason = encode(messages.Inspected(verdict)).replace(b'["open"]', b"[]")
    with pytest.raises(MessageError, match="REJECT needs a reason"):
        decode(without_reason)
    record = InspectionRecord(Trigger(1, 10, 20), verdict, datetime(2026, 1, 1, tzinfo=timezone.utc), None)
    due_before_it_came = encode(messages.Archive(record)).replace(b'"deadline_ns":20', b'"deadline_ns":10')
    with pytest.raises(MessageError, match="deadline must lie after the trigger"):
        decode(due_before_it_came)


# -- the snapshot -----------------------------------------------------------------------------------------------

VERDICT = Verdict(7, Outcome.NOT_INSPECTED, ("deadline",), (), 0, 9, "model", "recipe")
SNAPSHOT = snapshot.Snapshot(
    at=datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=1),
    station="station ä",
    state="degraded",
    faults=("office", "serial"),
    triggers=10,
    passed=6,
    rejected=2,
    not_inspected=1,
    not_inspected_by_reason={"deadline": 1},
    in_flight=1,
    late=0,
    triggers_per_minute=10.0,
    pending_records=3,
    pictures_dropped=0,
    records_dropped=0,
    unacknowledged=1,
    wire=snapshot.WireCounts(1, 2, {"checksum": 3}, {"overrun": 4}, 5),
    restarts={"inspection-0": 1},
    model_id="model",
    recipe_id="recipe",
    recipe_number=2,
    recipe_digest="01234567",
    last_verdicts=(VERDICT, replace(VERDICT, part_id=8)),
)


def test_a_snapshot_is_read_as_it_was_written():
    assert snapshot.from_json(snapshot.to_json(SNAPSHOT)) == SNAPSHOT


def test_a_cut_snapshot_is_refused():
    with pytest.raises(ValidationError):
        snapshot.from_json(snapshot.to_json(SNAPSHOT)[:-1])
