"""Messages as checksummed ASCII sentences: `$WORD,field,field*hh` and a line end. Grammar: docs/serial_protocol.md."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from functools import reduce
from operator import xor

from edge_runtime.protocol.field_kinds import kinds_of
from edge_runtime.protocol.messages import FROM_CONTROLLER, FROM_DEVICE, Message

MAX_SENTENCE_BYTES = 120
_START = ord("$")
_LINE_ENDS = b"\r\n"
_LINE = re.compile(rb"([\x20-\x7e]+)\*([0-9A-Fa-f]{2})")


def checksum(body: bytes) -> int:
    """XOR of the bytes between `$` and `*`."""
    return reduce(xor, body, 0)


def encode(message: Message) -> bytes:
    """The one sentence that says `message`, line end included, at most MAX_SENTENCE_BYTES long."""
    values = [kind.to_wire(getattr(message, name)) for name, kind in kinds_of(type(message))]
    body = ",".join([message.WORD, *values]).encode("ascii")
    return b"$%b*%02X\r\n" % (body, checksum(body))


class Decoder:
    """Turns bytes, cut anywhere, into messages.

    A sentence runs from `$` to the first CR or LF. Bytes outside one are ignored; a `$` inside one starts anew.
    `rejected` counts what was dropped: "checksum", "format" (cut, over-long, a field out of range) and
    "unknown" (a word that is not `expected`). A device expects FROM_CONTROLLER, so its own echo counts as unknown.
    """

    def __init__(self, expected: Collection[type[Message]] = FROM_DEVICE | FROM_CONTROLLER) -> None:
        self._types = {message_type.WORD: message_type for message_type in expected}
        self._partial: bytearray | None = None
        self.rejected: Counter[str] = Counter(checksum=0, format=0, unknown=0)

    def restart(self) -> None:
        """The line was opened anew: what came before is over."""
        self._partial = None

    def feed(self, data: bytes) -> list[Message]:
        """The messages completed by `data`, in order of arrival."""
        messages = [self._take(byte) for byte in data]
        return [message for message in messages if message is not None]

    def _take(self, byte: int) -> Message | None:
        if byte == _START:
            self._begin()
        elif self._partial is None:
            pass
        elif byte in _LINE_ENDS:
            return self._complete()
        else:
            self._append(byte)
        return None

    def _begin(self) -> None:
        if self._partial is not None:
            self.rejected["format"] += 1
        self._partial = bytearray()

    def _append(self, byte: int) -> None:
        assert self._partial is not None
        self._partial.append(byte)
        if len(self._partial) > MAX_SENTENCE_BYTES - len("$\r\n"):
            self.rejected["format"] += 1
            self._partial = None

    def _complete(self) -> Message | None:
        assert self._partial is not None
        line, self._partial = bytes(self._partial), None
        try:
            return self._parse(line)
        except _RejectedError as exc:
            self.rejected[exc.cause] += 1
            return None

    def _parse(self, line: bytes) -> Message:
        match = _LINE.fullmatch(line)
        if match is None:
            raise _RejectedError("format")
        body, digits = match.groups()
        if checksum(body) != int(digits, 16):
            raise _RejectedError("checksum")
        word, *texts = body.decode("ascii").split(",")
        if word not in self._types:
            raise _RejectedError("unknown")
        return _build(self._types[word], texts)


class SentenceCodec:
    """The sentence protocol as a `Codec`, for the device's side of the wire."""

    max_bytes = MAX_SENTENCE_BYTES

    def __init__(self) -> None:
        self._decoder = Decoder(FROM_CONTROLLER)

    @property
    def rejected(self) -> Counter[str]:
        return self._decoder.rejected

    def encode(self, message: Message) -> bytes:
        return encode(message)

    def feed(self, data: bytes) -> list[Message]:
        return self._decoder.feed(data)

    def restart(self) -> None:
        self._decoder.restart()


class _RejectedError(Exception):
    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


def _build(message_type: type[Message], texts: list[str]) -> Message:
    kinds = kinds_of(message_type)
    if len(texts) != len(kinds):
        raise _RejectedError("format")
    try:
        return message_type(**{name: kind.from_wire(text) for (name, kind), text in zip(kinds, texts, strict=True)})
    except ValueError as exc:
        raise _RejectedError("format") from exc
