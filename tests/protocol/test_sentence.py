"""Bytes in, messages out: nothing valid is lost, nothing damaged is believed."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_runtime.protocol.field_kinds import Choice, Number, Text, kinds_of
from edge_runtime.protocol.messages import (
    FROM_CONTROLLER,
    FROM_DEVICE,
    Acknowledge,
    Down,
    Heartbeat,
    Result,
    Status,
    StatusQuery,
    TriggerRequest,
)
from edge_runtime.protocol.sentence import MAX_SENTENCE_BYTES, Decoder, checksum, encode
from edge_runtime.values import Outcome

PERMITTED = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in "$*," and not chr(code).isupper())
ALL_TYPES = sorted(FROM_DEVICE | FROM_CONTROLLER, key=lambda message_type: message_type.WORD)


def values_of(kind) -> st.SearchStrategy:
    if isinstance(kind, Number):
        numbers = st.integers(kind.low, kind.high)
        return st.none() | numbers if kind.optional else numbers
    if isinstance(kind, Choice):
        return st.sampled_from([value for value, _ in kind.letters])
    assert isinstance(kind, Text)
    return st.text(PERMITTED, min_size=kind.min_chars, max_size=kind.max_chars)


def messages_of(message_type) -> st.SearchStrategy:
    return st.builds(message_type, **{name: values_of(kind) for name, kind in kinds_of(message_type)})


messages = st.sampled_from(ALL_TYPES).flatmap(messages_of)
streams = st.lists(
    messages.map(encode) | st.binary(max_size=40) | st.binary(max_size=8).map(lambda tail: b"$RES,1,2" + tail),
    max_size=8,
).map(b"".join)


@given(messages)
def test_what_was_encoded_decodes_to_the_same_message(message):
    decoder = Decoder()
    assert decoder.feed(encode(message)) == [message]
    assert decoder.rejected.total() == 0


@given(messages)
def test_a_sentence_is_one_short_line_of_ascii(message):
    sentence = encode(message)
    assert len(sentence) <= MAX_SENTENCE_BYTES
    assert sentence.startswith(b"$")
    assert sentence.endswith(b"\r\n")
    assert all(0x20 <= byte < 0x7F for byte in sentence[:-2])
    assert sentence.count(b"$") == sentence.count(b"*") == 1


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (TriggerRequest(17), b"$TRG,17*6B\r\n"),
        (Acknowledge(5), b"$ACK,5*50\r\n"),
        (StatusQuery(), b"$STS*54\r\n"),
        (Heartbeat(60, "ready"), b"$HBT,60,ready*33\r\n"),
        (Down("stopped"), b"$DWN,stopped*18\r\n"),
        (
            Result(5, 1204, 17, Outcome.REJECT, 2, "open", "open: 2 > 0"),
            b"$RES,5,1204,17,R,2,open,open: 2 > 0*1A\r\n",
        ),
        (Result(6, 1205, None, Outcome.PASS, 0, "", ""), b"$RES,6,1205,,P,0,,*38\r\n"),
        (Status("inspecting", 9, 5, 3, 1, 2), b"$STA,inspecting,9,5,3,1,2*6C\r\n"),
    ],
)
def test_the_wire_format_is_fixed(message, sentence):
    assert encode(message) == sentence


@given(streams)
def test_feeding_byte_by_byte_gives_the_same_as_feeding_at_once(stream):
    at_once, byte_by_byte = Decoder(), Decoder()
    expected = at_once.feed(stream)
    assert [m for i in range(len(stream)) for m in byte_by_byte.feed(stream[i : i + 1])] == expected
    assert byte_by_byte.rejected == at_once.rejected


@given(st.lists(st.tuples(st.binary(max_size=300), messages), max_size=6))
def test_noise_never_costs_a_sentence_that_starts_after_a_line_end(noisy):
    stream = b"".join(noise + b"\r\n" + encode(message) for noise, message in noisy)
    found = Decoder().feed(stream)
    wanted = iter([message for _, message in noisy])
    message = next(wanted, None)
    for candidate in found:
        message = next(wanted, None) if candidate == message else message
    assert message is None


@given(st.data())
def test_a_flipped_bit_never_turns_a_sentence_into_another(data):
    message = data.draw(messages)
    sentence = bytearray(encode(message))
    position = data.draw(st.integers(0, len(sentence) - 1))
    sentence[position] ^= 1 << data.draw(st.integers(0, 7))
    decoder = Decoder()
    assert decoder.feed(bytes(sentence) + b"\r\n") in ([], [message])


@pytest.mark.parametrize("word", ["sts", "dwn"])
def test_a_field_that_reads_like_a_word_is_no_sentence_when_its_comma_becomes_a_dollar(word):
    for part_id in range(1, 2000):
        sentence = encode(Result(1, part_id, None, Outcome.REJECT, 1, word, "x"))
        comma = sentence.index(b"," + word.encode())
        damaged = sentence[:comma] + b"$" + sentence[comma + 1 :]
        assert Decoder().feed(damaged) == []


@given(messages, messages, st.data())
def test_a_cut_sentence_costs_only_itself(first, second, data):
    cut = data.draw(st.integers(1, len(encode(first)) - 3))
    decoder = Decoder()
    assert decoder.feed(encode(first)[:cut] + encode(second)) == [second]
    assert decoder.rejected["format"] == 1


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (b"$TRG,17*00\r\n", "checksum"),
        (b"$TRG,17\r\n", "format"),
        (b"$TRG,17*4\r\n", "format"),
        (b"$TRG,17*4D \r\n", "format"),
        (b"$TRG,1\x007*4D\r\n", "format"),
        (b"$\r\n", "format"),
        (b"$*00\r\n", "format"),
        (b"$" + b"x" * 200 + b"\r\n", "format"),
    ],
)
def test_what_is_dropped_is_counted_by_cause(line, cause):
    decoder = Decoder()
    assert decoder.feed(line) == []
    assert {key: count for key, count in decoder.rejected.items() if count} == {cause: 1}


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b"XYZ,1", "unknown"),
        (b"trg,1", "unknown"),
        (b"TRG", "format"),
        (b"TRG,1,2", "format"),
        (b"TRG,", "format"),
        (b"TRG,-1", "format"),
        (b"TRG,+1", "format"),
        (b"TRG, 1", "format"),
        (b"TRG,65536", "format"),
        (b"ACK,0", "format"),
        (b"FLT,x,2", "format"),
        (b"RES,1,1,,Q,0,,", "format"),
    ],
)
def test_a_good_checksum_does_not_excuse_a_wrong_sentence(body, cause):
    decoder = Decoder()
    assert decoder.feed(b"$%b*%02X\r\n" % (body, checksum(body))) == []
    assert {key: count for key, count in decoder.rejected.items() if count} == {cause: 1}


@pytest.mark.parametrize("line", [b"$ACK,5*50\n", b"$ACK,5*50\r", b"$ACK,005*50\r\n", b"\x00\xff\r\n$ACK,5*50\r\n"])
def test_a_controller_may_be_a_little_careless(line):
    assert Decoder().feed(line) == [Acknowledge(5)]


def test_the_longest_sentence_is_taken_and_one_byte_more_is_not():
    longest = Result(65535, 2**63 - 1, 65535, Outcome.REJECT, 2**32 - 1, "c" * 32, "r" * 32)
    assert len(encode(longest)) == MAX_SENTENCE_BYTES
    assert Decoder().feed(encode(longest)) == [longest]
    body = encode(longest)[1:-5].replace(b"RES,", b"RES,0")
    assert Decoder().feed(b"$%b*%02X\r\n" % (body, checksum(body))) == []


@given(st.sampled_from(sorted(FROM_DEVICE, key=str)).flatmap(messages_of))
def test_a_device_does_not_listen_to_its_own_echo(message):
    decoder = Decoder(FROM_CONTROLLER)
    assert decoder.feed(encode(message)) == []
    assert decoder.rejected["unknown"] == 1


@given(st.binary(max_size=400))
@example(b"$" * 400)
def test_any_bytes_are_survived(noise):
    decoder = Decoder()
    decoder.feed(noise)
    assert decoder.feed(b"\r\n" + encode(StatusQuery())) == [StatusQuery()] or b"$" in noise
