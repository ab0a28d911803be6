"""A Modbus RTU slave on a serial line."""

from __future__ import annotations

import logging
import select
from functools import partial

from edge_runtime.clock import NS_PER_MS
from edge_runtime.interfaces import BytePort
from edge_runtime.protocol.modbus_bank import RegisterBank
from edge_runtime.signal_io.modbus import MAX_RTU_FRAME_BYTES, answer, rtu_answer

log = logging.getLogger(__name__)
SILENCE_NS = 100 * NS_PER_MS  # far more than between two bytes of one frame, USB adapters included


class ModbusRtuServer:
    """A RegisterServer. Whoever holds the cable may read and write; broadcasts are ignored. Raises SignalError."""

    def __init__(self, bank: RegisterBank, port: BytePort, unit_id: int) -> None:
        self._bank = bank
        self._port = port
        self._unit_id = unit_id
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
        self._unsent = response or self._unsent
        assert len(self._received) <= MAX_RTU_FRAME_BYTES
