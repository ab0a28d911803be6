"""A controller's own serial protocol, described by templates: a `Codec` that needs no code of its own.

Each message from the controller ends with a byte that stands nowhere else in it, so messages are cut from the stream
by their ends; one that begins with a byte of its own is also found behind noise. Grammar: docs/serial_ascii.md.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TypeVar

from edge_runtime.protocol.ascii_fields import NumberField
from edge_runtime.protocol.ascii_template import ChecksumField, NamedField, Template, WrongChecksum
from edge_runtime.protocol.field_kinds import kinds_of
from edge_runtime.protocol.messages import (
    Acknowledge,
    AcknowledgePart,
    Down,
    FaultChanged,
    Heartbeat,
    Message,
    RecipeActive,
    RecipeQuery,
    RecipeRequest,
    Refused,
    ResetRequest,
    Result,
    SignalsChanged,
    Status,
    StatusQuery,
    TriggerAccepted,
    TriggerRequest,
    UnnumberedTrigger,
)

OUTGOING: Mapping[str, type[Message]] = {
    "result": Result,
    "heartbeat": Heartbeat,
    "fault": FaultChanged,
    "down": Down,
    "accepted": TriggerAccepted,
    "refused": Refused,
    "signals": SignalsChanged,
    "status": Status,
    "recipe_active": RecipeActive,
}
# By template, then by the fields it names: which message it is.
INCOMING: Mapping[str, Mapping[tuple[str, ...], type[Message]]] = {
    "trigger": {(): UnnumberedTrigger, ("line_seqno",): TriggerRequest},
    "ack": {("seq",): Acknowledge, ("part_id",): AcknowledgePart},
    "reset": {(): ResetRequest},
    "query": {(): StatusQuery},
    "recipe": {("number",): RecipeRequest},
    "recipe_query": {(): RecipeQuery},
}
_BETWEEN = b"\r\n\0"
T = TypeVar("T")
_SAMPLES = (0, 1, 7, 42, 4711, 65535)


class AsciiCodec:
    """Messages by templates, given by name. Bytes outside a message, and damaged ones, are dropped and counted."""

    def __init__(self, templates: Mapping[str, str]) -> None:
        """Raises ValueError that names the template and what is wrong with it."""
        self._out = {OUTGOING[name]: outgoing(name, text) for name, text in templates.items() if name in OUTGOING}
        self._in = [incoming(name, text) for name, text in templates.items() if name in INCOMING]
        if unknown := sorted(templates.keys() - OUTGOING.keys() - INCOMING.keys()):
            raise ValueError(f"no template {unknown[0]!r}; allowed: {', '.join([*OUTGOING, *INCOMING])}")
        _check_together(self._out.get(Result), [template for template, _ in self._in], self.acknowledged_by)
        self._ends = {template.parts[-1][-1] for template, _ in self._in}  # type: ignore[index]
        self._starts = _own_starts([template for template, _ in self._in])
        self._frame_max = max((template.max_bytes for template, _ in self._in), default=0)
        self.max_bytes = max([self._frame_max, *(template.max_bytes for template in self._out.values())])
        self._frame = bytearray()
        self._is_too_long = False
        self._rejected: Counter[str] = Counter(checksum=0, format=0, unknown=0)

    @property
    def rejected(self) -> Counter[str]:
        """By cause: "checksum", "format" (cut, over-long, a number out of range) and "unknown" (no template's form)."""
        return self._rejected

    @property
    def acknowledged_by(self) -> str:
        """The field by which results are acknowledged, "" when they are not."""
        return next((template.fields[0] for template, kind in self._in if kind in (Acknowledge, AcknowledgePart)), "")

    def encode(self, message: Message) -> bytes:
        template = self._out.get(type(message))
        if template is None:
            return b""
        return template.render({name: getattr(message, name) for name in template.fields})

    def feed(self, data: bytes) -> list[Message]:
        messages = [self._take(byte) for byte in data]
        return [message for message in messages if message is not None]

    def restart(self) -> None:
        self._frame.clear()
        self._is_too_long = False

    # -- inside -------------------------------------------------------------------------------------------------

    def _take(self, byte: int) -> Message | None:
        if byte in self._starts:
            self._begin(byte)
        elif byte in self._ends:
            self._frame.append(byte)
            return self._complete()
        elif len(self._frame) >= self._frame_max:
            self._is_too_long = True
        elif self._frame or byte not in _BETWEEN:
            self._frame.append(byte)
        return None

    def _begin(self, byte: int) -> None:
        if self._frame:
            self._rejected["format"] += 1
        self.restart()
        self._frame.append(byte)

    def _complete(self) -> Message | None:
        frame, is_too_long = bytes(self._frame), self._is_too_long
        self.restart()
        if len(frame) == 1 and frame in _BETWEEN:  # the second half of a CR LF
            return None
        if is_too_long:
            self._rejected["format"] += 1
            return None
        return self._parse(frame)

    def _parse(self, frame: bytes) -> Message | None:
        cause = "unknown"
        for template, message_type in self._in:
            try:
                values = template.read(frame)
                if values is not None:
                    return message_type(**values)
            except WrongChecksum:
                cause = "checksum"
            except ValueError:
                cause = "format"
        self._rejected[cause] += 1
        return None


def outgoing(name: str, text: str) -> Template:
    """The template of a message to the controller. Raises ValueError."""
    template = _named(name, lambda: Template(text, dict(kinds_of(OUTGOING[name]))))
    if name == "result" and "outcome" not in template.fields:
        raise ValueError("result: without {outcome} it says nothing")
    return template


def incoming(name: str, text: str) -> tuple[Template, type[Message]]:
    """The template of a message from the controller, and what it becomes. Raises ValueError."""
    kinds = {field: kind for each in INCOMING[name].values() for field, kind in kinds_of(each)}
    template = _named(name, lambda: Template(text, kinds))
    message_type = INCOMING[name].get(template.fields)
    if message_type is None:
        allowed = " or ".join(" and ".join(f"{{{each}}}" for each in fields) or "none" for fields in INCOMING[name])
        raise ValueError(f"{name}: takes as field {allowed}")
    _named(name, lambda: _check_can_be_cut(template))
    return template, message_type


def _named(name: str, make: Callable[[], T]) -> T:
    try:
        return make()
    except ValueError as exc:
        raise ValueError(f"{name}: {exc}") from exc


def _check_can_be_cut(template: Template) -> None:
    last = template.parts[-1]
    if not isinstance(last, bytes) or bytes(last[-1:]).isalnum() or last[-1:] == b" ":
        raise ValueError("it must end with a byte of its own that is no letter, digit or blank, such as \\r or \\x03")
    if any(isinstance(part, ChecksumField) and part.form == "b" for part in template.parts):
        raise ValueError("a checksum from the controller must be in hex digits: raw bytes may look like the end")
    if len(template.literal) < 2 and not template.fields:
        raise ValueError("one byte alone is too easily noise")


def _check_together(result: Template | None, templates: list[Template], acknowledged_by: str) -> None:
    ends = {template.literal[-1] for template in templates}
    for template in templates:
        if any(byte in ends for byte in template.literal[:-1]):
            raise ValueError(
                "a byte that ends one message from the controller stands within another; use one end for all"
            )
    for one, other in itertools.permutations(templates, 2):
        if any(_reads(other, sample) for sample in _samples(one)):
            raise ValueError("two messages from the controller look the same; let each begin with a letter of its own")
    if acknowledged_by and (result is None or acknowledged_by not in result.fields):
        raise ValueError(f"ack: by {{{acknowledged_by}}}, which the result does not tell; let it name that field")


def _reads(template: Template, sample: bytes) -> bool:
    try:
        return template.read(sample) is not None
    except ValueError:
        return False


def _samples(template: Template) -> list[bytes]:
    fields = [part.field for part in template.parts if isinstance(part, NamedField)]
    widths = [field.width for field in fields if isinstance(field, NumberField) and field.width]
    numbers = [number for number in _SAMPLES if all(len(str(number)) <= width for width in widths)]
    return [template.render(dict.fromkeys(template.fields, number)) for number in numbers]


def _own_starts(templates: list[Template]) -> set[int]:
    """First bytes that stand nowhere else in any message, so that each of them begins one."""
    firsts = {template.parts[0][0] for template in templates if isinstance(template.parts[0], bytes)}
    elsewhere = Counter(byte for template in templates for byte in template.literal)
    at_start = Counter(template.literal[0] for template in templates if isinstance(template.parts[0], bytes))
    digits = set(b"0123456789 ABCDEFabcdef") if any(t.has_checksum for t in templates) else set(b"0123456789 ")
    return {byte for byte in firsts if elsewhere[byte] == at_start[byte] and byte not in digits}
