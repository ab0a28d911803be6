"""A Modbus RTU slave on a serial line."""

from __future__ import annotations

import select
import time
from functools import partial

from edge_runtime.clock import NS_PER_MS
from edge_runtime.interfaces import BytePort
from edge_runtime.protocol.modbus_bank import RegisterBank
from edge_runtime.signal_io.modbus import answer, rtu_answer

BITS_PER_BYTE = 11
MIN_TURNAROUND_S = 0.00175  # above 19200 baud, by the specification
SILENCE_NS = 100 * NS_PER_MS  # far more than between two bytes of one frame, USB adapters included


class ModbusRtuServer:
    """A RegisterServer. Whoever holds the cable may read and write; broadcasts are ignored. Raises SignalError.

    An answer follows its request after a silence of 3.5 bytes, in which the master lets go of the cable.
    """

    def __init__(self, bank: RegisterBank, port: BytePort, unit_id: int, baud_rate: int) -> None:
        self._bank = bank
        self._port = port
        self._unit_id = unit_id
        self._turnaround_s = max(MIN_TURNAROUND_S, 3.5 * BITS_PER_BYTE / baud_rate)
        self._received = b""
        self._unsent = b""
        self._heard_ns = 0

    def open(self) -> None:
        self._port.open()
        self._received = self._unsent = b""

    def sources(self) -> dict[int, int]:
        return {self._port.fileno(): select.POLLIN | (select.POLLOUT if self._unsent else 0)}

    def serve(self, fd: int, now_ns: int) -> None:
        received = self._port.read()
        if received:
            if now_ns - self._heard_ns > SILENCE_NS:
                self._received = b""  # the rest of a frame that was cut
            self._heard_ns = now_ns
            self._answer(self._received + received)
        self._unsent = self._unsent[self._port.write(self._unsent) :] if self._unsent else b""

    def close(self) -> None:
        self._port.close()

    def _answer(self, data: bytes) -> None:
        respond = partial(answer, bank=self._bank, may_write=True)
        response, self._received = rtu_answer(data, self._unit_id, respond)
        if response:
            time.sleep(self._turnaround_s)
            self._unsent = response
