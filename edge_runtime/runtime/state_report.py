"""The office's snapshot.json as a message to a broker."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from edge_runtime.clock import NS_PER_S
from edge_runtime.protocol.reports import state_payload
from edge_runtime.store_interfaces import FeedPosition

log = logging.getLogger(__name__)
STATE_EVERY_NS = NS_PER_S


class StateReport:
    """Tells it when something in it has changed, at most once a second."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version = self._look()  # what lies there at start is of the last run
        self._snapshot: dict[str, Any] = {}
        self._told = b""
        self._at_ns = 0

    def forget(self) -> None:
        """A new connection: tell it again."""
        self._told, self._at_ns = b"", 0

    def due(self, reached: FeedPosition, deleted_unsent: int, now_ns: int) -> bytes | None:
        if now_ns < self._at_ns:
            return None
        self._at_ns = now_ns + STATE_EVERY_NS
        self._read()
        if not self._snapshot:
            return None
        timeless = {key: value for key, value in self._snapshot.items() if key != "at"}
        content = state_payload(timeless, reached, deleted_unsent)
        if content == self._told:
            return None
        self._told = content
        return state_payload(self._snapshot, reached, deleted_unsent)

    def _look(self) -> tuple[int, int]:
        try:
            found = os.stat(self._path)
            return found.st_ino, found.st_mtime_ns
        except OSError:
            return 0, 0

    def _read(self) -> None:
        version = self._look()
        if version == self._version:
            return
        try:
            self._snapshot = json.loads(self._path.read_bytes())
            self._version = version
        except (OSError, ValueError) as exc:
            log.debug("%s: %s", self._path, exc)  # the office says so where it cannot write
