"""The link on a slow wire, without acknowledgements, and at its end."""

import pytest

from edge_runtime.clock import NS_PER_MS, NS_PER_S
from edge_runtime.protocol.messages import Down, Heartbeat, PartResult, Result
from edge_runtime.protocol.outbox import REPEATS_AT_A_TIME, Outbox
from edge_runtime.protocol.sentence import MAX_SENTENCE_BYTES, Decoder, SentenceCodec
from edge_runtime.runtime.serial_link import SerialLink, WireSpeed
from edge_runtime.signal_io.recording import RecordingBytePort
from edge_runtime.values import Outcome


def link_at(baud_rate: int, acknowledge: bool = True) -> tuple[SerialLink, RecordingBytePort]:
    port, speed = RecordingBytePort(), WireSpeed.of(baud_rate)
    outbox = Outbox(speed.ack_timeout_ns(200 * NS_PER_MS, MAX_SENTENCE_BYTES), 100, acknowledge)
    link = SerialLink(port, outbox, SentenceCodec(), speed)
    link.open_if_due(0)
    return link, port


def put(link: SerialLink, *part_ids: int) -> None:
    for part_id in part_ids:
        link.put_or_fault(PartResult(part_id, None, Outcome.PASS, 0, "", ""))


def heard(port: RecordingBytePort) -> list:
    return Decoder().feed(b"".join(each.data for each in port.written))


@pytest.mark.parametrize(
    ("baud_rate", "timeout_ms", "repeats"),
    [(1200, 2000, 1), (9600, 250, 2), (38_400, 200, 8), (115_200, 200, 8), (921_600, 200, 8)],
)
def test_timeouts_and_repeats_follow_the_speed_of_the_wire(baud_rate, timeout_ms, repeats):
    speed = WireSpeed.of(baud_rate)
    assert round(speed.ack_timeout_ns(200 * NS_PER_MS, MAX_SENTENCE_BYTES) / NS_PER_MS) == timeout_ms
    assert speed.repeats_at_a_time(MAX_SENTENCE_BYTES) == repeats <= REPEATS_AT_A_TIME


@pytest.mark.parametrize("baud_rate", [1200, 9600, 115_200])
def test_a_controller_that_acknowledges_nothing_never_makes_repeats_pile_up(baud_rate):
    link, port = link_at(baud_rate)
    put(link, *range(1, 31))
    speed, free_at_ns, behind_ns = WireSpeed.of(baud_rate), 0, []
    for now_ns in range(0, 60 * NS_PER_S, 50 * NS_PER_MS):
        before = len(port.written)
        link.work(now_ns)
        for written in port.written[before:]:
            free_at_ns = max(free_at_ns, now_ns) + speed.ns(len(written.data))
        behind_ns.append(free_at_ns - now_ns)
    first_batch_ns = speed.ns(len(port.written[0].data))
    assert max(behind_ns) <= first_batch_ns
    assert len(heard(port)) > 30


def test_a_new_result_waits_for_few_repeats_on_a_slow_wire():
    link, port = link_at(1200)
    put(link, *range(1, 21))
    link.work(0)
    now_ns = 30 * NS_PER_S
    link.work(now_ns)
    put(link, 21)
    link.work(now_ns)
    parts = [message.part_id for message in heard(port) if isinstance(message, Result)]
    assert parts[20:] == [1, 21]


def test_what_nobody_acknowledges_is_dropped_while_the_wire_is_far_behind():
    link, port = link_at(1200)
    put(link, *range(1, 21))
    link.work(0)
    for count in range(10):
        link.say_or_drop(Heartbeat(count, "ready"))
    link.work(0)
    assert not any(isinstance(message, Heartbeat) for message in heard(port))
    link.work(30 * NS_PER_S)
    link.work(60 * NS_PER_S)
    link.say_or_drop(Heartbeat(11, "ready"))
    link.work(60 * NS_PER_S)
    assert Heartbeat(11, "ready") in heard(port)


def test_the_last_word_is_said_even_then():
    link, port = link_at(1200)
    put(link, *range(1, 21))
    link.work(0)
    link.close(Down("stopped"), 0)
    assert heard(port)[-1] == Down("stopped")


def test_without_acknowledgements_a_result_that_the_port_did_not_take_is_sent_when_it_is_back():
    link, port = link_at(115_200, acknowledge=False)
    port.room_bytes = 8
    put(link, 1, 2)
    link.work(0)
    assert link.unacknowledged == 2
    port.fail()
    link.receive(0)
    port.restore()
    port.room_bytes = None
    assert link.open_if_due(NS_PER_S)
    port.written.clear()
    link.work(NS_PER_S)
    assert [message.part_id for message in heard(port)] == [1, 2]
    assert link.unacknowledged == 0
