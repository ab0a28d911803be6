"""The serial link: a port that may lose its cable, a protocol, and the results that wait for their acknowledgement."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from edge_runtime.clock import NS_PER_MS, NS_PER_S
from edge_runtime.errors import SignalError
from edge_runtime.interfaces import BytePort
from edge_runtime.protocol.codec import Codec
from edge_runtime.protocol.messages import Message, PartResult
from edge_runtime.protocol.outbox import REPEATS_AT_A_TIME, Outbox
from edge_runtime.protocol.sentence import SentenceCodec

log = logging.getLogger(__name__)
REOPEN_FIRST_NS = 50 * NS_PER_MS
REOPEN_MAX_NS = 1000 * NS_PER_MS
MAX_UNSENT_BYTES = 16 * 1024
MAX_BEHIND_NS = 1000 * NS_PER_MS
LAST_WORD_MS = 150.0
REPEATS_TAKE_NS = 250 * NS_PER_MS
BITS_PER_BYTE = 10  # start, eight data, stop


@dataclass(frozen=True)
class WireSpeed:
    """How long bytes take on the wire; 0 for a wire without that."""

    ns_per_byte: int = 0

    @classmethod
    def of(cls, baud_rate: int) -> WireSpeed:
        return cls(BITS_PER_BYTE * NS_PER_S // baud_rate)

    def ns(self, count: int) -> int:
        return count * self.ns_per_byte

    def ack_timeout_ns(self, wanted_ns: int, longest_bytes: int) -> int:
        """At least the time for a longest message out, one ahead of it, and the same for the answer."""
        return max(wanted_ns, self.ns(2 * longest_bytes))

    def repeats_at_a_time(self, longest_bytes: int) -> int:
        """As many as let a new result wait a quarter of a second at most, but one."""
        longest_ns = self.ns(longest_bytes)
        return REPEATS_AT_A_TIME if longest_ns == 0 else max(1, min(REPEATS_AT_A_TIME, REPEATS_TAKE_NS // longest_ns))


class SerialLink:
    """Owns the serial port, its protocol and the outbox. Nothing blocks; a lost port is reopened with back-off.

    Repeats are sent only once the wire was free for as long as it was used, so that a controller on two wires gets a
    word in, and what nobody acknowledges is dropped while the wire is more than a second behind: the kernel would take
    minutes of them at 1200 baud.
    """

    def __init__(
        self, port: BytePort, outbox: Outbox, codec: Codec | None = None, speed: WireSpeed = WireSpeed()
    ) -> None:
        self._port = port
        self._outbox = outbox
        self._codec: Codec = codec if codec is not None else SentenceCodec()
        self._speed = speed
        self._repeats_max = speed.repeats_at_a_time(self._codec.max_bytes)
        self._unsent = b""
        self._free_at_ns = self._repeat_from_ns = 0
        self._is_behind = False
        self._stale_acks = 0
        self._reopen_at_ns = 0
        self._backoff_ns = REOPEN_FIRST_NS
        self._trouble = ""
        self.is_open = False

    @property
    def unacknowledged(self) -> int:
        return self._outbox.unacknowledged

    @property
    def outbox_full(self) -> bool:
        return self._outbox.is_full

    @property
    def rejected(self) -> dict[str, int]:
        """What came in and was dropped, by cause; "stale_ack": of a result that does not wait, as after a repeat."""
        return {**self._codec.rejected, "stale_ack": self._stale_acks}

    @property
    def wants_to_write(self) -> bool:
        return self.is_open and bool(self._unsent)

    def is_idle(self, now_ns: int) -> bool:
        """Whether everything written has left."""
        return self.is_open and not self._unsent and self._free_at_ns <= now_ns

    def fileno(self) -> int:
        return self._port.fileno()

    def next_wake_ns(self) -> int | None:
        """When `work` has something to do next, apart from input and a full kernel buffer."""
        if not self.is_open:
            return self._reopen_at_ns
        return None if self._unsent else self._outbox.next_due_ns(repeats_from_ns=self._repeat_from_ns)

    def next_idle_ns(self) -> int | None:
        """When the wire is free; None while it is closed or the kernel takes nothing."""
        return self._free_at_ns if self.is_open and not self._unsent else None

    def open_if_due(self, now_ns: int) -> bool:
        """Open a closed port when its back-off is over; True when it has just been opened."""
        if self.is_open or now_ns < self._reopen_at_ns:
            return False
        try:
            self._port.open()
        except SignalError as exc:
            self._lost(exc, now_ns)
            return False
        log.info("serial port is open")
        self.is_open, self._backoff_ns, self._unsent = True, REOPEN_FIRST_NS, b""
        self._free_at_ns, self._repeat_from_ns, self._is_behind, self._trouble = now_ns, now_ns, False, ""
        self._codec.restart()
        self._outbox.reconnected(now_ns)
        return True

    def receive(self, now_ns: int) -> list[Message]:
        try:
            return self._codec.feed(self._port.read())
        except SignalError as exc:
            self._lost(exc, now_ns)
            return []

    def put_or_fault(self, result: PartResult) -> int:
        """Queue a result until it is acknowledged. Raises OutboxFull."""
        return self._outbox.put_or_fault(result)

    def acknowledge(self, seq: int) -> None:
        self._stale_acks += not self._outbox.acknowledge(seq)

    def acknowledge_part(self, part_id: int) -> None:
        self._stale_acks += not self._outbox.acknowledge_part(part_id)

    def say_or_drop(self, message: Message) -> None:
        """Queue what nobody acknowledges; dropped while the port is closed, stuck or far behind."""
        if self.is_open and not self._is_behind and len(self._unsent) < MAX_UNSENT_BYTES:
            self._unsent += self._codec.encode(message)

    def work(self, now_ns: int) -> None:
        """Write what is due, as far as the kernel takes it; while it takes nothing, no repeats pile up."""
        repeats_max = self._repeats_max if self._repeat_from_ns <= now_ns else 0
        if self.wants_to_write:
            self._write(now_ns)
        if self.is_open and not self._unsent:
            self._unsent = b"".join(self._outbox.due(now_ns, repeats_max))
        if self.wants_to_write:
            self._write(now_ns)
        self._is_behind = self._free_at_ns - now_ns > MAX_BEHIND_NS

    def close(self, last_word: Message | None = None, now_ns: int = 0) -> None:
        """Let go of the port; the last word is said even on a wire that is far behind, if the kernel takes it."""
        if last_word is not None and self.is_open:
            self._unsent += self._codec.encode(last_word)
            self._write(now_ns)
            self._port.drain(LAST_WORD_MS)
        self._port.close()
        self.is_open = False

    def _write(self, now_ns: int) -> None:
        try:
            taken = self._port.write(self._unsent)
        except SignalError as exc:
            self._lost(exc, now_ns)
            return
        self._unsent = self._unsent[taken:]
        self._free_at_ns = max(self._free_at_ns, now_ns) + self._speed.ns(taken)
        self._repeat_from_ns = self._free_at_ns + self._speed.ns(taken)
        if not self._unsent:
            self._outbox.written()

    def _lost(self, exc: SignalError, now_ns: int) -> None:
        if self.is_open or str(exc) != self._trouble:
            log.warning("serial port is lost, trying again until it is back: %s", exc)
        self._trouble = str(exc)
        self.close()
        self._reopen_at_ns = now_ns + self._backoff_ns
        self._backoff_ns = min(2 * self._backoff_ns, REOPEN_MAX_NS)
