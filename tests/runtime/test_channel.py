"""Whole messages in order, without ever blocking the line, and the last words of a killed process are heard."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from edge_runtime.runtime.channel import MAX_MESSAGE_BYTES, Channel, ChannelClosed, ChannelFull
from edge_runtime.runtime.messages import Failed, MessageError, Ping, Pong, SlotRead, encode

LAST_WORDS = """
import signal, sys
from edge_runtime.runtime.channel import Channel
from edge_runtime.runtime.messages import SlotRead
channel = Channel.from_fd(int(sys.argv[1]))
for part_id in (1, 2, 3):
    channel.send(SlotRead(part_id))
print("said", flush=True)
signal.pause()
"""


@pytest.fixture
def ends():
    ours, theirs = Channel.pair()
    yield ours, theirs
    ours.close()
    theirs.close()


def read_all(channel: Channel) -> list:
    """Everything that waits, and the ChannelClosed type at the end of a closed channel."""
    heard = []
    while True:
        try:
            message = channel.receive()
        except ChannelClosed:
            return [*heard, ChannelClosed]
        if message is None:
            return heard
        heard.append(message)


def fill(channel: Channel) -> int:
    """Send until the channel is full: how many messages it took."""
    for count in range(100_000):
        try:
            channel.send(SlotRead(count + 1))
        except ChannelFull:
            return count
    raise AssertionError("the channel is never full")


def test_messages_arrive_whole_and_in_order_both_ways(ends):
    ours, theirs = ends
    ours.send(Ping())
    ours.send(SlotRead(5))
    theirs.send(Pong())
    assert read_all(theirs) == [Ping(), SlotRead(5)]
    assert read_all(ours) == [Pong()]


def test_the_largest_message_passes_and_a_larger_one_is_refused_before_it_is_sent(ends):
    ours, theirs = ends
    largest = Failed("x" * (MAX_MESSAGE_BYTES - len(encode(Failed("")))))
    ours.send(largest)
    with pytest.raises(ValueError, match=f"failed message of {MAX_MESSAGE_BYTES + 1} bytes exceeds"):
        ours.send(Failed(largest.reason + "x"))
    assert read_all(theirs) == [largest]


def test_a_full_channel_says_so_and_loses_nothing_it_took(ends):
    ours, theirs = ends
    count = fill(ours)
    assert count > 20
    assert theirs.receive() == SlotRead(1)
    ours.send(SlotRead(count + 1))
    assert read_all(theirs) == [SlotRead(part_id) for part_id in range(2, count + 2)]


def test_a_patient_sender_waits_for_room(ends):
    ours, theirs = ends
    count = fill(ours)
    sender = threading.Thread(target=ours.send_patiently, args=(Ping(),))
    sender.start()
    heard = []
    while Ping() not in heard:
        heard.append(theirs.wait(5000))
    sender.join()
    assert heard == [*(SlotRead(part_id) for part_id in range(1, count + 1)), Ping()]


def test_waiting_ends_with_the_time_or_the_message(ends):
    ours, theirs = ends
    assert ours.wait(1) is None
    theirs.send(Ping())
    assert ours.wait(None) == Ping()


def test_rubbish_is_an_error_and_the_next_message_is_still_read():
    ours, theirs = Channel.pair()
    os.write(theirs.fileno(), b'{"kind": "pi')
    theirs.send(Ping())
    with pytest.raises(MessageError, match="not a message"):
        ours.receive()
    assert read_all(ours) == [Ping()]
    ours.close()
    theirs.close()


def test_a_closed_channel_is_told_after_what_was_said_on_it(ends):
    ours, theirs = ends
    theirs.send(Ping())
    theirs.close()
    with pytest.raises(ChannelClosed):
        ours.send(Ping())
    assert read_all(ours) == [Ping(), ChannelClosed]
    with pytest.raises(ChannelClosed):
        ours.wait(None)


@pytest.mark.parametrize("unread", [0, 3])
def test_what_a_killed_process_had_said_is_heard_whether_or_not_it_had_listened(unread):
    ours, theirs = Channel.pair()
    command = [sys.executable, "-c", LAST_WORDS, str(theirs.fileno())]
    with subprocess.Popen(command, pass_fds=[theirs.fileno()], stdout=subprocess.PIPE) as process:
        theirs.close()
        assert process.stdout.readline() == b"said\n"
        for _ in range(unread):
            ours.send(Ping())
        process.send_signal(signal.SIGKILL)
    assert read_all(ours) == [SlotRead(1), SlotRead(2), SlotRead(3), ChannelClosed]
    ours.close()
