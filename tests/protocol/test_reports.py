"""Payloads are JSON with everything in them, and only a proper wish is one."""

import json
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.protocol.mqtt_topics import Kind, TopicRules
from edge_runtime.protocol.reports import discovery, parse_replay, record_payload, state_payload
from edge_runtime.store_interfaces import FeedPosition, NumberedRecord
from edge_runtime.values import MAX_DEFECTS, Defect, InspectionRecord, Outcome, Trigger, Verdict

RULES = TopicRules("{prefix}/{station}/{kind}", "Line 3 ü", "plant")


def numbered(defects: tuple[Defect, ...], reasons: tuple[str, ...]) -> NumberedRecord:
    verdict = Verdict(7, Outcome.REJECT, reasons, defects, len(defects), 1, "pcb/1@12345678", "board")
    at = datetime(2026, 11, 23, tzinfo=timezone.utc)
    return NumberedRecord(3, InspectionRecord(Trigger(7, 1, 2), verdict, at, 70))


def test_defects_carry_the_names_of_their_classes():
    record = numbered((Defect(1, (0, 0, 1, 1), 1, None, 1.0), Defect(2, (0, 0, 1, 1), 1, None, 1.0)), ("open: 1 > 0",))
    told = json.loads(record_payload("box", "ab", 2, record, {1: "open"}))
    assert [(each["class_id"], each["class"]) for each in told["defects"]] == [(1, "open"), (2, None)]
    assert (told["part_id"], told["line_seqno"], told["record_no"], told["previous_no"]) == (7, 70, 3, 2)


def test_the_largest_record_fits_into_64_kib():
    defects = (Defect(255, (8000, 8000, 8192, 8192), 36_864, 1234.56789012345, 0.123456789012345),) * MAX_DEFECTS
    assert len(record_payload("x" * 64, "f" * 18, 1, numbered(defects, ("r" * 100,) * 20), {255: "n" * 64})) < 65_536


def test_a_state_tells_the_newest_verdict_without_its_defects():
    snapshot = {"state": "ready", "last_verdicts": [{"part_id": 1}, {"part_id": 2, "outcome": "PASS", "defects": [1]}]}
    assert json.loads(state_payload(snapshot, FeedPosition("ab", 9), 4)) == {
        "schema": 1,
        "state": "ready",
        "last": {"part_id": 2, "outcome": "PASS", "reasons": None},
        "reported": {"epoch": "ab", "record_no": 9, "deleted_unsent": 4},
    }


def test_a_box_that_has_seen_nothing_has_a_state():
    assert json.loads(state_payload({"last_verdicts": []}, FeedPosition("ab", 0), 0))["last"]["part_id"] is None


@given(epoch=st.text(max_size=20), after=st.integers(0, 2**63 - 1))
def test_a_wish_is_read_as_it_was_written(epoch, after):
    assert parse_replay(json.dumps({"epoch": epoch, "after": after}).encode()) == FeedPosition(epoch, after)


@given(
    st.binary(max_size=2000) | st.recursive(st.none() | st.integers(), st.lists).map(lambda x: json.dumps(x).encode())
)
def test_anything_else_is_none(payload):
    assert parse_replay(payload) is None


@pytest.mark.parametrize("after", [-1, 2**63, 1.5, "1", True, None])
def test_a_wish_for_no_number_is_none(after):
    assert parse_replay(json.dumps({"epoch": "ab", "after": after}).encode()) is None


def test_discovery_names_state_and_availability_of_each_sensor():
    found = {topic: json.loads(payload) for topic, payload in discovery(RULES, "ha", "pcb/1")}
    assert "ha/sensor/edge_runtime_Line_3__/rejected/config" in found
    for config in found.values():
        assert config["state_topic"] == RULES.topic(Kind.STATE)
        assert config["availability_topic"] == RULES.topic(Kind.STATUS)
        assert config["device"]["name"] == "Line 3 ü"
    assert found["ha/sensor/edge_runtime_Line_3__/passed/config"]["value_template"] == "{{ value_json.passed }}"
