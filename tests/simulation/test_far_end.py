"""The controller at the far end: what it hears counts once, and it can be made to answer badly."""

import os
import select
from collections.abc import Iterator

import pytest

from edge_runtime.clock import ManualClock
from edge_runtime.protocol.messages import (
    FROM_CONTROLLER,
    Acknowledge,
    FaultChanged,
    Heartbeat,
    Message,
    ResetRequest,
    Result,
)
from edge_runtime.protocol.sentence import Decoder, encode
from edge_runtime.simulation.cable import Cable
from edge_runtime.simulation.far_end import FarEnd
from edge_runtime.values import Outcome

RESULT = Result(1, 17, None, Outcome.PASS, 0, "", "")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1)


@pytest.fixture
def cable(tmp_path) -> Iterator[Cable]:
    cable = Cable(tmp_path / "tty")
    cable.plug()
    yield cable
    cable.pull()


@pytest.fixture
def far_end(cable, clock) -> FarEnd:
    return FarEnd(cable, clock, seed=1)


@pytest.fixture
def device(cable) -> Iterator[int]:
    fd = os.open(cable.link, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    yield fd
    os.close(fd)


def say(device: int, far_end: FarEnd, *messages: Message) -> None:
    os.write(device, b"".join(encode(message) for message in messages))
    far_end.listen(1000)


def answers(device: int) -> list[Message]:
    """What has been said until it is quiet: the kernel hands bytes on a little later."""
    data, poll = b"", select.poll()
    poll.register(device, select.POLLIN)
    while poll.poll(100):
        data += os.read(device, 4096)
    return Decoder(FROM_CONTROLLER).feed(data)


def test_a_repeated_result_is_acknowledged_again_and_counts_once(far_end, device, clock):
    say(device, far_end, RESULT)
    clock.advance_ms(100)
    say(device, far_end, RESULT)
    assert answers(device) == [Acknowledge(1), Acknowledge(1)]
    assert (len(far_end.heard.results), far_end.heard.repeats, far_end.heard.contradictions) == (1, 1, [])


def test_a_second_and_different_verdict_on_a_part_is_noted(far_end, device):
    say(device, far_end, RESULT, Result(2, 17, None, Outcome.REJECT, 1, "defect", "defect: 1 > 0"))
    assert len(far_end.heard.contradictions) == 1


def test_well_means_a_later_heartbeat_and_no_standing_fault(far_end, device, clock):
    say(device, far_end, Heartbeat(3, "ready"), FaultChanged("worker", True))
    assert far_end.has_noticed("worker", 1)
    assert not far_end.is_well_since(0)
    clock.advance_ms(1)
    say(device, far_end, FaultChanged("worker", False), Heartbeat(4, "inspecting"))
    assert far_end.is_well_since(1)
    assert not far_end.is_well_since(clock.monotonic_ns())


def test_lost_late_and_cut_acknowledgements(far_end, device, clock):
    far_end.disturbances["lost_ack"] = 1
    say(device, far_end, RESULT)
    assert answers(device) == []
    far_end.disturbances.clear()
    far_end.disturbances["late_ack"] = 1
    say(device, far_end, RESULT)
    assert answers(device) == []
    clock.advance_ms(400)
    far_end.listen(0)
    assert answers(device) == [Acknowledge(1)]


def test_triggers_are_repeated_until_they_are_accepted(far_end, device, clock):
    far_end.trigger(5)
    clock.advance_ms(100)
    far_end.listen(0)
    assert [message.line_seqno for message in answers(device)] == [5, 5]


def test_through_noise_nothing_false_is_heard(far_end, device):
    far_end.disturbances["noise"] = 1
    for part_id in range(1, 200):
        say(device, far_end, Result(part_id, part_id, None, Outcome.PASS, 0, "", ""))
    assert 50 < len(far_end.heard.results) < 200
    assert {told.result.outcome for told in far_end.heard.results.values()} == {Outcome.PASS}
    assert far_end.heard.contradictions == []


def test_a_pulled_cable_says_and_hears_nothing_until_it_is_plugged_in(far_end, cable, clock):
    cable.pull()
    far_end.trigger(1)
    far_end.listen(1)
    assert not cable.link.exists()
    cable.plug()
    assert cable.link.exists()


def test_a_demanded_stop_is_reset_at_each_heartbeat_until_it_is_taken_back(far_end, device):
    say(device, far_end, Heartbeat(1, "ready"), FaultChanged("rejects", True))
    assert answers(device) == []
    say(device, far_end, Heartbeat(2, "degraded"))
    assert answers(device) == [ResetRequest()]
    say(device, far_end, FaultChanged("rejects", False), Heartbeat(3, "ready"))
    assert answers(device) == []
