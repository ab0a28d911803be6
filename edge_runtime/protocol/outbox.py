"""Results that wait for the controller's acknowledgement: repeated until it comes, never dropped in silence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edge_runtime.clock import NS_PER_S
from edge_runtime.errors import SignalError
from edge_runtime.protocol.messages import MAX_SEQ, PartResult, Result
from edge_runtime.protocol.sentence import encode

MAX_REPEAT_INTERVAL_NS = NS_PER_S
REPEATS_AT_A_TIME = 8
_AT_ONCE_NS = 0
_ONCE_SENT_NS = 2**63 - 1


class OutboxFull(SignalError):
    """The controller no longer acknowledges; the result was not taken and the line must go to its fault state."""


@dataclass
class _Waiting:
    part_id: int
    sentence: bytes
    interval_ns: int
    due_ns: int = _AT_ONCE_NS


class Outbox:
    """Numbers results, says when each is to be sent, and forgets it when it is acknowledged.

    Repeats come after `ack_timeout_ns`, twice that, four times that, …, at most a second apart. At most the last
    `max_unacknowledged` numbers are in use, so a controller that remembers that many recognises every repeat.
    Without `acknowledge_required` each result is forgotten as soon as the port has taken it. One thread owns it.
    """

    def __init__(
        self,
        ack_timeout_ns: int,
        max_unacknowledged: int,
        acknowledge_required: bool = True,
        first_seq: int = 1,
        encode: Callable[[Result], bytes] = encode,
    ) -> None:
        if ack_timeout_ns < 1 or not 1 <= max_unacknowledged <= MAX_SEQ // 2 or not 1 <= first_seq <= MAX_SEQ:
            raise ValueError(f"outbox out of range: {ack_timeout_ns} ns, {max_unacknowledged} results, seq {first_seq}")
        self._ack_timeout_ns = ack_timeout_ns
        self._max_unacknowledged = max_unacknowledged
        self._acknowledge_required = acknowledge_required
        self._next_seq = first_seq
        self._encode = encode
        self._waiting: dict[int, _Waiting] = {}

    @property
    def unacknowledged(self) -> int:
        """Results put and neither acknowledged nor, without `acknowledge_required`, written."""
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether the oldest unacknowledged result lies `max_unacknowledged` numbers back."""
        if not self._waiting:
            return False
        return (self._next_seq - next(iter(self._waiting))) % MAX_SEQ >= self._max_unacknowledged

    def put_or_fault(self, part: PartResult) -> int:
        """Take a result, due at once, and return its number; raise OutboxFull when there is no room."""
        if self.is_full:
            raise OutboxFull(
                f"part {part.part_id}: {self.unacknowledged} results wait for the controller's acknowledgement, "
                f"all {self._max_unacknowledged} numbers are in use; check the cable and that the controller sends ACK"
            )
        seq = self._next_seq
        self._next_seq = seq % MAX_SEQ + 1
        self._waiting[seq] = _Waiting(part.part_id, self._encode(Result.numbered(seq, part)), self._ack_timeout_ns)
        return seq

    def acknowledge(self, seq: int) -> bool:
        """Forget a result; False when none with this number waits that was ever sent: nobody can have read it."""
        waiting = self._waiting.get(seq)
        if waiting is None or waiting.due_ns == _AT_ONCE_NS:
            return False
        del self._waiting[seq]
        return True

    def acknowledge_part(self, part_id: int) -> bool:
        """As `acknowledge`, by the part's id."""
        seq = next((seq for seq, waiting in self._waiting.items() if waiting.part_id == part_id), None)
        return seq is not None and self.acknowledge(seq)

    def due(self, now_ns: int, repeats_max: int = REPEATS_AT_A_TIME) -> list[bytes]:
        """Sentences to send now; each counts as sent at `now_ns`, so ask only while the port is up.

        First the new ones, then at most `repeats_max` repeats, oldest first: a verdict that the line waits for must
        not stand behind thousands of old ones. What is left is due at once.
        """
        due = [(seq, waiting) for seq, waiting in self._waiting.items() if waiting.due_ns <= now_ns]
        new = [each for each in due if each[1].due_ns == _AT_ONCE_NS]
        repeats = [each for each in due if each[1].due_ns != _AT_ONCE_NS]
        due = new + sorted(repeats, key=lambda each: each[1].due_ns)[:repeats_max]
        for _, waiting in due:
            self._sent(waiting, now_ns)
        return [waiting.sentence for _, waiting in due]

    def _sent(self, waiting: _Waiting, now_ns: int) -> None:
        if not self._acknowledge_required:
            waiting.due_ns = _ONCE_SENT_NS
            return
        waiting.due_ns = now_ns + waiting.interval_ns
        waiting.interval_ns = max(self._ack_timeout_ns, min(2 * waiting.interval_ns, MAX_REPEAT_INTERVAL_NS))

    def next_due_ns(self, repeats_from_ns: int = _AT_ONCE_NS) -> int | None:
        """When `due` next has something; in the past for new results, None when nothing waits.

        Before `repeats_from_ns` no repeat is wanted.
        """
        first_ns = min((waiting.due_ns for waiting in self._waiting.values()), default=_ONCE_SENT_NS)
        if first_ns == _ONCE_SENT_NS:
            return None
        return first_ns if first_ns == _AT_ONCE_NS else max(first_ns, repeats_from_ns)

    def written(self) -> None:
        """The port has taken everything that was due: what needs no acknowledgement is forgotten."""
        if self._acknowledge_required:
            return
        for seq in [seq for seq, waiting in self._waiting.items() if waiting.due_ns == _ONCE_SENT_NS]:
            del self._waiting[seq]

    def reconnected(self, now_ns: int) -> None:
        """The port was opened anew: everything unacknowledged is due at `now_ns`."""
        for waiting in self._waiting.values():
            if waiting.due_ns != _AT_ONCE_NS:
                waiting.due_ns = now_ns
            waiting.interval_ns = self._ack_timeout_ns
