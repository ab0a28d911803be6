"""The gate's latch, in shared memory: closed by whoever sees the gate miss a defect, for all workers at once."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager

_MODEL_ID = struct.Struct("128p")  # the longest that a manifest can make has 106 characters
_OPEN, _BY_ONE, _BY_SEVERAL = 0, 1, 2
SEVERAL_MODELS = "*"  # no manifest can make this id


class GateLatch:
    """One byte, and the model whose gate it was. It says closed only when the model is written.

    Synchronization: workers close it under a lock, so that no model is forgotten; reading takes none. `restore` and
    `open` are for the line, which never waits for a lock.
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
        """The id of the model whose gate has missed a defect, or `SEVERAL_MODELS`; "" while it is open."""
        if self._memory[self._at] != _BY_ONE:
            return SEVERAL_MODELS if self.is_closed else ""
        return str(_MODEL_ID.unpack_from(self._memory, self._at + 1)[0].decode(errors="replace"))

    def close(self, model_id: str) -> None:
        with self._locked():
            if not self.is_closed:
                self.restore(model_id)
            elif self.closed_by != model_id:  # one byte: whoever reads meanwhile sees the first model or this
                self._memory[self._at] = _BY_SEVERAL

    def restore(self, model_id: str) -> None:
        """As it was in the last run, before the first frame."""
        _MODEL_ID.pack_into(self._memory, self._at + 1, model_id.encode())
        self._memory[self._at] = _BY_SEVERAL if model_id == SEVERAL_MODELS else _BY_ONE

    def open(self) -> None:
        self._memory[self._at] = _OPEN
