"""The contract of BytePort, kept by the serial port on a pseudo-terminal and by the recording fake."""

import pytest

from edge_runtime.errors import SignalError


def test_nothing_has_arrived_on_a_quiet_line(port):
    port.open()
    assert port.read() == b""
    assert port.read() == b""


def test_what_the_controller_sends_is_read_once_and_wakes_its_reader(port, far_end, is_readable):
    port.open()
    far_end.send(b"$ACK,5*50\r\n")
    far_end.send(b"\x00\xff\x03\x11")
    assert is_readable(port.fileno())
    assert port.read() == b"$ACK,5*50\r\n\x00\xff\x03\x11"
    assert port.read() == b""


def test_what_is_written_reaches_the_controller_unchanged(port, far_end):
    port.open()
    data = bytes(range(256))
    assert port.write(data) == 256
    assert far_end.received(256) == data


def test_what_arrived_before_open_is_thrown_away(port, far_end):
    far_end.send(b"stale")
    port.open()
    far_end.send(b"fresh")
    assert port.read() == b"fresh"


def test_a_controller_that_does_not_read_never_blocks_a_write(port, far_end):
    port.open()
    far_end.stop_reading()
    taken = [port.write(b"x" * 1000) for _ in range(200)]
    assert taken[0] == 1000
    assert 0 in taken  # not only at the end: the kernel empties its own buffer when it comes to it


def test_a_pulled_cable_wakes_the_reader_and_is_an_error(port, far_end, is_readable):
    port.open()
    fd = port.fileno()
    far_end.pull()
    assert is_readable(fd)
    with pytest.raises(SignalError, match="lost"):
        port.read()
    with pytest.raises(SignalError, match="lost"):
        port.write(b"x")


def test_a_port_that_is_not_there_cannot_be_opened(port, far_end):
    far_end.pull()
    with pytest.raises(SignalError):
        port.open()


def test_a_pulled_cable_plugged_in_again_works_after_a_new_open(port, far_end):
    port.open()
    far_end.pull()
    port.close()
    with pytest.raises(SignalError):
        port.open()
    far_end.plug()
    port.open()
    far_end.send(b"back")
    assert port.read() == b"back"
    assert port.write(b"hello") == 5


def test_a_handle_stays_lost_until_it_is_opened_anew(port, far_end):
    port.open()
    far_end.pull()
    far_end.plug()
    with pytest.raises(SignalError, match="lost"):
        port.write(b"x")
    port.open()
    assert port.write(b"x") == 1


def test_close_is_harmless_twice_and_a_closed_port_says_so(port):
    port.close()
    port.open()
    port.close()
    port.close()
    for use in (port.fileno, port.read, lambda: port.write(b"x")):
        with pytest.raises(SignalError, match="not open"):
            use()
