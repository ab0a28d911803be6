"""Checksums that controllers use, by name; each takes bytes and gives a number of so many bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import xor


@dataclass(frozen=True)
class Checksum:
    compute: Callable[[bytes], int]
    size_bytes: int

    def digits(self, data: bytes) -> bytes:
        """In capital hex digits, highest first."""
        return b"%0*X" % (2 * self.size_bytes, self.compute(data))

    def raw(self, data: bytes) -> bytes:
        """As bytes, lowest first, as Modbus sends its CRC."""
        return self.compute(data).to_bytes(self.size_bytes, "little")


def xor8(data: bytes) -> int:
    return reduce(xor, data, 0)


def sum8(data: bytes) -> int:
    return sum(data) & 0xFF


def lrc(data: bytes) -> int:
    """As in Modbus ASCII: the sum of data and LRC is 0 in 8 bits."""
    return -sum(data) & 0xFF


def crc16(data: bytes) -> int:
    """As in Modbus RTU: polynomial 0xA001 (reflected 0x8005), initial value 0xFFFF; 0x4B37 for b"123456789"."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc


CHECKSUMS: Mapping[str, Checksum] = {
    "xor": Checksum(xor8, 1),
    "sum8": Checksum(sum8, 1),
    "lrc": Checksum(lrc, 1),
    "crc16": Checksum(crc16, 2),
}
