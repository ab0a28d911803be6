"""Records on their way to a broker: which one is next, and how far all of them were acknowledged."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from edge_runtime.clock import NS_PER_S
from edge_runtime.protocol.reports import record_payload
from edge_runtime.store_interfaces import FeedPosition, NumberedRecord, RecordFeed

log = logging.getLogger(__name__)
READ_AT_ONCE = 100
REPLAY_EVERY_NS = NS_PER_S


@dataclass
class _Sent:
    message_no: int
    record_no: int
    acknowledged: bool = False


class ReportWindow:
    """What was handed over on one connection, in that order, and not yet acknowledged without a gap.

    `reached` is the highest record number such that the broker has acknowledged everything handed over up to it. The
    records are handed over in rising order; going back and rising again is allowed.
    """

    def __init__(self, reached: int) -> None:
        self.reached = reached
        self._sent: deque[_Sent] = deque()

    def __len__(self) -> int:
        return len(self._sent)

    def sent(self, message_no: int, record_no: int) -> None:
        self._sent.append(_Sent(message_no, record_no))

    def acknowledged(self, message_no: int) -> bool:
        """Note it; False when no record waits under this number."""
        waiting = next((each for each in self._sent if each.message_no == message_no and not each.acknowledged), None)
        if waiting is None:
            return False
        waiting.acknowledged = True
        while self._sent and self._sent[0].acknowledged:
            self.reached = max(self.reached, self._sent.popleft().record_no)
        return True

    def forget(self) -> None:
        """The connection is gone: nothing that waits will be acknowledged."""
        self._sent.clear()


class RecordReport:
    """Which record is told next, and how far all were acknowledged. `following`: the feed is open and its end known.

    `class_names` by model, NAME/VERSION; those of a model that is no longer used are not known.
    """

    def __init__(self, feed: RecordFeed, station: str, class_names: Mapping[str, Mapping[int, str]]) -> None:
        self.following = False
        self.deleted_unsent = 0
        self._feed = feed
        self._station = station
        self._class_names = class_names
        self._window = ReportWindow(0)
        self._epoch = ""
        self._position = 0
        self._highest = 0
        self._read_ahead: deque[NumberedRecord] = deque()
        self._replay_after: int | None = None
        self._replay_at_ns = 0

    @property
    def reached(self) -> FeedPosition | None:
        """Everything up to here is acknowledged; None before the first file was opened."""
        return FeedPosition(self._epoch, self._window.reached) if self._epoch else None

    @property
    def waiting(self) -> int:
        return len(self._window)

    def told_all(self) -> bool:
        """Whether the broker has acknowledged every record of the open file."""
        return not self._window and not self._feed.after(self._window.reached, 1)

    def follow(self, position: FeedPosition) -> None:
        """Go on after `position`; the same file opened again changes nothing."""
        self.following = True
        if position.epoch == self._epoch:
            return
        self._epoch, self._position = position.epoch, position.record_no
        self._highest = position.record_no
        self._window = ReportWindow(position.record_no)
        self._read_ahead.clear()
        self._replay_after = None

    def start_over(self) -> None:
        """On a new connection: what was told and not acknowledged is told again."""
        self._window.forget()
        self._read_ahead.clear()
        self._position = self._window.reached

    def next(self) -> tuple[int, bytes] | None:
        """Number and payload of the next record, None when all are told."""
        if not self._read_ahead:
            self._read_ahead.extend(self._feed.after(self._position, READ_AT_ONCE))
        if not self._read_ahead:
            return None
        numbered = self._read_ahead.popleft()
        model, _, _digest = numbered.record.verdict.model_id.partition("@")
        names = self._class_names.get(model, {})
        payload = record_payload(self._station, self._epoch, self._position, numbered, names)
        return numbered.record_no, payload

    def sent(self, message_no: int, record_no: int) -> None:
        self._window.sent(message_no, record_no)
        if record_no > self._highest:
            self._count_deleted(record_no)
            self._highest = record_no
        self._position = record_no

    def _count_deleted(self, record_no: int) -> None:
        deleted = record_no - 1 - max(self._position, self._highest)
        if deleted > 0:
            log.warning("%d records before number %d were deleted before they could be told", deleted, record_no)
            self.deleted_unsent += deleted

    def acknowledged(self, message_no: int) -> None:
        self._window.acknowledged(message_no)

    def go_back(self, wish: FeedPosition) -> None:
        """A consumer misses what came after this number: tell it again, as soon as `replay_if_due` allows."""
        if wish.epoch == self._epoch and wish.record_no < self._position:
            earlier = self._position if self._replay_after is None else self._replay_after
            self._replay_after = min(wish.record_no, earlier)

    def replay_if_due(self, now_ns: int) -> None:
        """At most once a second, however many ask."""
        if self._replay_after is None or now_ns < self._replay_at_ns:
            return
        log.debug("a consumer asked for the records after number %d again", self._replay_after)
        self._replay_at_ns = now_ns + REPLAY_EVERY_NS
        self._position, self._replay_after = self._replay_after, None
        self._read_ahead.clear()
