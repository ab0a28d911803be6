"""What a serial protocol is: bytes in, messages out, and back. `sentence` and `ascii_template` are two of them."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from edge_runtime.protocol.messages import Message


class Codec(Protocol):
    """One side of one wire. Bounded: it never keeps more than `max_bytes` of what has come."""

    max_bytes: int

    @property
    def rejected(self) -> Counter[str]:
        """What was dropped since the start, by cause."""
        ...

    def encode(self, message: Message) -> bytes:
        """How the wire says it, at most `max_bytes`; b"" when this protocol has no words for it."""
        ...

    def feed(self, data: bytes) -> list[Message]:
        """The messages completed by `data`, in order of arrival."""
        ...

    def restart(self) -> None:
        """The line was opened anew: forget the beginning of a message."""
        ...
