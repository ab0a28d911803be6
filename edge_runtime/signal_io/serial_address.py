"""Which tty a port's address stands for."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable

from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from edge_runtime.errors import SignalError

BY_ID = "/dev/serial/by-id"
_USB = re.compile(r"usb:([0-9a-f]{4}):([0-9a-f]{4})(?::(.+))?", re.IGNORECASE)


def find_device(address: str) -> str:
    """The path that `address` stands for; SignalError listing the ports of this machine when it is not exactly one.

    A path, a pattern of paths, `usb:VENDOR:PRODUCT` or `usb:VENDOR:PRODUCT:SERIALNO` with the adapter's ids in hex,
    or `id:PATTERN` for a name in /dev/serial/by-id.
    """
    if address.startswith("usb:"):
        return _only_one(address, _usb_ports(address))
    if address.startswith("id:"):
        return _only_one(address, glob.glob(f"{BY_ID}/{address[3:]}"))
    if not glob.has_magic(address):
        return address
    return _only_one(address, glob.glob(address))


def list_serial_ports(include_links: bool = False) -> list[str]:
    """The ports of this machine, each with the address that means it wherever it is plugged in."""
    return sorted(f"{port.device} ({_words(port)})" for port in list_ports.comports(include_links=include_links))


def ports_here() -> str:
    return "ports of this machine: " + (", ".join(list_serial_ports(include_links=True)) or "none")


def _only_one(address: str, found: Iterable[str]) -> str:
    paths = {os.path.realpath(path): path for path in sorted(found)}
    if len(paths) == 1:
        return next(iter(paths.values()))
    listed = ", ".join(paths.values()) or "nothing"
    raise SignalError(f"serial port {address} must match one device, it matches {listed}; {ports_here()}")


def _usb_ports(address: str) -> list[str]:
    match = _USB.fullmatch(address)
    if match is None:
        raise SignalError(f"serial port {address}: write usb:VENDOR:PRODUCT[:SERIALNO], such as usb:0403:6001")
    vendor, product, serial_number = int(match[1], 16), int(match[2], 16), match[3]
    return [
        port.device
        for port in list_ports.comports()
        if (port.vid, port.pid) == (vendor, product) and serial_number in (None, port.serial_number)
    ]


def _words(port: ListPortInfo) -> str:
    """What an address can be made from."""
    if port.vid is None or port.pid is None:
        return port.description
    serial_number = f":{port.serial_number}" if port.serial_number else ""
    return f"usb:{port.vid:04x}:{port.pid:04x}{serial_number}, {port.description}"
