"""What only the serial port does: finding one device, and keeping it for itself."""

import os
import time
from pathlib import Path

import pytest

from edge_runtime.errors import SignalError
from edge_runtime.signal_io.serial_address import find_device
from edge_runtime.signal_io.serial_port import SerialPort


def test_a_pattern_stands_for_its_only_match(pty, tmp_path):
    assert find_device(str(tmp_path / "contr*")) == str(tmp_path / "controller")
    port = SerialPort(str(tmp_path / "contr*"), 9600, parity="E", stop_bits=2)
    port.open()
    pty.send(b"hi")
    assert port.read() == b"hi"
    port.close()


def test_two_links_to_one_device_are_one_match(pty, tmp_path):
    (tmp_path / "controller-too").symlink_to(pty.link.resolve())
    assert Path(find_device(str(tmp_path / "contr*"))).resolve() == pty.link.resolve()


def test_a_pattern_with_two_matches_names_both(tmp_path):
    for name in ("tty-a", "tty-b"):
        (tmp_path / name).touch()
    with pytest.raises(SignalError, match=r"it matches .*tty-a, .*tty-b; ports of this machine"):
        find_device(str(tmp_path / "tty-*"))


def test_a_pattern_without_a_match_lists_the_ports(tmp_path):
    with pytest.raises(SignalError, match="it matches nothing; ports of this machine"):
        SerialPort(str(tmp_path / "tty-*")).open()


def test_a_missing_device_is_named_with_the_cause_kept(tmp_path):
    with pytest.raises(SignalError, match=f"{tmp_path}/none.*ports of this machine") as caught:
        SerialPort(str(tmp_path / "none")).open()
    assert isinstance(caught.value.__cause__, OSError)


def test_a_file_is_not_a_port(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SignalError, match="file"):
        SerialPort(str(tmp_path / "file")).open()


def test_a_second_program_is_kept_out(pty):
    first, second = pty.make_port(), pty.make_port()
    first.open()
    with pytest.raises(SignalError, match="another program holds it"):
        second.open()
    first.close()
    second.open()
    second.close()


def test_what_arrived_before_the_cable_was_pulled_is_still_read(pty):
    port = pty.make_port()
    port.open()
    pty.send(b"last words")
    assert port.read() == b"last words"
    pty.pull()
    with pytest.raises(SignalError, match="lost"):
        port.read()
    port.close()


def test_more_than_one_kernel_buffer_is_drained(pty):
    port = pty.make_port()
    port.open()
    received, sent = b"", 0
    deadline = time.monotonic() + 5
    while sent < 20_000 and time.monotonic() < deadline:
        pty.send(b"x" * 1000)
        sent += 1000
        received += port.read()
    while len(received) < sent and time.monotonic() < deadline:
        received += port.read()
    assert len(received) == 20_000
    port.close()


def test_no_descriptor_is_left_over(pty):
    port = pty.make_port()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        port.open()
    port.close()
    assert len(os.listdir("/proc/self/fd")) == before
