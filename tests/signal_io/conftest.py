"""Two far ends for the same contracts: the shipped fake, and the real driver on what the kernel simulates."""

import errno
import fcntl
import itertools
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_runtime.interfaces import Input, Output
from edge_runtime.signal_io.edge_feed import EdgeSender, FedEdge
from edge_runtime.signal_io.gpio import GpioLines, InputLine, OutputLine
from edge_runtime.signal_io.recording import RecordingBytePort, RecordingLines
from edge_runtime.signal_io.safe_levels import SAFE_ACTIVE
from edge_runtime.signal_io.serial_port import SerialPort

DEADLINE_S = 5.0
HALF_FULL = 2048  # bytes, of a terminal's buffer
GPIO_SIM = Path("/sys/kernel/config/gpio-sim")
OUTPUTS = (Output.OK, Output.REJECT, Output.BUSY, Output.FAULT)


def wait_readable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(DEADLINE_S * 1000))


def arrived(fd: int) -> int:
    """How many bytes can be read from a terminal."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)


class FarEndOfPty:
    """The controller's side of a pseudo-terminal behind a symbolic link, as udev makes one for an adapter."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self._master: int | None = None
        self.plug()

    def make_port(self) -> SerialPort:
        return SerialPort(str(self.link))

    def plug(self) -> None:
        self._master, slave = os.openpty()
        os.set_blocking(self._master, False)
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(os.ttyname(slave))
        os.close(slave)

    def pull(self) -> None:
        if self._master is not None:
            os.close(self._master)
        self._master = None
        self.link.unlink(missing_ok=True)

    def send(self, data: bytes) -> None:
        """Returns when the kernel has brought it to the other side, which a busy machine does later than the write."""
        slave = os.open(self.link, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        if termios.tcgetattr(slave)[3] & termios.ICANON:  # nobody has set it up: else only whole lines arrive
            tty.setraw(slave, termios.TCSANOW)
        waiting = min(arrived(slave) + len(data), HALF_FULL)
        os.write(self._master, data)
        deadline = time.monotonic() + DEADLINE_S
        while arrived(slave) < waiting and time.monotonic() < deadline:
            time.sleep(0.001)
        os.close(slave)

    def received(self, count: int) -> bytes:
        data = b""
        deadline = time.monotonic() + DEADLINE_S
        while len(data) < count and time.monotonic() < deadline and wait_readable(self._master):
            data += self._read()
        return data

    def _read(self) -> bytes:
        try:
            return os.read(self._master, 65536)
        except OSError as exc:
            if exc.errno in (errno.EIO, errno.EAGAIN):
                return b""
            raise

    def stop_reading(self) -> None:
        """Nothing to do: a pseudo-terminal that nobody reads fills up."""


class FarEndOfRecording:
    """The controller's side of the fake."""

    def __init__(self) -> None:
        self._port = RecordingBytePort()

    def make_port(self) -> RecordingBytePort:
        return self._port

    def plug(self) -> None:
        self._port.restore()

    def pull(self) -> None:
        self._port.fail()

    def send(self, data: bytes) -> None:
        self._port.inject(data)

    def received(self, count: int) -> bytes:
        return b"".join(written.data for written in self._port.written)[:count]

    def stop_reading(self) -> None:
        self._port.room_bytes = 4096


@pytest.fixture
def pty(tmp_path: Path) -> Iterator[FarEndOfPty]:
    far_end = FarEndOfPty(tmp_path / "controller")
    yield far_end
    far_end.pull()


@pytest.fixture(params=["serial", "recording"])
def far_end(request: pytest.FixtureRequest) -> FarEndOfPty | FarEndOfRecording:
    return request.getfixturevalue("pty") if request.param == "serial" else FarEndOfRecording()


@pytest.fixture
def port(far_end) -> Iterator:
    port = far_end.make_port()
    yield port
    port.close()


@pytest.fixture
def is_readable() -> Callable[[int], bool]:
    return wait_readable


class FieldOfRecording:
    """What is wired to the fake's lines."""

    def __init__(self) -> None:
        self._lines = RecordingLines(
            safe_active={output: output in (Output.REJECT, Output.FAULT) for output in OUTPUTS}
        )

    def make_lines(self) -> RecordingLines:
        return self._lines

    def edge(self) -> None:
        self._lines.inject_edge(Input.TRIGGER)

    def is_active(self, output: Output) -> bool:
        return self._lines.levels[output]


class FieldOfFeed(FieldOfRecording):
    """What is wired to the fake's lines, moved by another process."""

    def __init__(self, path: Path) -> None:
        self._lines = RecordingLines(safe_active={output: SAFE_ACTIVE[output] for output in OUTPUTS}, feed=path)
        self._sender = EdgeSender(path)

    def edge(self) -> None:
        now_ns = time.monotonic_ns()
        self._sender.send([FedEdge(Input.TRIGGER, now_ns), FedEdge(Input.TRIGGER, now_ns, active=False)])

    def remove(self) -> None:
        self._sender.close()


class FieldOfGpioSim:
    """What is wired to a chip simulated by the kernel: outputs at lines 0 to 3, the trigger at line 4."""

    numbers = itertools.count()

    def __init__(self) -> None:
        self._config = GPIO_SIM / f"edge-runtime-{os.getpid()}-{next(self.numbers)}"
        bank = self._config / "bank0"
        bank.mkdir(parents=True)
        (bank / "num_lines").write_text("8")
        (self._config / "live").write_text("1")
        self._chip = (bank / "chip_name").read_text().strip()
        device = (self._config / "dev_name").read_text().strip()
        self._lines_path = Path("/sys/devices/platform") / device / self._chip

    def make_lines(self) -> GpioLines:
        outputs = {output: OutputLine(offset) for offset, output in enumerate(OUTPUTS)}
        return GpioLines(self._chip, outputs, {Input.TRIGGER: InputLine(4, edge="rising")})

    def edge(self) -> None:
        for level in ("pull-up", "pull-down"):
            (self._lines_path / "sim_gpio4" / "pull").write_text(level)

    def is_active(self, output: Output) -> bool:
        level = (self._lines_path / f"sim_gpio{OUTPUTS.index(output)}" / "value").read_text().strip() == "1"
        return level is not OutputLine(0).is_active_low(output)

    def remove(self) -> None:
        (self._config / "live").write_text("0")
        (self._config / "bank0").rmdir()
        self._config.rmdir()


@pytest.fixture(params=["recording", "feed", "gpio"])
def field(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FieldOfRecording | FieldOfGpioSim]:
    if request.param == "recording":
        yield FieldOfRecording()
        return
    if request.param == "feed":
        fed = FieldOfFeed(tmp_path / "feed")
        yield fed
        fed.remove()
        return
    if not os.access(GPIO_SIM, os.W_OK):
        pytest.skip(f"no simulated GPIO chip: {GPIO_SIM} is not there or not writable (modprobe gpio-sim, as root)")
    simulated = FieldOfGpioSim()
    yield simulated
    simulated.remove()


@pytest.fixture
def lines(field) -> Iterator:
    lines = field.make_lines()
    yield lines
    lines.close()
