"""What a Modbus master may read and write, whatever the wire: pure, requests in, words or a refusal out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from edge_runtime.protocol.modbus_image import FieldState, image_of, status_bits
from edge_runtime.protocol.modbus_map import COMMANDS, COMMANDS_AT, MAX_READ_WORDS, STATUS_BITS, WORD_MAX, WordOrder


class Refusal(IntEnum):
    """Exception codes of the Modbus specification."""

    ILLEGAL_FUNCTION = 1
    ILLEGAL_ADDRESS = 2
    ILLEGAL_VALUE = 3
    BUSY = 6


class RequestRefused(Exception):
    """The answer is this exception code."""

    def __init__(self, code: Refusal) -> None:
        super().__init__(code.name)
        self.code = code


@dataclass(frozen=True)
class Command:
    """A master wrote `value` into the command register `name`."""

    name: Literal["trigger", "acknowledge", "reset", "select_recipe"]
    value: int


class RegisterBank:
    """The registers as masters see them. Every request sees one whole state, never parts of two.

    The commands of a write go to what `hand_to` named, all or none; it says whether it could take them, and until
    there is one nobody can. One thread owns it.
    """

    def __init__(self, word_order: WordOrder = "big", takes_triggers: bool = True) -> None:
        self.refused = 0
        self._take: Callable[[Sequence[Command]], bool] = lambda commands: False
        self._word_order = word_order
        self._takes_triggers = takes_triggers
        self._state = FieldState()
        self._image: dict[int, int] | None = None

    def hand_to(self, take: Callable[[Sequence[Command]], bool]) -> None:
        self._take = take

    def show(self, state: FieldState) -> None:
        """From the next request on, show this."""
        self._state, self._image = state, None

    def read_registers(self, address: int, count: int) -> list[int]:
        """`count` words from `address`. Raises RequestRefused unless the map has each of them."""
        image = self._current_image()
        if not 1 <= count <= MAX_READ_WORDS:
            raise RequestRefused(Refusal.ILLEGAL_VALUE)
        if any(each not in image for each in range(address, address + count)):
            raise RequestRefused(Refusal.ILLEGAL_ADDRESS)
        return [image[each] for each in range(address, address + count)]

    def read_bits(self, address: int, count: int) -> list[bool]:
        """Bits of `status_bits` as discrete inputs. Raises RequestRefused."""
        bits = list(status_bits(self._state).values())
        if count < 1:
            raise RequestRefused(Refusal.ILLEGAL_VALUE)
        if address + count > len(STATUS_BITS):
            raise RequestRefused(Refusal.ILLEGAL_ADDRESS)
        return bits[address : address + count]

    def write_registers(self, address: int, values: Sequence[int]) -> None:
        """Commands, all or none. Raises RequestRefused, and counts it, for everything else."""
        try:
            commands = self._commands(address, values)
            if not all(map(self._is_known, commands)) and not self._take(commands):
                raise RequestRefused(Refusal.BUSY)
        except RequestRefused as exc:
            self.refuse(exc.code)

    def refuse(self, code: Refusal) -> None:
        """Count a write that is not carried out, and raise RequestRefused."""
        self.refused += 1
        self._image = None
        raise RequestRefused(code)

    def _commands(self, address: int, values: Sequence[int]) -> list[Command]:
        first = address - COMMANDS_AT
        if not values or any(not 0 <= value <= WORD_MAX for value in values):
            raise RequestRefused(Refusal.ILLEGAL_VALUE)
        if first < 0 or first + len(values) > len(COMMANDS):
            raise RequestRefused(Refusal.ILLEGAL_ADDRESS)
        names = COMMANDS[first : first + len(values)]
        if "trigger" in names and not self._takes_triggers:
            raise RequestRefused(Refusal.ILLEGAL_ADDRESS)
        return [Command(name, value) for name, value in zip(names, values, strict=True)]

    def _is_known(self, command: Command) -> bool:
        """Whether the line has this number already and would do nothing: masters write theirs again in every cycle."""
        is_shown = command.name == "acknowledge" and command.value == self._state.result_id
        return not is_shown and command.value == self._state.commands[COMMANDS.index(command.name)]

    def _current_image(self) -> dict[int, int]:
        if self._image is None:
            self._image = image_of(self._state, self.refused, self._word_order)
        return self._image
