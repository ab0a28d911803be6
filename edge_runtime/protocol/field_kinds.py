"""How the fields of a sentence are checked and written: kinds, and values whose fields carry one each."""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Protocol, cast, get_type_hints

MAX_TEXT_CHARS = 32
_FORBIDDEN = re.compile(r"[^\x20-\x7e]|[$*,A-Z]")


class Kind(Protocol):
    """How one field is checked and written. All three raise ValueError for what is outside."""

    def check(self, value: Any) -> None: ...

    def to_wire(self, value: Any) -> str: ...

    def from_wire(self, text: str) -> Any: ...


@dataclass(frozen=True)
class Number:
    """A decimal number in low..high; empty on the wire stands for None where `optional`."""

    low: int
    high: int
    optional: bool = False

    def check(self, value: int | None) -> None:
        if value is None and self.optional:
            return
        if value is None or not self.low <= value <= self.high:
            raise ValueError(f"{value} is not in {self.low}..{self.high}")

    def to_wire(self, value: int | None) -> str:
        return "" if value is None else str(value)

    def from_wire(self, text: str) -> int | None:
        if not text and self.optional:
            return None
        if not text.isdigit():
            raise ValueError(f"{text!r} is not a decimal number")
        return int(text)


@dataclass(frozen=True)
class Text:
    """Printable ASCII without capitals, `$`, `*` and `,`; capitals are kept for the words that name a sentence."""

    min_chars: int = 0
    max_chars: int = MAX_TEXT_CHARS

    def check(self, value: str) -> None:
        if not self.min_chars <= len(value) <= self.max_chars or _FORBIDDEN.search(value):
            raise ValueError(f"{value!r} is not {self.min_chars} to {self.max_chars} permitted characters")

    def to_wire(self, value: str) -> str:
        return value

    def from_wire(self, text: str) -> str:
        return text


@dataclass(frozen=True)
class Choice:
    """One of a few values, each written as its own letter."""

    letters: tuple[tuple[Any, str], ...]

    def check(self, value: Any) -> None:
        self.to_wire(value)

    def to_wire(self, value: Any) -> str:
        for choice, letter in self.letters:
            if choice is value:
                return letter
        raise ValueError(f"{value!r} is not one of {[choice for choice, _ in self.letters]}")

    def from_wire(self, text: str) -> Any:
        for choice, letter in self.letters:
            if letter == text:
                return choice
        raise ValueError(f"{text!r} is not one of {[letter for _, letter in self.letters]}")


def sanitised(text: str, max_chars: int = MAX_TEXT_CHARS) -> str:
    """`text` as a sentence may carry it: lower case, `_` for what is not permitted, at most `max_chars` long."""
    return _FORBIDDEN.sub("_", text.strip().lower())[:max_chars]


def kinds_of(message_type: type[Checked]) -> tuple[tuple[str, Kind], ...]:
    """Field names of a message in wire order, each with its kind."""
    return _kinds_of(cast(Hashable, message_type))


@cache
def _kinds_of(message_type: Any) -> tuple[tuple[str, Kind], ...]:
    hints = get_type_hints(message_type, include_extras=True)
    return tuple((each.name, hints[each.name].__metadata__[0]) for each in fields(message_type))


@dataclass(frozen=True)
class Checked:
    """A value whose fields are checked against their kinds at birth; ValueError names the field."""

    def __post_init__(self) -> None:
        for name, kind in kinds_of(type(self)):
            try:
                kind.check(getattr(self, name))
            except ValueError as exc:
                raise ValueError(f"{type(self).__name__}.{name}: {exc}") from exc
