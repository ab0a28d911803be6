"""Edges from another process for the recording lines: what a machine, or its simulation, does to the inputs.

One datagram over a UNIX socket is a JSON list of edges `[input, at_ns, active, lost]`, oldest first, or
`{"lose_ms": N}`: the chip is gone for that long.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.errors import SignalError
from edge_runtime.interfaces import Input

MAX_DATAGRAM_BYTES = 64 * 1024
EDGES_PER_DATAGRAM = 500
DATAGRAMS_AT_A_TIME = 16


@dataclass(frozen=True)
class FedEdge:
    """An input became active or inactive at `at_ns` (monotonic); `lost`: it happened, but its edge is never told."""

    name: Input
    at_ns: int
    active: bool = True
    lost: bool = False


@dataclass(frozen=True)
class ChipLoss:
    """The lines are gone for `for_ms`, as if the chip had been unplugged."""

    for_ms: float


class EdgeFeed:
    """The receiving end, held by one process at a time, as the kernel gives a line to one. One thread owns it.

    Binds a socket at `path` at each `open`; a `.lock` file beside it says who holds it. Raises SignalError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock_fd = -1
        self._socket: socket.socket | None = None

    def open(self) -> None:
        self.close()
        try:
            self._lock_fd = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._path.unlink(missing_ok=True)
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            with _short_name(self._path) as name:
                self._socket.bind(name)
        except OSError as exc:
            self.close()
            busy = exc.errno in (errno.EAGAIN, errno.EACCES)
            advice = "another process holds the lines" if busy else "name a file in a folder this user may write"
            raise SignalError(f"edge feed {self._path}: {exc}; {advice}") from exc

    def fileno(self) -> int:
        if self._socket is None:
            raise SignalError(f"edge feed {self._path} is not open")
        return self._socket.fileno()

    def receive(self) -> list[FedEdge | ChipLoss]:
        """Some of what waits, oldest first; `fileno` stays readable while there is more."""
        self.fileno()
        assert self._socket is not None
        events: list[FedEdge | ChipLoss] = []
        for _ in range(DATAGRAMS_AT_A_TIME):
            try:
                events += _parse(self._socket.recv(MAX_DATAGRAM_BYTES))
            except BlockingIOError:
                break
        return events

    def close(self) -> None:
        opened, self._socket = self._socket, None
        if opened is not None:
            opened.close()
        lock_fd, self._lock_fd = self._lock_fd, -1
        if lock_fd >= 0:
            os.close(lock_fd)


class EdgeSender:
    """The machine's end: edges go to whoever holds the feed, in order; nobody there means that nobody sees them.

    Nothing blocks: what the holder has no room for waits in `pending` until the next call. One thread owns it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._waiting: deque[bytes] = deque()

    @property
    def pending(self) -> int:
        """Datagrams not yet taken."""
        return len(self._waiting)

    def send(self, edges: Sequence[FedEdge] = ()) -> None:
        """Send these after what still waits."""
        for start in range(0, len(edges), EDGES_PER_DATAGRAM):
            batch = [[e.name.value, e.at_ns, e.active, e.lost] for e in edges[start : start + EDGES_PER_DATAGRAM]]
            self._waiting.append(json.dumps(batch).encode("ascii"))
        self._flush()

    def lose_chip(self, for_ms: float) -> None:
        self._waiting.append(json.dumps({"lose_ms": for_ms}).encode("ascii"))
        self._flush()

    def close(self) -> None:
        self._socket.close()

    def _flush(self) -> None:
        if not self._waiting:
            return
        try:
            with _short_name(self._path) as name:
                while self._waiting:
                    self._socket.sendto(self._waiting[0], name)
                    self._waiting.popleft()
        except BlockingIOError:
            return
        except (FileNotFoundError, ConnectionRefusedError):
            self._waiting.clear()


@contextlib.contextmanager
def _short_name(path: Path) -> Iterator[str]:
    """A name for `path` within the 107 bytes that a socket's address may have."""
    folder_fd = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder_fd}/{path.name}"
    finally:
        os.close(folder_fd)


def _parse(datagram: bytes) -> list[FedEdge | ChipLoss]:
    try:
        told = json.loads(datagram)
        if isinstance(told, dict):
            return [ChipLoss(float(told["lose_ms"]))]
        return [FedEdge(Input(name), int(at_ns), active is True, lost is True) for name, at_ns, active, lost in told]
    except (ValueError, TypeError, KeyError) as exc:
        raise SignalError(f"edge feed: not a list of edges: {datagram[:80]!r}: {exc}") from exc
