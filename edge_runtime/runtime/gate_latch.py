"""The gate's latch, in shared memory: closed by whoever sees the gate miss a defect, for all workers at once."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager

_MODEL_ID = struct.Struct("128p")  # the longest that a manifest can make has 106 characters


class GateLatch:
    """One byte, and the model whose gate it was. It says closed only when the model is written.

    Synchronization: workers close it under a lock, so that the first one's model stays; reading takes none. `restore`
    and `open` are for the line, which never waits for a lock.
    """

    def __init__(self, memory: mmap.mmap, at: int, locked: Callable[[], AbstractContextManager[None]]) -> None:
        """`locked` excludes all other processes for as long as it is entered."""
        self._memory = memory
        self._at = at
        self._locked = locked

    @property
    def is_closed(self) -> bool:
        """Whether every tile is computed because the gate has missed a defect."""
        return bool(self._memory[self._at])

    @property
    def closed_by(self) -> str:
        """The id of the model whose gate has missed a defect; "" while it is open."""
        if not self.is_closed:
            return ""
        return str(_MODEL_ID.unpack_from(self._memory, self._at + 1)[0].decode(errors="replace"))

    def close(self, model_id: str) -> None:
        with self._locked():
            if not self.is_closed:
                self.restore(model_id)

    def restore(self, model_id: str) -> None:
        """As it was in the last run, before the first frame."""
        _MODEL_ID.pack_into(self._memory, self._at + 1, model_id.encode())
        self._memory[self._at] = 1

    def open(self) -> None:
        self._memory[self._at] = 0
