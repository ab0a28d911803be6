"""A controller's own protocol by templates: what it says is understood, nothing damaged is believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.protocol.ascii_codec import INCOMING, OUTGOING, AsciiCodec, incoming
from edge_runtime.protocol.checksums import CHECKSUMS
from edge_runtime.protocol.field_kinds import kinds_of
from edge_runtime.protocol.messages import (
    Acknowledge,
    AcknowledgePart,
    Down,
    FaultChanged,
    Heartbeat,
    Message,
    RecipeRequest,
    ResetRequest,
    Result,
    StatusQuery,
    TriggerRequest,
    UnnumberedTrigger,
)
from edge_runtime.protocol.sentence import SentenceCodec
from edge_runtime.values import Outcome

RESULT = Result(5, 1204, 17, Outcome.REJECT, 2, "open", "open: 2 > 0")
PLAIN = {
    "result": "{part_id:06d};{outcome:P/R/N};{defect_count}\r\n",
    "trigger": "T{line_seqno}\r",
    "ack": "A{part_id}\r",
    "reset": "RST\r",
    "query": "STATUS?\r",
}
FRAMED = {
    "result": r"\x02{seq:5d}{part_id:010d}{outcome:OK/NG/NG}{class_name:8}\x03{crc16}",
    "trigger": r"\x02T{line_seqno:05d}{crc16}\x03",
    "ack": r"\x02A{seq}{crc16}\x03",
    "reset": r"\x02R{crc16}\x03",
    "recipe": r"\x02P{number:02d}{crc16}\x03",
}
messages = st.one_of(
    st.builds(TriggerRequest, st.integers(0, 65535)),
    st.builds(Acknowledge, st.integers(1, 65535)),
    st.builds(RecipeRequest, st.integers(1, 15)),
    st.just(ResetRequest()),
)


def said(message: Message, templates: dict[str, str] = FRAMED) -> bytes:
    """How the controller says it."""
    for name in templates.keys() & INCOMING.keys():
        template, kind = incoming(name, templates[name])
        if kind is type(message):
            return template.render({field: getattr(message, field) for field in template.fields})
    raise AssertionError(f"no template for {message}")


# -- out --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "written"),
    [
        ("{part_id:06d};{outcome:P/R/N};{defect_count}\r\n", b"001204;R;2\r\n"),
        (r"\x02{part_id}{outcome}\x03", b"\x021204R\x03"),
        ("{part_id:8d}|{line_seqno:05d}|{seq}|{outcome:OK/NG/NI}", b"    1204|00017|5|NG"),
        ("{class_name:6}|{outcome}", b"open  |R"),
        ("{reason:>14}{outcome}", b"   open: 2 > 0R"),
        ("{reason:4}{outcome}", b"openR"),
        ("{{{outcome}}}", b"{R}"),
        (r"{outcome}\\\t\x7e", b"R\\\t~"),
        ("{outcome}{reason}:", b"Ropen_ 2 > 0:"),
        ("{outcome}{part_id}{xor}", b"R1204" + b"55"),
        ("{outcome}{part_id}{sum8}", b"R1204" + b"19"),
        ("{outcome}{part_id}{lrc}", b"R1204" + b"E7"),
        ("${from}R{outcome}{to}*{xor:x}\r\n", b"$RR*00\r\n"),
        (r"\x02{from}{outcome}\x03{xor:b}", b"\x02R\x03" + bytes([ord("R") ^ 3])),
    ],
)
def test_a_result_is_written_as_its_template_says(template, written):
    codec = AsciiCodec({"result": template})
    assert codec.encode(RESULT) == written
    assert len(written) <= codec.max_bytes


def test_a_number_that_is_not_there_is_blank_and_one_too_long_is_whole():
    codec = AsciiCodec({"result": "{line_seqno:5d}|{part_id:02d}|{outcome}"})
    assert codec.encode(Result(1, 12345, None, Outcome.PASS, 0, "", "")) == b"     |12345|P"


def test_a_crc_of_modbus_has_its_low_byte_first_when_raw():
    assert CHECKSUMS["crc16"].compute(b"123456789") == 0x4B37
    assert CHECKSUMS["crc16"].raw(b"123456789") == b"\x37\x4b"


@pytest.mark.parametrize("message", [Heartbeat(1, "ready"), Down("stopped"), FaultChanged("camera", True)])
def test_what_has_no_template_is_not_said(message):
    assert AsciiCodec(PLAIN).encode(message) == b""


def test_every_message_to_the_controller_has_its_template():
    codec = AsciiCodec({"fault": "F{code}{raised:ON/OFF}\r", "heartbeat": "H{count}{state:10}\r", "down": "D\r"})
    assert codec.encode(FaultChanged("camera", True)) == b"FcameraON\r"
    assert codec.encode(FaultChanged("camera", False)) == b"FcameraOFF\r"
    assert codec.encode(Heartbeat(7, "ready")) == b"H7ready     \r"
    assert {kind.WORD for kind in OUTGOING.values()} == {
        "RES", "HBT", "FLT", "DWN", "TRA", "ERR", "SIG", "STA", "RCA",
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(OUTGOING))
def test_every_field_of_a_message_can_be_written(name):
    fields = "".join(f"{{{field}}};" for field, _ in kinds_of(OUTGOING[name]))
    assert AsciiCodec({name: fields}).max_bytes > 0


# -- in ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"T17\r", TriggerRequest(17)),
        (b"T00017\r\n", TriggerRequest(17)),
        (b"A1204\r", AcknowledgePart(1204)),
        (b"RST\r", ResetRequest()),
        (b"STATUS?\r", StatusQuery()),
    ],
)
def test_a_message_is_understood(line, message):
    assert AsciiCodec(PLAIN).feed(line) == [message]


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (b"T\r", "unknown"),
        (b"T17x\r", "unknown"),
        (b"T-17\r", "unknown"),
        (b"T70000\r", "format"),
        (b"A0\r", "format"),
        (b"T" + b"1" * 200 + b"\r", "format"),
        (b"XST\r", "unknown"),
        (b"\xff\x00\r", "unknown"),
        (b"T \xb2\r", "unknown"),
    ],
)
def test_what_is_dropped_is_counted_by_cause(line, cause):
    codec = AsciiCodec(PLAIN)
    assert codec.feed(line) == []
    assert {key: count for key, count in codec.rejected.items() if count} == {cause: 1}
    assert codec.feed(b"T1\r") == [TriggerRequest(1)]


def test_a_trigger_without_a_number_is_a_new_one_each_time():
    assert AsciiCodec({"trigger": "TRIG\r\n"}).feed(b"TRIG\r\nTRIG\r\n") == [UnnumberedTrigger()] * 2


@given(messages)
def test_what_the_controller_says_is_understood(message):
    codec = AsciiCodec(FRAMED)
    assert codec.feed(said(message)) == [message]
    assert codec.rejected.total() == 0


@given(st.lists(messages.map(said) | st.binary(max_size=30) | st.sampled_from([b"\x02T001", b"\x03", b"\x02"])))
def test_feeding_byte_by_byte_gives_the_same_as_feeding_at_once(pieces):
    stream = b"".join(pieces)
    at_once, byte_by_byte = AsciiCodec(FRAMED), AsciiCodec(FRAMED)
    expected = at_once.feed(stream)
    assert [m for i in range(len(stream)) for m in byte_by_byte.feed(stream[i : i + 1])] == expected
    assert byte_by_byte.rejected == at_once.rejected


@given(st.lists(st.tuples(st.binary(max_size=300), messages), max_size=6))
def test_noise_before_a_byte_of_its_own_costs_no_message(noisy):
    stream = b"".join(noise + said(message) for noise, message in noisy)
    found = AsciiCodec(FRAMED).feed(stream)
    wanted = iter([message for _, message in noisy])
    message = next(wanted, None)
    for candidate in found:
        message = next(wanted, None) if candidate == message else message
    assert message is None


@given(messages, st.data())
def test_a_flipped_bit_never_turns_a_message_into_another(message, data):
    sentence = bytearray(said(message))
    sentence[data.draw(st.integers(0, len(sentence) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert AsciiCodec(FRAMED).feed(bytes(sentence) + b"\x03") in ([], [message])


@given(messages, messages, st.data())
def test_a_cut_message_costs_only_itself(first, second, data):
    cut = data.draw(st.integers(1, len(said(first)) - 1))
    codec = AsciiCodec(FRAMED)
    assert codec.feed(said(first)[:cut] + said(second)) == [second]
    assert codec.rejected["format"] == 1


@given(st.binary(max_size=2000))
def test_any_bytes_are_survived_and_nothing_grows(noise):
    codec = AsciiCodec(FRAMED)
    codec.feed(noise)
    assert len(codec._frame) <= codec.max_bytes


def test_a_line_opened_anew_begins_with_nothing():
    for codec, half, rest in (
        (AsciiCodec(PLAIN), b"T1", b"7\r"),
        (SentenceCodec(), b"$TRG,1", b"7*6B\r\n"),
    ):
        codec.feed(half)
        codec.restart()
        assert codec.feed(rest) == []


# -- templates that are refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("templates", "complaint"),
    [
        ({"result": "{part_id}"}, r"result: without \{outcome\}"),
        ({"result": "{partid}{outcome}"}, r"result: \{partid\} is no field .*allowed: seq, part_id, .*xor, sum8, lrc"),
        ({"result": "{part_id.__class__}{outcome}"}, "is no field"),
        ({"result": "{part_id[0]}{outcome}"}, "is no field"),
        ({"result": "{part_id!r}{outcome}"}, "is no field"),
        ({"result": "{outcome:P/R}"}, "write 3 words of up to 16 characters, for PASS/REJECT/NOT_INSPECTED"),
        ({"result": "{outcome:P/P/N}"}, "PASS needs a word of its own"),
        ({"result": "{part_id:99d}{outcome}"}, "write a width up to 40"),
        ({"result": "{part_id:>6}{outcome}"}, "write a width up to 40"),
        ({"result": "{reason:*^9}{outcome}"}, "write a width up to 40"),
        ({"result": "{outcome}{outcome}"}, r"\{outcome\} stands there twice"),
        ({"result": "{outcome}{xor}{crc16}"}, "one checksum is enough"),
        ({"result": "{outcome}{xor}{from}"}, "in this order before a checksum"),
        ({"result": "{to}{from}{outcome}{xor}"}, "in this order before a checksum"),
        ({"result": "{outcome}{xor:q}"}, "small digits"),
        ({"result": "{outcome"}, "a single '{' stands for nothing"),
        ({"result": "{outcome}}"}, "a single '}' stands for nothing"),
        ({"result": r"{outcome}\q"}, r"\\q is no escape; allowed: \\r \\n"),
        ({"result": "{outcome}ü"}, r"is not ASCII; write a byte as \\xHH"),
        ({"result": "{outcome}" + "x" * 200}, "1 to 200 characters"),
        ({"trigger": "T{line_seqno}"}, "trigger: it must end with a byte of its own"),
        ({"trigger": "T{part_id}\r"}, r"trigger: \{part_id\} is no field .*allowed: line_seqno"),
        ({"ack": "A\r"}, r"ack: takes as field \{seq\} or \{part_id\}"),
        ({"ack": "A{seq}{part_id}\r"}, r"ack: takes as field"),
        ({"trigger": r"T{line_seqno}\x03{xor:b}\r"}, "in hex digits"),
        ({"reset": "\r"}, "one byte alone is too easily noise"),
        ({"trigger": "T\r\n", "reset": "R\r"}, "stands within another; use one end for all"),
        ({"trigger": "{line_seqno}\r", "recipe": "{number}\r"}, "look the same"),
        ({"trigger": "R\r", "reset": "R\r"}, "look the same"),
        ({"result": "{part_id}{outcome}\r", "ack": "A{seq}\r"}, r"ack: by \{seq\}, which the result does not tell"),
        ({"ack": "A{seq}\r"}, r"ack: by \{seq\}, which the result does not tell"),
        ({"results": "{outcome}"}, "no template 'results'; allowed: result, heartbeat"),
    ],
)
def test_a_template_that_cannot_work_is_refused_by_name(templates, complaint):
    with pytest.raises(ValueError, match=complaint):
        AsciiCodec(templates)
