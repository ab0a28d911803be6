"""Modbus requests answered from a register bank: pymodbus reads and writes the frames, the sockets are ours.

pymodbus' own server is not used: it does not tell a request's peer, answers on RS-485 for other units, and forgets
requests that arrive together.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from typing import Any

from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerBase, FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.pdu.bit_message import ReadCoilsResponse, ReadDiscreteInputsResponse
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersResponse,
    ReadInputRegistersResponse,
    ReadWriteMultipleRegistersResponse,
    WriteMultipleRegistersResponse,
    WriteSingleRegisterResponse,
)

from edge_runtime.protocol.modbus_bank import Refusal, RegisterBank, RequestRefused

logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # else whoever sends damaged frames fills the disk
MAX_TCP_FRAME_BYTES = 260
MIN_TCP_LENGTH, MAX_TCP_LENGTH = 2, 254  # of the header's length field: unit and request
MAX_RTU_FRAME_BYTES = 256
READ_BITS = {1: ReadCoilsResponse, 2: ReadDiscreteInputsResponse}
READ_REGISTERS = {3: ReadHoldingRegistersResponse, 4: ReadInputRegistersResponse}
WRITE_ONE, WRITE_MANY, READ_AND_WRITE = 6, 16, 23
WRITES_ELSEWHERE = (5, 15, 22)  # coils and masks: known functions without a writable address
DECODER = DecodePDU(True)
KNOWN_FUNCTIONS = frozenset(DECODER.pdu_table)


class NotModbus(Exception):
    """These bytes are no Modbus/TCP, and what follows cannot be told from them."""


def answer(request: ModbusPDU, bank: RegisterBank, may_write: bool) -> ModbusPDU:
    """The response to one request; an exception response when it is refused. Never raises."""
    code = request.function_code
    try:
        if code in READ_BITS:
            return READ_BITS[code](bits=bank.read_bits(request.address, request.count))
        if code in READ_REGISTERS:
            return READ_REGISTERS[code](registers=bank.read_registers(request.address, request.count))
        if code in (WRITE_ONE, WRITE_MANY, READ_AND_WRITE, *WRITES_ELSEWHERE):
            return _write(request, bank, may_write)
        raise RequestRefused(Refusal.ILLEGAL_FUNCTION)
    except RequestRefused as exc:
        return ExceptionResponse(code, exc.code)


def _write(request: Any, bank: RegisterBank, may_write: bool) -> ModbusPDU:
    if not may_write:
        bank.refuse(Refusal.ILLEGAL_FUNCTION)
    code = request.function_code
    if code == WRITE_ONE:
        bank.write_registers(request.address, request.registers)
        return WriteSingleRegisterResponse(address=request.address, registers=request.registers)
    if code == WRITE_MANY:
        if not request.count == len(request.registers) == request.byte_count / 2:
            bank.refuse(Refusal.ILLEGAL_VALUE)
        bank.write_registers(request.address, request.registers)
        return WriteMultipleRegistersResponse(address=request.address, count=request.count)
    if code == READ_AND_WRITE:
        if not request.write_count == len(request.write_registers) == request.write_byte_count / 2:
            bank.refuse(Refusal.ILLEGAL_VALUE)
        bank.read_registers(request.read_address, request.read_count)  # refused as a whole, or carried out as a whole
        bank.write_registers(request.write_address, request.write_registers)
        registers = bank.read_registers(request.read_address, request.read_count)
        return ReadWriteMultipleRegistersResponse(registers=registers)
    bank.refuse(Refusal.ILLEGAL_ADDRESS)
    raise AssertionError("refuse always raises")


def tcp_answers(data: bytes, respond: Callable[[ModbusPDU], ModbusPDU]) -> tuple[bytes, bytes]:
    """Answer every whole request in `data`: (the answers' bytes, what is left of `data`). Raises NotModbus."""
    framer, answers = FramerSocket(DECODER), b""
    while len(data) >= 6:
        length = int.from_bytes(data[4:6], "big")
        if data[2:4] != b"\0\0" or not MIN_TCP_LENGTH <= length <= MAX_TCP_LENGTH:
            raise NotModbus(data[:8].hex(" "))
        if len(data) < 6 + length:
            break
        transaction, unit, body = int.from_bytes(data[:2], "big"), data[6], data[7 : 6 + length]
        answers += _answered(framer, body, unit, transaction, respond)
        data = data[6 + length :]
    return answers, data


def rtu_answer(data: bytes, unit_id: int, respond: Callable[[ModbusPDU], ModbusPDU]) -> tuple[bytes, bytes]:
    """Answer the last whole request for this unit in `data`: (the answer's bytes, what is left of `data`).

    Frames of other units, noise and a request that was repeated before we came to it stay without an answer.
    """
    framer, body, start = FramerRTU(DECODER), b"", 0
    while (at := data.find(unit_id, start)) >= 0:
        size = _rtu_frame_bytes(data[at:])
        if size and _is_whole(data[at : at + size]):
            body, data, start = data[at + 1 : at + size - 2], data[at + size :], 0
        else:
            start = at + 1
    rest = data[-MAX_RTU_FRAME_BYTES:]
    return (_answered(framer, body, unit_id, 0, respond), rest) if body else (b"", rest)


def _rtu_frame_bytes(data: bytes) -> int:
    """How long the request is that starts here; 0 while that cannot be told or when it is none."""
    if len(data) < 4 or data[1] & 0x80:
        return 0
    known = DECODER.lookupPduClass(data)
    if known is None:
        return 0
    try:
        size = known.calculateRtuFrameSize(data)
    except ModbusException:
        return 0
    return size if 4 <= size <= min(len(data), MAX_RTU_FRAME_BYTES) else 0


def _is_whole(frame: bytes) -> bool:
    return FramerRTU.check_CRC(frame[:-2], int.from_bytes(frame[-2:], "big"))


def _answered(
    framer: FramerBase, body: bytes, unit: int, transaction: int, respond: Callable[[ModbusPDU], ModbusPDU]
) -> bytes:
    response = _response(body, respond)
    response.dev_id, response.transaction_id = unit, transaction
    return framer.buildFrame(response)


def _response(body: bytes, respond: Callable[[ModbusPDU], ModbusPDU]) -> ModbusPDU:
    function_code = body[0]
    try:
        request = DECODER.decode(body)
    except (ModbusException, ValueError, IndexError, TypeError, struct.error):
        request = None
    if function_code & 0x80 or function_code not in KNOWN_FUNCTIONS:
        return ExceptionResponse(function_code & 0x7F, Refusal.ILLEGAL_FUNCTION)
    if request is None:
        return ExceptionResponse(function_code, Refusal.ILLEGAL_VALUE)
    return respond(request)
