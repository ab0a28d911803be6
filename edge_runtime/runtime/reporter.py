"""Reporter child: tells a broker every committed record, in the order of the commits, and the box's state.

The database is the queue. Only what fits into a small window is in memory, and a cursor on disk says how far the broker
has acknowledged. Nothing here is needed by the line: this process may hang or die alone.
"""

from __future__ import annotations

import logging
import select
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.clock import NS_PER_MS, NS_PER_S, Clock
from edge_runtime.errors import SignalError, StorageError
from edge_runtime.interfaces import Acknowledged, Publisher, Received
from edge_runtime.protocol.mqtt_topics import Kind, TopicRules
from edge_runtime.protocol.reports import ONLINE, parse_replay
from edge_runtime.runtime.channel import Channel
from edge_runtime.runtime.messages import Message, Ping, Pong, Ready, ReporterTrouble, Stop
from edge_runtime.runtime.record_report import RecordReport
from edge_runtime.runtime.report_cursor import CursorFile, resume
from edge_runtime.runtime.state_report import StateReport
from edge_runtime.store_interfaces import FeedPosition, RecordFeed

log = logging.getLogger(__name__)
TURN_MS = 100
CURSOR_EVERY_NS = LOOK_AT_FILE_EVERY_NS = NS_PER_S
FIRST_BACKOFF_NS, MAX_BACKOFF_NS = NS_PER_S, 30 * NS_PER_S
WELL_AFTER_NS = 2 * NS_PER_S  # a broker that refuses messages has said so by then
ACKNOWLEDGE_WITHIN_NS = 30 * NS_PER_S
FEED_GRACE_NS = 10 * NS_PER_S
LAST_ACKNOWLEDGEMENTS_NS = 300 * NS_PER_MS

BROKER, RECORDS, CURSOR = "broker", "records", "cursor"


@dataclass(frozen=True)
class ReportPlan:
    """What is told and where: `class_names` by model (NAME/VERSION), `greetings` as (topic, payload), retained."""

    topics: TopicRules
    class_names: Mapping[str, Mapping[int, str]]
    greetings: Sequence[tuple[str, bytes]]
    snapshot_path: Path
    cursor_path: Path


def backoff_ns(failures: int) -> int:
    """How long to wait before trying again after `failures` ≥ 1 in a row."""
    return min(FIRST_BACKOFF_NS << min(failures - 1, 10), MAX_BACKOFF_NS)


class Reporter:
    """Owns the connection to the broker, a reading connection to the database, and the cursor. One thread."""

    def __init__(
        self, channel: Channel, feed: RecordFeed, publisher: Publisher, plan: ReportPlan, clock: Clock
    ) -> None:
        self._channel = channel
        self._feed = feed
        self._publisher = publisher
        self._plan = plan
        self._clock = clock
        self._records = RecordReport(feed, plan.topics.station, plan.class_names)
        self._state = StateReport(plan.snapshot_path)
        self._cursor = CursorFile(plan.cursor_path)
        self._greetings: deque[tuple[str, bytes]] = deque()
        self._others: set[int] = set()
        self._failures = 0
        self._nonsense_told = False
        self._connect_at_ns = self._open_at_ns = self._look_at_ns = self._keep_at_ns = self._well_at_ns = 0
        self._heard_ns = self._feed_well_ns = clock.monotonic_ns()
        self._kept: FeedPosition | None = None
        self._troubles: dict[str, str] = {}

    def serve(self) -> None:
        """Report until told to stop. The last will says the rest when this process dies."""
        self._channel.send_patiently(Ready())
        try:
            while not isinstance(message := self._wait(TURN_MS), Stop):
                if isinstance(message, Ping):
                    self._channel.send_patiently(Pong())
                self._turn(self._clock.monotonic_ns())
            self._finish()
        finally:
            self._publisher.close(goodbye=True)
            self._feed.close()

    def _wait(self, timeout_ms: float) -> Message | None:
        """Until a message, news from the broker, or the next look at the database."""
        readers, writers = [self._channel.fileno()], []
        if self._publisher.is_open:
            readers.append(self._publisher.fileno())
            writers += [self._publisher.fileno()] if self._publisher.wants_to_write else []
        select.select(readers, writers, [], timeout_ms / 1000)
        return self._channel.receive()

    def _turn(self, now_ns: int) -> None:
        try:
            self._open_feed_if_due(now_ns)
            self._connect_if_due(now_ns)
            if self._publisher.is_open:
                self._hear_broker(now_ns)
                self._tell_broker(now_ns)
        except SignalError as exc:
            self._broker_lost(str(exc))
        except StorageError as exc:
            self._feed_lost(str(exc), now_ns)
        self._keep_cursor_if_due(now_ns)

    def _finish(self) -> None:
        """Wait a moment for what is under way, so that little is told twice after the next start."""
        end_ns = self._clock.monotonic_ns() + LAST_ACKNOWLEDGEMENTS_NS
        try:
            while self._publisher.is_open and self._records.waiting and self._clock.monotonic_ns() < end_ns:
                select.select([self._publisher.fileno()], [], [], 0.05)
                self._hear_broker(self._clock.monotonic_ns())
        except SignalError as exc:
            log.info("not all that was told is acknowledged: %s", exc)
        self._keep_cursor_if_due(self._keep_at_ns)

    # -- the database -------------------------------------------------------------------------------------------

    def _open_feed_if_due(self, now_ns: int) -> None:
        """Open the database, and anew when another file lies in its place and the old one is told to its end."""
        if now_ns >= self._look_at_ns and self._records.following:
            self._look_at_ns = now_ns + LOOK_AT_FILE_EVERY_NS
            if self._feed.was_replaced() and self._records.told_all():
                self._feed_well_ns, self._records.following = now_ns, False
        if self._records.following or now_ns < self._open_at_ns:
            return
        self._open_at_ns = now_ns + NS_PER_S
        self._feed.open()
        kept = self._records.reached or self._cursor.read()
        self._records.follow(resume(kept, self._feed.end()))
        self._note(RECORDS, "")

    def _feed_lost(self, reason: str, now_ns: int) -> None:
        """At start the office may not have made the file yet: only what lasts is trouble."""
        if self._records.following:
            self._feed_well_ns = now_ns
        self._records.following = False
        if now_ns - self._feed_well_ns >= FEED_GRACE_NS:
            self._note(RECORDS, reason)

    def _keep_cursor_if_due(self, now_ns: int) -> None:
        reached = self._records.reached
        if reached is None or reached == self._kept or now_ns < self._keep_at_ns:
            return
        self._keep_at_ns = now_ns + CURSOR_EVERY_NS
        try:
            self._cursor.write(reached)
        except StorageError as exc:
            self._note(CURSOR, str(exc))
            return
        self._kept = reached
        self._note(CURSOR, "")

    # -- the broker ---------------------------------------------------------------------------------------------

    def _connect_if_due(self, now_ns: int) -> None:
        if self._publisher.is_open or now_ns < self._connect_at_ns:
            return
        self._publisher.open()
        self._heard_ns = self._clock.monotonic_ns()
        self._well_at_ns = self._heard_ns + WELL_AFTER_NS
        self._others.clear()
        self._greetings = deque([(self._plan.topics.topic(Kind.STATUS), ONLINE), *self._plan.greetings])
        self._state.forget()
        self._records.start_over()

    def _broker_lost(self, reason: str) -> None:
        """Everything that waits for its acknowledgement is told anew on the next connection."""
        self._publisher.close()
        self._records.start_over()
        self._failures += 1
        self._connect_at_ns = self._clock.monotonic_ns() + backoff_ns(self._failures)
        self._note(BROKER, reason)

    def _hear_broker(self, now_ns: int) -> None:
        for event in self._publisher.work():
            if isinstance(event, Acknowledged):
                self._acknowledged(event.message_no, now_ns)
            else:
                self._asked(event)
        if self._room == self._publisher.window:
            self._heard_ns = now_ns
        elif now_ns - self._heard_ns > ACKNOWLEDGE_WITHIN_NS:
            raise SignalError(f"the broker acknowledges nothing for {ACKNOWLEDGE_WITHIN_NS / NS_PER_S:.0f} s")
        if now_ns >= self._well_at_ns:
            self._failures = 0
            self._note(BROKER, "")

    def _acknowledged(self, message_no: int, now_ns: int) -> None:
        self._others.discard(message_no)
        self._records.acknowledged(message_no)
        self._heard_ns = now_ns

    def _asked(self, event: Received) -> None:
        wish = parse_replay(event.payload)
        if wish is not None:
            self._records.go_back(wish)
        elif not self._nonsense_told:
            log.warning("a message of %d bytes on %s makes no sense", len(event.payload), event.topic)
            self._nonsense_told = True

    def _tell_broker(self, now_ns: int) -> None:
        while self._greetings and self._room:
            topic, payload = self._greetings.popleft()
            self._others.add(self._publisher.publish(topic, payload, retain=True))
        if not self._others and self._room and (state := self._due_state(now_ns)):
            topic = self._plan.topics.topic(Kind.STATE)
            self._others.add(self._publisher.publish(topic, state, retain=True))
        if self._records.following:
            self._records.replay_if_due(now_ns)
            while self._room and (told := self._records.next()):
                record_no, payload = told
                self._records.sent(self._publisher.publish(self._plan.topics.topic(Kind.RECORD), payload), record_no)

    def _due_state(self, now_ns: int) -> bytes | None:
        reached = self._records.reached
        return None if reached is None else self._state.due(reached, self._records.deleted_unsent, now_ns)

    @property
    def _room(self) -> int:
        return max(0, self._publisher.window - len(self._others) - self._records.waiting)

    def _note(self, what: str, reason: str) -> None:
        """Log edges, and tell the line, which shows it and does nothing else about it."""
        if reason == self._troubles.get(what, ""):
            return
        self._troubles[what] = reason
        log.log(logging.WARNING if reason else logging.INFO, "%s: %s", what, reason or "is well again")
        self._channel.send_patiently(ReporterTrouble("; ".join(filter(None, self._troubles.values()))[:500]))
