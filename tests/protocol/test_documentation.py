"""The page an integrator reads is true: its sentences decode, and its controller works."""

import re
from pathlib import Path

import pytest
import tomli

from edge_runtime.protocol.ascii_codec import INCOMING, OUTGOING, AsciiCodec
from edge_runtime.protocol.messages import (
    FROM_CONTROLLER,
    FROM_DEVICE,
    Acknowledge,
    AcknowledgePart,
    PartResult,
    Result,
    TriggerRequest,
)
from edge_runtime.protocol.outbox import Outbox
from edge_runtime.protocol.sentence import Decoder
from edge_runtime.values import Outcome

PAGE = (Path(__file__).parents[2] / "docs" / "serial_protocol.md").read_text("utf-8")
EXCHANGED = re.findall(r"^([<>]) (\$[^*\n]+\*[0-9A-F]{2})", PAGE, re.MULTILINE)


@pytest.fixture
def take():
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    namespace: dict = {}
    exec(code, namespace)
    return namespace["take"]


def test_the_page_shows_exchanges():
    assert len(EXCHANGED) > 15


@pytest.mark.parametrize(("direction", "text"), EXCHANGED)
def test_each_sentence_shown_is_valid_in_its_direction(direction, text):
    decoder = Decoder(FROM_DEVICE if direction == "<" else FROM_CONTROLLER)
    assert len(decoder.feed(text.encode("ascii") + b"\r\n")) == 1


@pytest.mark.parametrize("message_type", sorted(FROM_DEVICE | FROM_CONTROLLER, key=lambda each: each.WORD))
def test_each_sentence_has_its_row(message_type):
    assert re.search(rf"^\| `\${message_type.WORD}[,`]", PAGE, re.MULTILINE)


def test_the_controller_shown_takes_each_part_once_and_acknowledges_each_sentence(take):
    outbox, decoder = Outbox(1, 10), Decoder(FROM_CONTROLLER)
    for part_id, outcome in enumerate((Outcome.PASS, Outcome.REJECT, Outcome.NOT_INSPECTED), 1):
        outbox.put_or_fault(PartResult(part_id, None, outcome, 0, "", ""))
    taken: list[tuple[str, bool]] = []
    last_part: dict[int, str] = {}
    lines = outbox.due(0) + outbox.due(10)
    answers = [take(line, last_part, lambda part_id, is_good: taken.append((part_id, is_good))) for line in lines]
    assert taken == [("1", True), ("2", False), ("3", False)]
    assert decoder.feed(b"".join(answers)) == [Acknowledge(seq) for seq in (1, 2, 3, 1, 2, 3)]


@pytest.mark.parametrize("line", [b"", b"\r\n", b"\xff\xfe", b"$RES,5*00\r\n", b"S,5,1204,17,R,2,open,x*1A\r\n"])
def test_the_controller_shown_is_not_fooled_by_a_damaged_line(take, line):
    assert take(line, {}, None) == b""


def test_the_exchange_shown_in_a_controllers_own_words_is_true():
    page = (Path(__file__).parents[2] / "docs" / "serial_ascii.md").read_text("utf-8")
    codec = AsciiCodec(tomli.loads(re.findall(r"```toml\n(.*?)```", page, re.DOTALL)[0])["serial"]["ascii"])
    trigger, result, ack = re.findall(r"^[<>] (\S+)", page, re.MULTILINE)
    assert codec.feed(f"{trigger}\r{ack}\r".encode()) == [TriggerRequest(17), AcknowledgePart(1204)]
    told = codec.encode(Result(5, 1204, 17, Outcome.REJECT, 2, "open", "open: 2 > 0"))
    assert told == result.translate({0x2402: 2, 0x2403: 3}).encode() + b"\r\n"


@pytest.mark.parametrize("name", [*OUTGOING, *INCOMING])
def test_each_template_has_its_row(name):
    page = (Path(__file__).parents[2] / "docs" / "serial_ascii.md").read_text("utf-8")
    assert re.search(rf"^\| `{name}` \|", page, re.MULTILINE)
