"""A serial line through pyserial; pseudo-terminals included."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import struct
import termios
import time
from dataclasses import dataclass
from typing import Literal

import serial
from serial.rs485 import RS485Settings

from edge_runtime.errors import SignalError
from edge_runtime.protocol.echo import EchoFilter
from edge_runtime.signal_io.serial_address import find_device, ports_here

_READ_BYTES = 256  # some twenty triggers: whoever floods the line must not keep its owner from other work
_LOST = select.POLLHUP | select.POLLERR | select.POLLNVAL
_DRAIN_STEP_S = 0.002
_SERIAL_STRUCT_BYTES, _CLOSING_WAIT_AT = 128, 40  # linux/serial.h: the driver may write a little more than 72 bytes
_CLOSING_WAIT_NONE = 65535
_TIOCGSERIAL, _TIOCSSERIAL = 0x541E, 0x541F


@dataclass(frozen=True)
class Rs485:
    """How the kernel's driver turns an RS-485 transceiver around. `receives_own`: what is sent comes back, too."""

    rts_high_to_send: bool = True
    delay_before_ms: float = 0.0
    delay_after_ms: float = 0.0
    receives_own: bool = False


class SerialPort:
    """A BytePort on a tty, opened for this process alone.

    `address` is what `find_device` understands; it is looked up anew at every `open`. What arrived before `open` is
    thrown away, and what has not left at `close`. One thread owns it.
    """

    def __init__(
        self,
        address: str,
        baud_rate: int = 115200,
        parity: Literal["N", "E", "O"] = "N",
        stop_bits: Literal[1, 2] = 1,
        rs485: Rs485 | None = None,
    ) -> None:
        self._address = address
        self._baud_rate = baud_rate
        self._parity = parity
        self._stop_bits = stop_bits
        self._rs485 = rs485
        self._echo = EchoFilter() if rs485 is not None and rs485.receives_own else None
        self._serial: serial.Serial | None = None

    def open(self) -> None:
        self.close()
        path = find_device(self._address)
        try:
            self._serial = serial.Serial(
                path,
                self._baud_rate,
                parity=self._parity,
                stopbits=self._stop_bits,
                timeout=0,
                write_timeout=0,
                exclusive=True,
            )
        except (OSError, ValueError, termios.error) as exc:
            raise SignalError(f"serial port {path}: {exc}; {_advice(exc, path)}") from exc
        if self._echo is not None:
            self._echo.restart()
        _never_wait_in_close(self.fileno())
        if self._rs485 is not None:
            self._turn_around(self._serial, self._rs485, path)

    def _turn_around(self, port: serial.Serial, rs485: Rs485, path: str) -> None:
        wanted = RS485Settings(
            rts_level_for_tx=rs485.rts_high_to_send,
            rts_level_for_rx=not rs485.rts_high_to_send,
            loopback=rs485.receives_own,
            delay_before_tx=rs485.delay_before_ms / 1000,
            delay_before_rx=rs485.delay_after_ms / 1000,
        )
        try:
            port.rs485_mode = wanted
        except (OSError, ValueError) as exc:
            self.close()
            raise SignalError(
                f"serial port {path}: its driver does not switch RS-485 directions ({exc}); take an adapter that "
                "switches by itself and remove [serial.rs485], or a port whose driver knows TIOCSRS485"
            ) from exc

    def fileno(self) -> int:
        fd = None if self._serial is None else self._serial.fd
        if fd is None:
            raise SignalError(f"serial port {self._address} is not open")
        return fd

    def read(self) -> bytes:
        fd = self.fileno()
        try:
            received = _read_some(fd)
        except OSError as exc:
            raise self._lost(exc) from exc
        if not received and _is_hung_up(fd):
            raise self._lost("the line hung up")
        return received if self._echo is None else self._echo.received(received)

    def write(self, data: bytes) -> int:
        # pyserial's own write tries again and again while the kernel's buffer is full.
        try:
            taken = os.write(self.fileno(), data)
        except BlockingIOError:
            return 0
        except OSError as exc:
            raise self._lost(exc) from exc
        if self._echo is not None:
            self._echo.sent(data[:taken])
        return taken

    def drain(self, at_most_ms: float) -> bool:
        end = time.monotonic() + at_most_ms / 1000
        while (left := self._unsent_bytes()) and time.monotonic() < end:
            time.sleep(_DRAIN_STEP_S)
        return not left

    def close(self) -> None:
        """Let go at once: the kernel would wait up to 30 s for a full buffer to leave."""
        if self._unsent_bytes():
            with contextlib.suppress(OSError, termios.error):
                termios.tcflush(self.fileno(), termios.TCOFLUSH)
        port, self._serial = self._serial, None
        if port is not None:
            port.close()

    def _unsent_bytes(self) -> int:
        """What the kernel holds of what was written; 0 for a port that is closed, lost or cannot tell."""
        fd = None if self._serial is None else self._serial.fd
        try:
            return 0 if fd is None else int.from_bytes(fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)), "little")
        except OSError:
            return 0

    def _lost(self, cause: object) -> SignalError:
        return SignalError(f"serial port {self._address}: lost ({cause}); check the cable and the adapter")


def _read_some(fd: int) -> bytes:
    try:
        return os.read(fd, _READ_BYTES)
    except BlockingIOError:
        return b""


def _is_hung_up(fd: int) -> bool:
    """Whether the far end is gone: a tty without data and one that hung up both read as b""."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return any(events & _LOST for _, events in poll.poll(0))


def _never_wait_in_close(fd: int) -> None:
    """Best effort: needs the right to it (CAP_SYS_ADMIN), and a driver that knows it; `close` flushes all the same."""
    state = bytearray(_SERIAL_STRUCT_BYTES)
    with contextlib.suppress(OSError):
        fcntl.ioctl(fd, _TIOCGSERIAL, state)
        struct.pack_into("=H", state, _CLOSING_WAIT_AT, _CLOSING_WAIT_NONE)
        fcntl.ioctl(fd, _TIOCSSERIAL, state)


def _advice(exc: Exception, path: str) -> str:
    code = exc.errno if isinstance(exc, OSError) else None
    if code in (errno.EACCES, errno.EPERM):
        return "add the service's user to the group that owns it (dialout on Ubuntu)"
    if code in (errno.EAGAIN, errno.EBUSY):
        return f"another program holds it, `fuser {path}` names it"
    return ports_here()
