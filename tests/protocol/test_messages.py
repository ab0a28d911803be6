"""Values are checked at birth, and every verdict fits on the wire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.protocol.field_kinds import sanitised
from edge_runtime.protocol.messages import (
    FROM_CONTROLLER,
    FROM_DEVICE,
    Acknowledge,
    Down,
    Heartbeat,
    PartResult,
    Result,
    TriggerRequest,
)
from edge_runtime.protocol.sentence import MAX_SENTENCE_BYTES, encode
from edge_runtime.values import Defect, Outcome, Verdict, Zone


def verdict_with(defects: tuple[Defect, ...] = (), reasons: tuple[str, ...] = ()) -> Verdict:
    outcome = Outcome.REJECT if reasons else Outcome.PASS
    return Verdict(7, outcome, reasons, defects, len(defects), 10, "model", "recipe")


def defect(class_id: int, area_px: int, zone: Zone = Zone.INSPECT) -> Defect:
    return Defect(class_id, (0, 0, 10, 10), area_px, None, 0.5, zone)


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: Acknowledge(0), "Acknowledge.seq"),
        (lambda: Acknowledge(65536), "Acknowledge.seq"),
        (lambda: TriggerRequest(-1), "TriggerRequest.line_seqno"),
        (lambda: TriggerRequest(65536), "TriggerRequest.line_seqno"),
        (lambda: Down(""), "Down.reason"),
        (lambda: Down("a,b"), "Down.reason"),
        (lambda: Down("x" * 33), "Down.reason"),
        (lambda: Heartbeat(0, "READY"), "Heartbeat.state"),
        (lambda: PartResult(0, None, Outcome.PASS, 0, "", ""), "PartResult.part_id"),
        (lambda: PartResult(1, None, Outcome.PASS, -1, "", ""), "PartResult.defect_count"),
    ],
)
def test_a_field_out_of_range_is_named_at_birth(build, field):
    with pytest.raises(ValueError, match=field):
        build()


def test_every_message_has_a_word_of_its_own():
    words = [message_type.WORD for message_type in FROM_DEVICE | FROM_CONTROLLER]
    expected = "ACK DWN ERR FLT HBT RCA RCP RCQ RES RST SIG STA STS TRA TRG"
    assert sorted(words) == expected.split()


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("open: 2 > 0", "open: 2 > 0"),
        ("  Mouse,Bite* ", "mouse_bite_"),
        ("Kratzer (groß)", "kratzer (gro_)"),
        ("$GP\r\n", "_gp"),
        ("x" * 40, "x" * 32),
    ],
)
def test_sanitised_examples(text, clean):
    assert sanitised(text) == clean


@given(st.text())
def test_whatever_is_sanitised_may_travel(text):
    clean = sanitised(text)
    assert PartResult(1, None, Outcome.PASS, 0, clean, clean).reason == clean
    assert sanitised(clean).strip() == clean.strip()


def test_a_result_names_the_largest_counted_defect_and_the_first_reason():
    defects = (defect(1, 50), defect(2, 80), defect(3, 900, Zone.IGNORE))
    part = PartResult.of(verdict_with(defects, ("Open: 2 > 0", "other")), 12, {1: "short", 2: "Open", 3: "spur"})
    assert part == PartResult(7, 12, Outcome.REJECT, 3, "open", "open: 2 > 0")


def test_a_clean_part_has_neither_class_nor_reason():
    assert PartResult.of(verdict_with(), None, {}) == PartResult(7, None, Outcome.PASS, 0, "", "")


def test_a_class_without_a_name_travels_as_its_number():
    assert PartResult.of(verdict_with((defect(9, 5),)), None, {}).class_name == "class 9"


@given(st.text(), st.text(min_size=1), st.integers(1, 2**63 - 1), st.integers(0, 65535) | st.none())
def test_every_verdict_fits_on_the_wire(name, reason, part_id, line_seqno):
    verdict = Verdict(part_id, Outcome.NOT_INSPECTED, (reason,), (defect(1, 5),), 10**12, 10, "model", "recipe")
    sentence = encode(Result.numbered(65535, PartResult.of(verdict, line_seqno, {1: name})))
    assert len(sentence) <= MAX_SENTENCE_BYTES
