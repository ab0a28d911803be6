"""Edges from another process: each one once, in order, numbered as the kernel numbers them, held by one process."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from edge_runtime.clock import ManualClock
from edge_runtime.errors import SignalError
from edge_runtime.interfaces import Edge, Input, Output
from edge_runtime.signal_io.edge_feed import EdgeSender, FedEdge
from edge_runtime.signal_io.recording import RecordingLines, driven
from edge_runtime.signal_io.safe_levels import SAFE_ACTIVE

INPUTS = (Input.TRIGGER, Input.ENCODER_A)
HOLDER = """
import sys, time
from pathlib import Path
from edge_runtime.signal_io.recording import RecordingLines
lines = RecordingLines(feed=Path(sys.argv[1]))
lines.open()
print("holds", flush=True)
time.sleep(60)
"""


@pytest.fixture
def path(tmp_path):
    """A socket deeper down than a socket's name may be long."""
    folder = tmp_path / ("d" * 120)
    folder.mkdir()
    return folder / "feed"


@pytest.fixture
def lines(path):
    lines = RecordingLines(inputs=INPUTS, feed=path)
    yield lines
    lines.close()


@pytest.fixture
def sender(path):
    sender = EdgeSender(path)
    yield sender
    sender.close()


def test_edges_come_in_order_and_only_those_that_somebody_watches(lines, sender, is_readable):
    lines.open()
    sender.send([FedEdge(Input.TRIGGER, 10), FedEdge(Input.TRIGGER, 20, active=False)])
    sender.send([FedEdge(Input.ENCODER_A, 30), FedEdge(Input.ENCODER_A, 40, active=False), FedEdge(Input.ACK, 50)])
    assert is_readable(lines.fileno())
    assert lines.edges() == [
        Edge(Input.TRIGGER, 10, 1),
        Edge(Input.ENCODER_A, 30, 1),
        Edge(Input.ENCODER_A, 40, 2, active=False),
    ]
    assert not lines.is_active(Input.TRIGGER)


def test_a_lost_edge_shows_as_a_gap_in_the_numbers_and_in_the_level(lines, sender):
    lines.open()
    sender.send([FedEdge(Input.TRIGGER, 10), FedEdge(Input.TRIGGER, 20, active=False)])
    sender.send([FedEdge(Input.TRIGGER, 30, lost=True)])
    assert lines.edges() == [Edge(Input.TRIGGER, 10, 1)]
    assert lines.is_active(Input.TRIGGER)
    sender.send([FedEdge(Input.TRIGGER, 40, active=False), FedEdge(Input.TRIGGER, 50)])
    assert lines.edges() == [Edge(Input.TRIGGER, 50, 3)]


def test_injected_and_fed_edges_wake_the_same_descriptor(lines, is_readable):
    lines.open()
    lines.inject_edge(Input.TRIGGER, 5)
    assert is_readable(lines.fileno())
    assert lines.edges() == [Edge(Input.TRIGGER, 5, 1)]


def test_edges_while_nobody_listens_are_never_seen(lines, sender):
    sender.send([FedEdge(Input.TRIGGER, 10)])
    lines.open()
    sender.send([FedEdge(Input.TRIGGER, 20)])
    lines.close()
    sender.send([FedEdge(Input.TRIGGER, 30)])
    lines.open()
    assert lines.edges() == []
    assert sender.pending == 0


def test_a_flood_waits_for_its_reader_and_arrives_whole(lines, sender):
    lines.open()
    for number in range(2000):
        sender.send([FedEdge(Input.TRIGGER, number)])
    received = lines.edges()
    while sender.pending or received[-1].at_ns < 1999:
        sender.send()
        received += lines.edges()
    assert received == [Edge(Input.TRIGGER, number, number + 1) for number in range(2000)]


def test_two_processes_never_hold_the_lines_and_a_killed_one_lets_go(lines, path):
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"holds\n"
        with pytest.raises(SignalError, match="another process holds the lines"):
            lines.open()
        os.kill(holder.pid, signal.SIGKILL)
    lines.open()


def test_a_lost_chip_leaves_the_wires_without_power_until_it_is_back(tmp_path):
    clock, journal = ManualClock(1), tmp_path / "journal"
    lines = RecordingLines(journal, INPUTS, clock=clock, feed=tmp_path / "feed")
    sender = EdgeSender(tmp_path / "feed")
    lines.open()
    lines.write(Output.REJECT, False)
    sender.lose_chip(500)
    with pytest.raises(SignalError, match="lost"):
        lines.edges()
    assert {each.output: each.active for each in driven(journal)} == SAFE_ACTIVE
    lines.close()
    with pytest.raises(SignalError):
        lines.open()
    clock.advance_ms(500)
    lines.open()
    lines.write(Output.REJECT, False)
    lines.close()
    sender.close()


def test_nonsense_is_named(tmp_path, monkeypatch):
    lines = RecordingLines(feed=tmp_path / "feed")
    lines.open()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        monkeypatch.chdir(tmp_path)
        stranger.sendto(b'[["horn", 1, true, false]]', "feed")
    with pytest.raises(SignalError, match="not a list of edges"):
        lines.edges()
    lines.close()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SignalError, match=r"edge feed .*nowhere/feed"):
        RecordingLines(feed=tmp_path / "nowhere" / "feed").open()


def test_no_descriptor_is_left_over(path):
    lines = RecordingLines(feed=path)
    lines.open()
    lines.close()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        lines.open()
        lines.open()
        lines.close()
    assert len(os.listdir("/proc/self/fd")) == before
