"""What only the fakes do: remember, journal, and outlive their process."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from edge_runtime.clock import ManualClock
from edge_runtime.errors import SignalError
from edge_runtime.interfaces import Edge, Input, Output
from edge_runtime.signal_io.recording import Driven, RecordingBytePort, RecordingLines, Written, levels, sent
from edge_runtime.signal_io.safe_levels import SAFE_ACTIVE

LINE_PROCESS = """
import sys, time
from pathlib import Path
from edge_runtime.interfaces import Output
from edge_runtime.signal_io.recording import RecordingBytePort, RecordingLines
journal = Path(sys.argv[1])
lines, port = RecordingLines(journal), RecordingBytePort(journal)
lines.open()
port.open()
lines.write(Output.OK, True)
lines.write(Output.REJECT, False)
port.write(b"hello")
print("ready", flush=True)
time.sleep(60)
"""


def test_writes_are_remembered_with_their_time():
    clock = ManualClock(1000)
    port = RecordingBytePort(clock=clock)
    port.open()
    port.write(b"a")
    clock.advance_ms(2)
    port.write(b"b")
    assert port.written == [Written(1000, b"a"), Written(2_001_000, b"b")]


def test_levels_are_remembered_with_their_time_safe_first_and_last():
    clock = ManualClock(5)
    lines = RecordingLines(safe_active={Output.OK: False, Output.REJECT: True}, clock=clock)
    lines.open()
    lines.write(Output.OK, True)
    lines.write(Output.BUSY, True)
    lines.close()
    assert lines.driven == [
        Driven(5, Output.OK, False),
        Driven(5, Output.REJECT, True),
        Driven(5, Output.OK, True),
        Driven(5, Output.OK, False),
        Driven(5, Output.REJECT, True),
    ]


def test_first_bytes_arrive_with_the_first_open_only():
    port = RecordingBytePort(incoming=b"$STS*54\r\n")
    port.open()
    assert port.read() == b"$STS*54\r\n"
    port.close()
    port.open()
    assert port.read() == b""


def test_a_full_buffer_takes_a_part_then_nothing_until_there_is_room():
    port = RecordingBytePort()
    port.open()
    port.room_bytes = 3
    assert [port.write(b"abcd"), port.write(b"d")] == [3, 0]
    port.room_bytes = None
    assert port.write(b"d") == 1
    assert [written.data for written in port.written] == [b"abc", b"d"]


def test_bytes_injected_by_another_thread_wake_the_owner(is_readable):
    port = RecordingBytePort()
    port.open()
    thread = threading.Thread(target=lambda: [port.inject(b"x") for _ in range(100)])
    thread.start()
    received = b""
    while len(received) < 100 and is_readable(port.fileno()):
        received += port.read()
    thread.join()
    assert received == b"x" * 100
    port.close()


def test_a_lost_edge_shows_as_a_gap_in_the_numbers():
    lines = RecordingLines()
    lines.open()
    lines.inject_edge(Input.TRIGGER, at_ns=10)
    lines.inject_edge(Input.TRIGGER, at_ns=20, lost=2)
    assert lines.edges() == [Edge(Input.TRIGGER, 10, 1), Edge(Input.TRIGGER, 20, 4)]


def test_an_edge_on_an_input_that_is_not_there_is_refused():
    with pytest.raises(SignalError, match="no input 'start'; inputs: trigger"):
        RecordingLines().inject_edge("start")


def test_lines_without_inputs_have_nothing_to_wait_for():
    lines = RecordingLines(inputs=())
    lines.open()
    assert lines.fileno() is None


def test_failed_lines_raise_until_they_are_opened_anew(is_readable):
    lines = RecordingLines()
    lines.open()
    lines.fail()
    assert is_readable(lines.fileno())
    for use in (lines.edges, lambda: lines.write(Output.OK, True), lines.open):
        with pytest.raises(SignalError):
            use()
    lines.close()
    lines.restore()
    lines.open()
    lines.write(Output.OK, True)
    assert lines.levels[Output.OK] is True


def test_port_and_lines_share_a_journal(tmp_path):
    journal = tmp_path / "journal.jsonl"
    port, lines = RecordingBytePort(journal), RecordingLines(journal)
    lines.open()
    port.open()
    port.write(bytes(range(256)))
    lines.write(Output.REJECT, False)
    port.write(b"end")
    assert sent(journal) == bytes(range(256)) + b"end"
    assert levels(journal) == {**SAFE_ACTIVE, Output.REJECT: False}
    assert all("at_ns" in json.loads(line) for line in journal.read_text().splitlines())
    lines.close()
    assert levels(journal) == SAFE_ACTIVE


def test_the_journal_of_a_killed_process_is_whole_and_a_watcher_makes_it_safe(tmp_path):
    journal = tmp_path / "journal.jsonl"
    process = subprocess.Popen([sys.executable, "-c", LINE_PROCESS, str(journal)], stdout=subprocess.PIPE)
    with process:
        assert process.stdout.readline() == b"ready\n"
        os.kill(process.pid, signal.SIGKILL)
    assert sent(journal) == b"hello"
    assert levels(journal) == {**SAFE_ACTIVE, Output.OK: True, Output.REJECT: False}
    watcher = RecordingLines(journal)
    watcher.open()
    assert levels(journal) == SAFE_ACTIVE


def test_a_line_cut_short_by_a_full_disk_is_left_out(tmp_path):
    journal = tmp_path / "journal.jsonl"
    journal.write_text('{"at_ns": 1, "output": "ok", "active": false}\n{"at_ns": 2, "output": "ok", "act')
    assert levels(journal) == {Output.OK: False}


def test_a_journal_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(SignalError, match=r"journal .*none/journal"):
        RecordingLines(tmp_path / "none" / "journal").open()


def test_no_descriptor_is_left_over(tmp_path):
    port, lines = RecordingBytePort(tmp_path / "journal"), RecordingLines(tmp_path / "journal")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        port.open()
        lines.open()
    port.close()
    lines.close()
    assert len(os.listdir("/proc/self/fd")) == before
