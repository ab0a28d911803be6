"""One field of a template: how a value is written into its place, and read from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from edge_runtime.protocol.field_kinds import MAX_TEXT_CHARS, Choice, Kind, Number, Text

MAX_WIDTH = 40
MAX_DIGITS = 19
_NUMBER_SPEC = re.compile(r"(0?)([1-9][0-9]?)d?|d?")
_TEXT_SPEC = re.compile(r"([<>]?)([1-9][0-9]?)|")
_WORD = re.compile(r"[ -.0-~]{1,16}")  # printable, without the slash between words


class Field(Protocol):
    """Writes a value; `pattern` is a regular expression of what it writes, without groups."""

    @property
    def max_bytes(self) -> int: ...

    @property
    def pattern(self) -> str: ...

    def write(self, value: Any) -> str: ...

    def read(self, text: str) -> Any:
        """Raises ValueError for what `pattern` lets through and `write` never writes."""
        ...


@dataclass(frozen=True)
class NumberField:
    """A decimal number, filled from the left up to `width`; none is written as blanks."""

    width: int
    fill: str

    @property
    def max_bytes(self) -> int:
        return max(self.width, MAX_DIGITS)

    @property
    def pattern(self) -> str:
        if not self.width:
            return f"[0-9]{{1,{MAX_DIGITS}}}"
        return f"[0-9]{{{self.width}}}" if self.fill == "0" else f"[ 0-9]{{{self.width}}}"

    def write(self, value: int | None) -> str:
        return " " * self.width if value is None else str(value).rjust(self.width, self.fill)

    def read(self, text: str) -> int:
        digits = text.lstrip(" ")
        if not digits.isdigit():
            raise ValueError(f"{text!r} is not a number")
        return int(digits)


@dataclass(frozen=True)
class WordField:
    """One word for each of a few values."""

    words: Mapping[Any, str]

    @property
    def max_bytes(self) -> int:
        return max(map(len, self.words.values()))

    @property
    def pattern(self) -> str:
        return "|".join(re.escape(word) for word in self.words.values())

    def write(self, value: Any) -> str:
        return self.words[value]

    def read(self, text: str) -> Any:
        return next(value for value, word in self.words.items() if word == text)


@dataclass(frozen=True)
class TextField:
    """Text, cut and padded to `width` where that is not 0; `forbidden` characters become `_`."""

    width: int
    to_the_right: bool
    forbidden: frozenset[str] = frozenset()

    @property
    def max_bytes(self) -> int:
        return self.width or MAX_TEXT_CHARS

    @property
    def pattern(self) -> str:
        return f"[ -~]{{{self.width}}}" if self.width else f"[ -~]{{0,{MAX_TEXT_CHARS}}}"

    def write(self, value: str) -> str:
        text = "".join("_" if char in self.forbidden else char for char in value)
        if not self.width:
            return text
        return (text.rjust if self.to_the_right else text.ljust)(self.width)[: self.width]

    def read(self, text: str) -> str:
        return text.strip(" ")


def make_field(name: str, kind: Kind, spec: str, forbidden: frozenset[str]) -> Field:
    """The field that `{name:spec}` stands for. Raises ValueError that says what may stand there."""
    if isinstance(kind, Number):
        return _number(name, spec)
    if isinstance(kind, Choice):
        return _words(name, kind, spec)
    assert isinstance(kind, Text)
    match = _TEXT_SPEC.fullmatch(spec)
    if match is None or int(match[2] or 0) > MAX_WIDTH:
        raise ValueError(f"{{{name}:{spec}}}: write a width up to {MAX_WIDTH}, such as {{{name}:12}} or {{{name}:>12}}")
    return TextField(int(match[2] or 0), match[1] == ">", forbidden)


def _number(name: str, spec: str) -> NumberField:
    match = _NUMBER_SPEC.fullmatch(spec)
    if match is None or int(match[2] or 0) > MAX_WIDTH:
        raise ValueError(f"{{{name}:{spec}}}: write a width up to {MAX_WIDTH}, such as {{{name}:06d}} or {{{name}:6d}}")
    return NumberField(int(match[2] or 0), match[1] or " ")


def _words(name: str, kind: Choice, spec: str) -> WordField:
    values = [value for value, _ in kind.letters]
    words = spec.split("/") if spec else [letter for _, letter in kind.letters]
    meant = "/".join(getattr(value, "value", "yes" if value else "no") for value in values)
    if len(words) != len(values) or not all(map(_WORD.fullmatch, words)):
        raise ValueError(f"{{{name}:{spec}}}: write {len(values)} words of up to 16 characters, for {meant}")
    if words[0] in words[1:]:
        raise ValueError(f"{{{name}:{spec}}}: {meant.split('/')[0]} needs a word of its own")
    return WordField(dict(zip(values, words, strict=True)))
