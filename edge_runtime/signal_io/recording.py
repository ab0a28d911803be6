"""Ports without hardware that write down what they are told: for tests, replays and the demo.

A journal is a file of JSON lines, each written at once, so it outlives a killed process; the byte port and the
lines may share one, and a second process may append to it.
"""

from __future__ import annotations

import json
import select
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime.clock import NS_PER_MS, Clock, SystemClock
from edge_runtime.errors import SignalError
from edge_runtime.interfaces import WATCHED_BOTH_WAYS, Edge, Input, Output
from edge_runtime.signal_io.edge_feed import ChipLoss, EdgeFeed, FedEdge
from edge_runtime.signal_io.recorded_wire import RecordedWire
from edge_runtime.signal_io.safe_levels import SAFE_ACTIVE


@dataclass(frozen=True)
class Written:
    """Bytes the port took at `at_ns` (monotonic)."""

    at_ns: int
    data: bytes


@dataclass(frozen=True)
class Driven:
    """An output driven at `at_ns` (monotonic)."""

    at_ns: int
    output: Output
    active: bool


def levels(journal: Path) -> dict[Output, bool]:
    """The last level of each output that was ever driven."""
    return {Output(entry["output"]): entry["active"] for entry in _entries(journal) if "output" in entry}


def driven(journal: Path) -> list[Driven]:
    """Every level driven, in order."""
    entries = (entry for entry in _entries(journal) if "output" in entry)
    return [Driven(entry["at_ns"], Output(entry["output"]), entry["active"]) for entry in entries]


def written(journal: Path) -> list[Written]:
    """Every write of the byte port, in order."""
    entries = (entry for entry in _entries(journal) if "data" in entry)
    return [Written(entry["at_ns"], entry["data"].encode("latin-1")) for entry in entries]


def sent(journal: Path) -> bytes:
    """All bytes written, in order."""
    return b"".join(each.data for each in written(journal))


def _entries(journal: Path) -> Iterator[dict[str, Any]]:
    for line in journal.read_text("ascii").splitlines(keepends=True):
        if line.endswith("\n"):
            yield json.loads(line)


class RecordingBytePort:
    """A BytePort that remembers each write in `written` and reads what was injected.

    `incoming` is there to be read after the first `open`. `room_bytes` is how much the far end still takes, None
    for any amount. `inject`, `fail` and `restore` may be called from any thread, the rest by its one owner.
    """

    def __init__(self, journal: Path | None = None, incoming: bytes = b"", clock: Clock | None = None) -> None:
        self.written: list[Written] = []
        self.room_bytes: int | None = None
        self._clock = clock or SystemClock()
        self._wire = RecordedWire("recording byte port", journal)
        self._first = incoming
        self._incoming: deque[bytes] = deque()

    def open(self) -> None:
        self._wire.open()
        self._incoming.clear()
        first, self._first = self._first, b""
        self.inject(first)

    def fileno(self) -> int:
        return self._wire.fileno()

    def read(self) -> bytes:
        self._wire.check()
        self._wire.settle()
        received = bytearray()
        while self._incoming:
            received += self._incoming.popleft()
        return bytes(received)

    def write(self, data: bytes) -> int:
        self._wire.check()
        taken = data if self.room_bytes is None else data[: self.room_bytes]
        if self.room_bytes is not None:
            self.room_bytes -= len(taken)
        if taken:
            self._record(Written(self._clock.monotonic_ns(), taken))
        return len(taken)

    def drain(self, at_most_ms: float) -> bool:
        return True

    def _record(self, written: Written) -> None:
        self.written.append(written)
        self._wire.journal.append({"at_ns": written.at_ns, "data": written.data.decode("latin-1")})

    def close(self) -> None:
        self._wire.close()

    def inject(self, data: bytes) -> None:
        """Let `data` arrive; lost when the port is not open."""
        if data and self._wire.is_open:
            self._incoming.append(data)
            self._wire.wake()

    def fail(self) -> None:
        """Pull the cable: open, read and write raise SignalError, the descriptor stays readable."""
        self._wire.lose()

    def restore(self) -> None:
        """Plug the cable in again; the owner has to open the port anew."""
        self._wire.restore()


class RecordingLines:
    """DigitalLines that remember each level in `driven` and see the edges that were injected.

    Every wired output is driven to its safe level at `open` and at `close`. With `feed`, a path, another process may
    make edges, too (`EdgeSender`), and the lines are held by one process at a time. A chip lost through the feed
    leaves all wires without power, which is their safe level. `inject_edge`, `fail` and `restore` may be called from
    any thread, the rest by its one owner.
    """

    def __init__(
        self,
        journal: Path | None = None,
        inputs: Collection[Input] = (Input.TRIGGER,),
        safe_active: Mapping[Output, bool] = SAFE_ACTIVE,
        clock: Clock | None = None,
        feed: Path | None = None,
    ) -> None:
        self.driven: list[Driven] = []
        self._safe_active = dict(safe_active)
        self._clock = clock or SystemClock()
        self._wire = RecordedWire("recording lines", journal)
        self._edges: deque[Edge] = deque()
        self._seqnos = dict.fromkeys(inputs, 0)
        self._active_inputs: set[Input] = set()
        self._feed = EdgeFeed(feed) if feed is not None else None
        self._either: select.epoll | None = None
        self._back_at_ns: int | None = None

    @property
    def levels(self) -> dict[Output, bool]:
        """The last level of each output that was driven."""
        return {driven.output: driven.active for driven in self.driven}

    def open(self) -> None:
        self._return_lost_chip()
        self._wire.open()
        self._edges.clear()
        self._seqnos = dict.fromkeys(self._seqnos, 0)
        if self._feed is not None:
            self._open_feed(self._feed)
        self._drive_safe()

    def _open_feed(self, feed: EdgeFeed) -> None:
        try:
            feed.open()
        except SignalError:
            self._wire.close()
            raise
        self._close_either()
        self._either = select.epoll()
        for fd in (feed.fileno(), self._wire.fileno()):
            self._either.register(fd, select.EPOLLIN)

    def fileno(self) -> int | None:
        fd = self._wire.fileno() if self._either is None else self._either.fileno()
        return fd if self._seqnos else None

    def edges(self) -> list[Edge]:
        self._wire.check()
        self._wire.settle()
        if self._feed is not None:
            for event in self._feed.receive():
                self._take(event)
        self._wire.check()
        return [self._edges.popleft() for _ in range(len(self._edges))]

    def is_active(self, name: Input) -> bool:
        self._wire.check()
        return name in self._active_inputs

    def write(self, output: Output, active: bool) -> None:
        self._wire.check()
        if output in self._safe_active:
            self._record(Driven(self._clock.monotonic_ns(), output, active))

    def close(self) -> None:
        if self._wire.is_open:
            self._drive_safe()
        self._close_either()
        if self._feed is not None:
            self._feed.close()
        self._wire.close()

    def _close_either(self) -> None:
        either, self._either = self._either, None
        if either is not None:
            either.close()

    def _take(self, event: FedEdge | ChipLoss) -> None:
        """What the feed brings: edges of inputs that are not wired, or that nobody watches, are level changes only."""
        if isinstance(event, ChipLoss):
            self._drive_safe()
            self._back_at_ns = self._clock.monotonic_ns() + round(event.for_ms * NS_PER_MS)
            self._wire.lose()
        elif event.name in self._seqnos and (event.active or event.name in WATCHED_BOTH_WAYS) and not event.lost:
            self.inject_edge(event.name, event.at_ns, active=event.active)
        elif event.name in self._seqnos:
            (self._active_inputs.add if event.active else self._active_inputs.discard)(event.name)
            self._seqnos[event.name] += event.lost

    def _return_lost_chip(self) -> None:
        if self._back_at_ns is not None and self._clock.monotonic_ns() >= self._back_at_ns:
            self._back_at_ns = None
            self._wire.restore()

    def inject_edge(self, name: Input, at_ns: int | None = None, lost: int = 0, active: bool = True) -> None:
        """Let an input become active, or inactive, after `lost` edges that nobody sees; in vain when not open."""
        if name not in self._seqnos:
            raise SignalError(f"no input {name!r}; inputs: {', '.join(self._seqnos) or 'none'}")
        (self._active_inputs.add if active else self._active_inputs.discard)(name)
        if self._wire.is_open:
            self._seqnos[name] += 1 + lost
            edge_ns = self._clock.monotonic_ns() if at_ns is None else at_ns
            self._edges.append(Edge(name, edge_ns, self._seqnos[name], active))
            self._wire.wake()

    def fail(self) -> None:
        """Take the lines away: open, edges and write raise SignalError, the descriptor stays readable."""
        self._wire.lose()

    def restore(self) -> None:
        """Give the lines back; the owner has to open them anew."""
        self._wire.restore()

    def _drive_safe(self) -> None:
        for output, active in self._safe_active.items():
            self._record(Driven(self._clock.monotonic_ns(), output, active))

    def _record(self, driven: Driven) -> None:
        self.driven.append(driven)
        self._wire.journal.append({"at_ns": driven.at_ns, "output": driven.output.value, "active": driven.active})
