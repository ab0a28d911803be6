"""Ports without hardware that write down what they are told: for tests, replays and the demo.

A journal is a file of JSON lines, each written at once, so it outlives a killed process; the byte port and the
lines may share one, and a second process may append to it.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime.clock import Clock, SystemClock
from edge_runtime.errors import SignalError
from edge_runtime.interfaces import Edge, Input, Output
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


def sent(journal: Path) -> bytes:
    """All bytes written, in order."""
    return b"".join(entry["data"].encode("latin-1") for entry in _entries(journal) if "data" in entry)


def _entries(journal: Path) -> Iterator[dict[str, Any]]:
    for line in journal.read_text("ascii").splitlines(keepends=True):
        if line.endswith("\n"):
            yield json.loads(line)


class _Journal:
    """Appends entries to a file, each in one write; None keeps no file."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._fd: int | None = None

    def open(self) -> None:
        if self._path is None or self._fd is not None:
            return
        try:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as exc:
            raise SignalError(f"journal {self._path}: {exc}; name a file this user may write") from exc

    def append(self, entry: dict[str, Any]) -> None:
        if self._fd is None:
            return
        try:
            os.write(self._fd, json.dumps(entry).encode("ascii") + b"\n")
        except OSError as exc:
            raise SignalError(f"journal {self._path}: {exc}; make room on its disk") from exc

    def close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


class _Wire:
    """What both fakes share: open or not, lost or not, and a descriptor that is readable when something waits."""

    def __init__(self, name: str, journal: Path | None) -> None:
        self.journal = _Journal(journal)
        self._name = name
        self._fd: int | None = None
        self._is_absent = False
        self._is_lost = False

    @property
    def is_open(self) -> bool:
        return self._fd is not None and not self._is_lost

    def open(self) -> None:
        self.close()
        if self._is_absent:
            raise SignalError(f"{self._name}: absent, as told by fail(); restore() brings it back")
        self.journal.open()
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._is_lost = False

    def close(self) -> None:
        self.journal.close()
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def fileno(self) -> int:
        if self._fd is None:
            raise SignalError(f"{self._name} is not open")
        return self._fd

    def check(self) -> None:
        """SignalError when closed or lost."""
        self.fileno()
        if self._is_lost:
            raise SignalError(f"{self._name}: lost, as told by fail(); close it and open it anew")

    def wake(self) -> None:
        if self._fd is not None:
            os.eventfd_write(self._fd, 1)

    def settle(self) -> None:
        """Make the descriptor unreadable again; call it before taking what waits, so that nothing is overslept."""
        try:
            os.eventfd_read(self.fileno())
        except BlockingIOError:
            return

    def lose(self) -> None:
        self._is_absent = self._is_lost = True
        self.wake()

    def restore(self) -> None:
        self._is_absent = False


class RecordingBytePort:
    """A BytePort that remembers each write in `written` and reads what was injected.

    `incoming` is there to be read after the first `open`. `room_bytes` is how much the far end still takes, None
    for any amount. `inject`, `fail` and `restore` may be called from any thread, the rest by its one owner.
    """

    def __init__(self, journal: Path | None = None, incoming: bytes = b"", clock: Clock | None = None) -> None:
        self.written: list[Written] = []
        self.room_bytes: int | None = None
        self._clock = clock or SystemClock()
        self._wire = _Wire("recording byte port", journal)
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

    Every wired output is driven to its safe level at `open` and at `close`. `inject_edge`, `fail` and `restore`
    may be called from any thread, the rest by its one owner.
    """

    def __init__(
        self,
        journal: Path | None = None,
        inputs: Collection[Input] = (Input.TRIGGER,),
        safe_active: Mapping[Output, bool] = SAFE_ACTIVE,
        clock: Clock | None = None,
    ) -> None:
        self.driven: list[Driven] = []
        self._safe_active = dict(safe_active)
        self._clock = clock or SystemClock()
        self._wire = _Wire("recording lines", journal)
        self._edges: deque[Edge] = deque()
        self._seqnos = dict.fromkeys(inputs, 0)
        self._active_inputs: set[Input] = set()

    @property
    def levels(self) -> dict[Output, bool]:
        """The last level of each output that was driven."""
        return {driven.output: driven.active for driven in self.driven}

    def open(self) -> None:
        self._wire.open()
        self._edges.clear()
        self._seqnos = dict.fromkeys(self._seqnos, 0)
        self._drive_safe()

    def fileno(self) -> int | None:
        fd = self._wire.fileno()
        return fd if self._seqnos else None

    def edges(self) -> list[Edge]:
        self._wire.check()
        self._wire.settle()
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
        self._wire.close()

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
