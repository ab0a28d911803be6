"""What only the serial port does: finding one device, and keeping it for itself."""

import os
import time
from pathlib import Path

import pytest
import serial
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from edge_runtime.errors import SignalError
from edge_runtime.signal_io import serial_address
from edge_runtime.signal_io.serial_address import find_device
from edge_runtime.signal_io.serial_port import Rs485, SerialPort


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


def usb(device: str, vid: int, pid: int, serial_number: str | None) -> ListPortInfo:
    port = ListPortInfo(device)
    port.vid, port.pid, port.serial_number, port.description = vid, pid, serial_number, "USB serial"
    return port


@pytest.fixture
def adapters(monkeypatch):
    ports = [
        usb("/dev/ttyUSB0", 0x0403, 0x6001, "A1"),
        usb("/dev/ttyUSB1", 0x0403, 0x6001, "B2"),
        usb("/dev/ttyACM0", 0x2341, 0x0043, None),
        ListPortInfo("/dev/ttyS0"),
    ]
    monkeypatch.setattr(list_ports, "comports", lambda include_links=False: ports)


@pytest.mark.parametrize(
    ("address", "device"),
    [("usb:2341:0043", "/dev/ttyACM0"), ("usb:0403:6001:B2", "/dev/ttyUSB1"), ("usb:0403:6001:A1", "/dev/ttyUSB0")],
)
def test_an_adapter_is_found_by_its_ids(adapters, address, device):
    assert find_device(address) == device


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("usb:0403:6001", r"it matches /dev/ttyUSB0, /dev/ttyUSB1; .*\(usb:0403:6001:A1, USB serial\)"),
        ("usb:0403:6001:C3", "it matches nothing; ports of this machine: /dev/ttyACM0"),
        ("usb:0403", "write usb:VENDOR:PRODUCT"),
    ],
)
def test_an_adapter_that_is_not_one_is_told_with_what_is_there(adapters, address, complaint):
    with pytest.raises(SignalError, match=complaint):
        find_device(address)


def test_a_name_is_looked_up_among_the_ids(tmp_path, monkeypatch):
    monkeypatch.setattr(serial_address, "BY_ID", str(tmp_path))
    for name in ("usb-FTDI_A1-if00", "usb-Arduino-if00"):
        (tmp_path / name).touch()
    assert find_device("id:*FTDI*") == str(tmp_path / "usb-FTDI_A1-if00")
    with pytest.raises(SignalError, match="it matches nothing"):
        find_device("id:*Prolific*")


def test_a_driver_that_switches_no_direction_says_so(pty, tmp_path):
    port = SerialPort(str(tmp_path / "controller"), rs485=Rs485(receives_own=True))
    with pytest.raises(SignalError, match=r"does not switch RS-485 directions .*remove \[serial.rs485\]"):
        port.open()
    with pytest.raises(SignalError, match="not open"):
        port.fileno()


def test_directions_are_switched_as_told_and_the_own_echo_is_not_heard(pty, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(serial.Serial, "rs485_mode", property(None, lambda self, mode: asked.append(vars(mode))))
    port = SerialPort(str(tmp_path / "controller"), rs485=Rs485(False, 2.0, 3.0, receives_own=True))
    port.open()
    assert asked == [
        {
            "rts_level_for_tx": False, "rts_level_for_rx": True, "loopback": True,
            "delay_before_tx": 0.002, "delay_before_rx": 0.003,
        }
    ]  # fmt: skip
    port.write(b"$HBT\r\n")
    pty.send(b"$HBT\r\n$ACK")
    assert port.read() == b"$ACK"
    port.close()


@pytest.mark.parametrize("last_word", [b"", b"$DWN\r\n"])
def test_closing_a_port_whose_controller_reads_nothing_does_not_wait(pty, last_word):
    port = pty.make_port()
    port.open()
    while port.write(b"x" * 1000):
        pass
    port.write(last_word)
    before = time.monotonic()
    port.drain(50)
    port.close()
    assert time.monotonic() - before < 5


def test_drain_of_a_closed_port_is_harmless(pty):
    assert pty.make_port().drain(1000)
