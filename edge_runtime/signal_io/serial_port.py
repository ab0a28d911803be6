"""A serial line through pyserial; pseudo-terminals included."""

from __future__ import annotations

import errno
import glob
import os
import select
import termios
from typing import Literal

import serial
from serial.tools import list_ports

from edge_runtime.errors import SignalError

_READ_BYTES = 256  # some twenty triggers: whoever floods the line must not keep its owner from other work
_LOST = select.POLLHUP | select.POLLERR | select.POLLNVAL


class SerialPort:
    """A BytePort on a tty, opened for this process alone.

    `address` is a path (`/dev/serial/by-id/…` survives another USB socket) or a pattern that must match exactly one
    device; it is looked up anew at every `open`. What arrived before `open` is thrown away. One thread owns it.
    """

    def __init__(
        self,
        address: str,
        baud_rate: int = 115200,
        parity: Literal["N", "E", "O"] = "N",
        stop_bits: Literal[1, 2] = 1,
    ) -> None:
        self._address = address
        self._baud_rate = baud_rate
        self._parity = parity
        self._stop_bits = stop_bits
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
        return received

    def write(self, data: bytes) -> int:
        # pyserial's own write tries again and again while the kernel's buffer is full.
        try:
            return os.write(self.fileno(), data)
        except BlockingIOError:
            return 0
        except OSError as exc:
            raise self._lost(exc) from exc

    def close(self) -> None:
        port, self._serial = self._serial, None
        if port is not None:
            port.close()

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


def find_device(address: str) -> str:
    """The path `address` stands for; SignalError listing the ports of this machine when it is not exactly one."""
    if not glob.has_magic(address):
        return address
    paths = {os.path.realpath(path): path for path in sorted(glob.glob(address))}
    if len(paths) == 1:
        return next(iter(paths.values()))
    found = ", ".join(paths.values()) or "nothing"
    raise SignalError(f"serial port {address} must match one device, it matches {found}; {_ports_here()}")


def _ports_here() -> str:
    ports = [f"{port.device} ({port.description})" for port in list_ports.comports(include_links=True)]
    return "ports of this machine: " + (", ".join(sorted(ports)) or "none")


def _advice(exc: Exception, path: str) -> str:
    code = exc.errno if isinstance(exc, OSError) else None
    if code in (errno.EACCES, errno.EPERM):
        return "add the service's user to the group that owns it (dialout on Ubuntu)"
    if code in (errno.EAGAIN, errno.EBUSY):
        return f"another program holds it, `fuser {path}` names it"
    return _ports_here()
