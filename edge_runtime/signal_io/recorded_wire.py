"""What the recording ports share: a journal that outlives its process, and a wire that can be lost."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from edge_runtime.errors import SignalError


class Journal:
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


class RecordedWire:
    """What both fakes share: open or not, lost or not, and a descriptor that is readable when something waits."""

    def __init__(self, name: str, journal: Path | None) -> None:
        self.journal = Journal(journal)
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
