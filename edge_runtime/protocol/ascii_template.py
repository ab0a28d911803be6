"""Messages in a controller's own words: a closed language of literal text, named fields and checksums.

`{name}`, `{name:06d}`, `{outcome:P/R/N}`, `{xor}` with `{from}` and `{to}` around what it covers, `{{`, `}}`, and the
escapes `\\r \\n \\t \\\\ \\xHH`. No expression, attribute or index.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_runtime.protocol.ascii_fields import Field, make_field
from edge_runtime.protocol.checksums import CHECKSUMS, Checksum
from edge_runtime.protocol.field_kinds import Kind

MAX_TEMPLATE_CHARS = 200
_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|\\x([0-9A-Fa-f]{2})|\\(.)|([^{}\\])|(.)", re.DOTALL)
_ESCAPES = {"r": "\r", "n": "\n", "t": "\t", "\\": "\\"}
FROM, TO = "from", "to"


class WrongChecksum(ValueError):
    """The message has its shape, but not the checksum of what is in it."""


@dataclass(frozen=True)
class Mark:
    """Where a checksum begins or ends."""

    name: str


@dataclass(frozen=True)
class NamedField:
    name: str
    field: Field


@dataclass(frozen=True)
class ChecksumField:
    """`form`: `X` capital hex digits, `x` small ones, `b` the bytes themselves."""

    checksum: Checksum
    form: str

    @property
    def max_bytes(self) -> int:
        return self.checksum.size_bytes * (1 if self.form == "b" else 2)

    @property
    def pattern(self) -> bytes:
        return (rb"[\x00-\xff]{%d}" if self.form == "b" else b"[0-9A-Fa-f]{%d}") % self.max_bytes

    def write(self, covered: bytes) -> bytes:
        if self.form == "b":
            return self.checksum.raw(covered)
        digits = self.checksum.digits(covered)
        return digits.lower() if self.form == "x" else digits

    def is_of(self, told: bytes, covered: bytes) -> bool:
        """Whether this is the checksum of that; of digits both cases are accepted."""
        return self.write(covered) == told if self.form == "b" else self.checksum.digits(covered) == told.upper()


Part = bytes | Mark | NamedField | ChecksumField


class Template:
    """One message's form. `render` writes it, `read` takes it apart; both know its checksum."""

    def __init__(self, text: str, kinds: Mapping[str, Kind]) -> None:
        """`kinds`: the fields it may name. Raises ValueError that names what is wrong and what is allowed."""
        self.parts = parse(text, kinds)
        self.fields = tuple(part.name for part in self.parts if isinstance(part, NamedField))
        self.has_checksum = any(isinstance(part, ChecksumField) for part in self.parts)
        self.max_bytes = sum(len(part) if isinstance(part, bytes) else _max_bytes(part) for part in self.parts)
        self._pattern = re.compile(b"".join(_pattern(part) for part in self.parts), re.DOTALL)

    @property
    def literal(self) -> bytes:
        return b"".join(part for part in self.parts if isinstance(part, bytes))

    def render(self, values: Mapping[str, Any]) -> bytes:
        """The message with these values."""
        written = bytearray()
        begin, end = 0, None
        for part in self.parts:
            if isinstance(part, bytes):
                written += part
            elif isinstance(part, NamedField):
                written += part.field.write(values[part.name]).encode("ascii")
            elif isinstance(part, ChecksumField):
                written += part.write(bytes(written[begin : len(written) if end is None else end]))
            elif part.name == FROM:
                begin = len(written)
            else:
                end = len(written)
        return bytes(written)

    def read(self, data: bytes) -> dict[str, Any] | None:
        """The values in a whole message, None for another one. Raises WrongChecksum, ValueError for a bad number."""
        match = self._pattern.fullmatch(data)
        if match is None:
            return None
        for part in self.parts:
            if isinstance(part, ChecksumField) and not part.is_of(match["sum"], _covered(match)):
                raise WrongChecksum(f"{data!r} has another checksum")
        named = [part for part in self.parts if isinstance(part, NamedField)]
        return {part.name: part.field.read(match[part.name].decode("ascii")) for part in named}


def _covered(match: re.Match[bytes]) -> bytes:
    groups = match.groupdict()
    begin = match.start(FROM) if FROM in groups else 0
    end = match.start(TO) if TO in groups else match.start("sum")
    return match.string[begin:end]


def _max_bytes(part: Mark | NamedField | ChecksumField) -> int:
    if isinstance(part, Mark):
        return 0
    return part.max_bytes if isinstance(part, ChecksumField) else part.field.max_bytes


def _pattern(part: Part) -> bytes:
    if isinstance(part, bytes):
        return re.escape(part)
    if isinstance(part, Mark):
        return b"(?P<%b>)" % part.name.encode("ascii")
    if isinstance(part, ChecksumField):
        return b"(?P<sum>%b)" % part.pattern
    return f"(?P<{part.name}>{part.field.pattern})".encode("ascii")


# -- the language -----------------------------------------------------------------------------------------------


def parse(text: str, kinds: Mapping[str, Kind]) -> tuple[Part, ...]:
    """A template's parts in order, neighbouring literals as one. Raises ValueError."""
    if not 1 <= len(text) <= MAX_TEMPLATE_CHARS:
        raise ValueError(f"a template has 1 to {MAX_TEMPLATE_CHARS} characters, not {len(text)}")
    tokens = list(_TOKEN.finditer(text))
    literals = {match[0] for match in tokens if match[4]}
    forbidden = frozenset(char for char in literals if not char.isalnum() and char not in " _")
    parts: list[Part] = []
    for match in tokens:
        part = _part(match, kinds, forbidden)
        if isinstance(part, bytes) and parts and isinstance(parts[-1], bytes):
            parts[-1] += part
        else:
            parts.append(part)
    _check_once(parts)
    return tuple(parts)


def _part(match: re.Match[str], kinds: Mapping[str, Kind], forbidden: frozenset[str]) -> Part:
    field, code, escape, char, stray = match.groups()
    if field is not None:
        return _field(field, kinds, forbidden)
    if match[0] in ("{{", "}}"):
        return match[0][:1].encode("ascii")
    if code is not None:
        return bytes([int(code, 16)])
    if escape is not None and escape not in _ESCAPES:
        raise ValueError(f"\\{escape} is no escape; allowed: \\r \\n \\t \\\\ \\xHH")
    if stray is not None:
        raise ValueError(f"a single {stray!r} stands for nothing; write {stray * 2!r} for the character itself")
    literal = _ESCAPES[escape] if escape is not None else char
    if not literal.isascii():
        raise ValueError(f"{literal!r} is not ASCII; write a byte as \\xHH")
    return literal.encode("ascii")


def _field(inside: str, kinds: Mapping[str, Kind], forbidden: frozenset[str]) -> Part:
    name, _, spec = inside.partition(":")
    if name in (FROM, TO) and not spec:
        return Mark(name)
    if name in CHECKSUMS:
        if spec not in ("", "X", "x", "b"):
            raise ValueError(f"{{{inside}}}: write {{{name}}}, {{{name}:x}} for small digits or {{{name}:b}} for bytes")
        return ChecksumField(CHECKSUMS[name], spec or "X")
    if name not in kinds:
        allowed = ", ".join([*kinds, *CHECKSUMS, FROM, TO])
        raise ValueError(f"{{{inside}}} is no field of this template; allowed: {allowed}")
    return NamedField(name, make_field(name, kinds[name], spec, forbidden))


def _check_once(parts: list[Part]) -> None:
    """Each field once; one checksum at most, after its marks."""
    names = [part.name for part in parts if isinstance(part, (NamedField, Mark))]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{{{twice[0]}}} stands there twice")
    sums = [at for at, part in enumerate(parts) if isinstance(part, ChecksumField)]
    marks = {part.name: at for at, part in enumerate(parts) if isinstance(part, Mark)}
    if len(sums) > 1:
        raise ValueError("one checksum is enough")
    if marks and (not sums or max(marks.values()) > sums[0] or marks.get(FROM, -1) > marks.get(TO, len(parts))):
        raise ValueError("{from} and {to} stand in this order before a checksum")
