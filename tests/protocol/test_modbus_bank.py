"""What a master may do: read the whole map, write the commands, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.protocol.modbus_bank import Command, Refusal, RegisterBank, RequestRefused
from edge_runtime.protocol.modbus_image import FieldResult, FieldState, numbers_of
from edge_runtime.protocol.modbus_map import COMMANDS, COMMANDS_AT, IMAGE_WORDS, STATUS_BITS
from edge_runtime.values import Outcome

RESULT = FieldResult(5, 1, Outcome.PASS, 0, 0, False, ())
COMMANDS_END = COMMANDS_AT + len(COMMANDS)


def bank_with(taken: list[Command], takes: bool = True, takes_triggers: bool = True) -> RegisterBank:
    def take(commands: Sequence[Command]) -> bool:
        taken.extend(commands)
        return takes

    bank = RegisterBank(takes_triggers=takes_triggers)
    bank.hand_to(take)
    return bank


def code_of(action: object, *arguments: object) -> Refusal | None:
    try:
        action(*arguments)  # type: ignore[operator]
    except RequestRefused as exc:
        return exc.code
    return None


@given(st.integers(0, 65535), st.integers(-1, 200))
def test_reading_gives_as_many_words_as_asked_or_refuses(address: int, count: int) -> None:
    bank = RegisterBank()
    known = [*range(IMAGE_WORDS), *range(COMMANDS_AT, COMMANDS_END)]
    if not 1 <= count <= 125:
        assert code_of(bank.read_registers, address, count) is Refusal.ILLEGAL_VALUE
    elif all(each in known for each in range(address, address + count)):
        assert len(bank.read_registers(address, count)) == count
    else:
        assert code_of(bank.read_registers, address, count) is Refusal.ILLEGAL_ADDRESS


@given(st.integers(0, 65535), st.lists(st.integers(0, 65535), min_size=1, max_size=10))
def test_only_commands_are_written_all_or_none(address: int, values: list[int]) -> None:
    taken: list[Command] = []
    bank = bank_with(taken)
    if address >= COMMANDS_AT and address + len(values) <= COMMANDS_END:
        bank.write_registers(address, values)
        first = address - COMMANDS_AT
        names = COMMANDS[first : first + len(values)]
        assert (
            taken == []
            if not any(values)
            else taken == [Command(name, value) for name, value in zip(names, values, strict=True)]
        )
        assert bank.refused == 0
    else:
        assert code_of(bank.write_registers, address, values) is Refusal.ILLEGAL_ADDRESS
        assert (taken, bank.refused) == ([], 1)


@pytest.mark.parametrize("values", [[], [-1], [65536]])
def test_values_that_are_no_words_are_refused(values: list[int]) -> None:
    bank = bank_with([])
    assert code_of(bank.write_registers, COMMANDS_AT, values) is Refusal.ILLEGAL_VALUE


def test_without_modbus_triggers_there_is_no_trigger_register_to_write() -> None:
    taken: list[Command] = []
    bank = bank_with(taken, takes_triggers=False)
    assert code_of(bank.write_registers, COMMANDS_AT, [1]) is Refusal.ILLEGAL_ADDRESS
    bank.write_registers(COMMANDS_AT + 1, [5])
    assert taken == [Command("acknowledge", 5)]


def test_a_line_that_does_not_listen_is_busy() -> None:
    assert code_of(bank_with([], takes=False).write_registers, COMMANDS_AT, [1]) is Refusal.BUSY
    assert code_of(RegisterBank().write_registers, COMMANDS_AT, [1]) is Refusal.BUSY, "nobody takes commands yet"


def test_numbers_that_the_line_has_already_are_not_brought_to_it_again() -> None:
    taken: list[Command] = []
    bank = bank_with(taken)
    bank.show(FieldState(commands=(7, 6, 0, 0)))
    bank.write_registers(COMMANDS_AT, [7, 6, 0, 0])
    assert taken == []
    bank.write_registers(COMMANDS_AT, [8, 6])
    assert taken == [Command("trigger", 8), Command("acknowledge", 6)]
    bank.show(FieldState(commands=(8, 6, 0, 0), result_id=6, result=RESULT))
    bank.write_registers(COMMANDS_AT + 1, [6])
    assert taken[2:] == [Command("acknowledge", 6)], "it was written before this result was there to be acknowledged"


def test_refused_writes_are_shown() -> None:
    bank = bank_with([])
    for _ in range(3):
        assert code_of(bank.write_registers, 0, [1]) is Refusal.ILLEGAL_ADDRESS
    assert numbers_of(bank.read_registers(0, IMAGE_WORDS))["refused"] == 3


def test_every_request_sees_the_newest_state() -> None:
    bank = RegisterBank()
    bank.show(FieldState(state="ready", ready=True, fault=False, heartbeat=9))
    assert numbers_of(bank.read_registers(0, IMAGE_WORDS))["heartbeat"] == 9
    assert bank.read_bits(0, len(STATUS_BITS))[0] is True
    bank.show(FieldState())
    assert bank.read_bits(0, 1) == [False]
    assert code_of(bank.read_bits, 0, len(STATUS_BITS) + 1) is Refusal.ILLEGAL_ADDRESS
    assert code_of(bank.read_bits, 0, 0) is Refusal.ILLEGAL_VALUE
