"""Shared memory for frames and masks: an anonymous file that vanishes with the last process that holds it.

A slot's header has one entry for each of the last parts, so that a worker that still asks for an old part's tiles never
meets the counters of the new one.
Numpy is not imported here: the line process uses this module.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from functools import partial

from edge_runtime.runtime.gate_latch import GateLatch
from edge_runtime.runtime.ring_layout import PAGE_BYTES, RingLayout
from edge_runtime.values import Box

MAX_WORKERS = 128
PREPARE_POLL_S = 0.001
MADV_POPULATE_WRITE = 23  # Linux 5.14
_WORKING_ON = struct.Struct("<Q")
_PROGRESS = struct.Struct("<QII")  # part_id, tiles claimed, tiles finished
_CANCELLED_AT = _PROGRESS.size
_PREPARED_AT = _CANCELLED_AT + 1
_BEGUN, _DONE = 1, 2  # at _PREPARED_AT; 0: nobody has prepared the frame
_PLAN_AT = 20
_PLAN = struct.Struct("<I")
_BEGAN_AT = 24
_BEGAN = struct.Struct("<Q")
_SPOT_AT = 48
_SPOT = struct.Struct("<IIII")
_NO_SPOT = (2**32 - 1, 2**32 - 1, 0, 0)
_ENTRY_BYTES = 64
_ENTRIES = PAGE_BYTES // _ENTRY_BYTES
_GATE_AT = MAX_WORKERS * _WORKING_ON.size


class TileFate(IntEnum):
    """What became of a claimed tile. Audited: the gate called it clean, and it was; missed: it was not.

    Doubted: it was audited as well, and holds what its neighbours tell more of.
    """

    COMPUTED = 0
    SKIPPED = 1
    AUDITED = 2
    MISSED = 3
    DOUBTED = 4


class FrameRing:
    """Slots in shared memory, and the counters by which workers share a frame's tiles.

    Synchronization: `prepare`, `claim` and `finish` take a record lock that the kernel releases when its holder dies,
    so a killed worker never blocks another. `start` and `cancel` are for the line, which never waits for a lock. After
    `cancel`, or when all tiles are finished, a slot is free as soon as no worker's `working_on` is its part.
    `gate` is closed for all workers at once by whoever sees a miss, and only the line opens it.
    """

    def __init__(self, layout: RingLayout, fd: int) -> None:
        self.layout = layout
        self.fd = fd
        self.memory = mmap.mmap(fd, layout.total_bytes)
        self.gate = GateLatch(self.memory, _GATE_AT, partial(self._locked, _GATE_AT))
        self._started: dict[int, int] = {}

    @classmethod
    def create(cls, layout: RingLayout) -> FrameRing:
        fd = os.memfd_create("frame-ring")
        os.ftruncate(fd, layout.total_bytes)
        return cls(layout, fd)

    def close(self) -> None:
        os.close(self.fd)
        self.memory.close()

    def populate(self, with_template: bool) -> None:
        """Have the kernel give memory to all pictures now, and map it here, without changing what lies in it.

        The first picture in a slot otherwise takes ten times as long, and a machine without enough memory should show
        it at start. Raises OSError.
        """
        pixels = self.layout.max_pixels
        for slot in range(self.layout.slot_count):
            self._populate(self.layout.image_at(slot), 3 * pixels)
            if with_template:
                self._populate(self.layout.template_at(slot), pixels)

    def _populate(self, start: int, byte_count: int) -> None:
        try:
            self.memory.madvise(MADV_POPULATE_WRITE, start, byte_count)
        except OSError as exc:
            if exc.errno != errno.EINVAL:
                raise
            for page in range(start, start + byte_count, PAGE_BYTES):  # an older kernel: reading does it, page by page
                self.memory[page]

    def start(self, slot: int, part_id: int) -> None:
        """Give the slot to a part, in the place of the last one: no tile claimed, none finished, not cancelled.

        A part that is started once more stays prepared.
        """
        self.cancel(slot)
        entry = self._entry_at(slot, part_id)
        if _PROGRESS.unpack_from(self.memory, entry)[0] != part_id:
            self.memory[entry + _PREPARED_AT] = 0
        self.memory[entry + _CANCELLED_AT] = 0
        _PLAN.pack_into(self.memory, entry + _PLAN_AT, 0)
        _BEGAN.pack_into(self.memory, entry + _BEGAN_AT, 0)
        _SPOT.pack_into(self.memory, entry + _SPOT_AT, *_NO_SPOT)
        _PROGRESS.pack_into(self.memory, entry, part_id, 0, 0)
        self._started[slot] = part_id

    def cancel(self, slot: int) -> None:
        """Let the workers leave the part that was started last in this slot after the tile they are in."""
        if slot in self._started:
            self.memory[self._entry_at(slot, self._started[slot]) + _CANCELLED_AT] = 1

    def begin(self, slot: int, part_id: int, now_ns: int) -> None:
        """A worker turns to the frame; the first one's time is kept, for the record's durations alone."""
        entry = self._entry_at(slot, part_id)
        if self._open(entry, part_id) and not self.began_ns(slot, part_id):
            _BEGAN.pack_into(self.memory, entry + _BEGAN_AT, now_ns)

    def began_ns(self, slot: int, part_id: int) -> int:
        """When the first worker turned to the frame, 0 before."""
        return int(_BEGAN.unpack_from(self.memory, self._entry_at(slot, part_id) + _BEGAN_AT)[0])

    def agrees(self, slot: int, part_id: int, plan_digest: int) -> bool:
        """Before a worker's first claim: whether it computes the frame as the first one did, which says how here.

        `plan_digest`, 1..2^32 - 1, is the same for the same tiles by the same engine. Tiles of two plans would leave
        cells that nobody computes, and a record names one engine.
        """
        entry = self._entry_at(slot, part_id)
        with self._locked(entry):
            if not self._open(entry, part_id):
                return True
            known = int(_PLAN.unpack_from(self.memory, entry + _PLAN_AT)[0])
            if not known:
                _PLAN.pack_into(self.memory, entry + _PLAN_AT, plan_digest)
            return known in (0, plan_digest)

    def prepare(self, slot: int, part_id: int, worker: int, work: Callable[[], None]) -> None:
        """Before a worker's first claim: have `work` done once for the frame, by the first to come; the others wait.

        Nothing is done for a cancelled frame, which nobody waits for either, or where the slot has another part. If
        `work` raises, or its worker is killed, it may have left half of what it writes: the frame is cancelled.
        """
        entry = self._entry_at(slot, part_id)
        while not self._lock_at_once(entry + _PREPARED_AT):
            if self.memory[entry + _CANCELLED_AT]:
                return
            time.sleep(PREPARE_POLL_S)
        try:
            self._set_working_on(worker, part_id)  # before looking, as in `claim`
            if self._open(entry, part_id):
                self._prepare_once(entry, work)
            self.rest(worker)
        finally:
            self._unlock(entry + _PREPARED_AT)

    def _prepare_once(self, entry: int, work: Callable[[], None]) -> None:
        """Under the lock: who finds _BEGUN there follows a holder that did not end."""
        if self.memory[entry + _PREPARED_AT] == _BEGUN:
            self.memory[entry + _CANCELLED_AT] = 1
        elif self.memory[entry + _PREPARED_AT] != _DONE:
            self.memory[entry + _PREPARED_AT] = _BEGUN
            work()
            self.memory[entry + _PREPARED_AT] = _DONE

    def claim(self, slot: int, part_id: int, tile_count: int, worker: int) -> int | None:
        """The next unclaimed tile of the frame, or None: none left, cancelled, or the slot has another part."""
        entry = self._entry_at(slot, part_id)
        # Said before looking: whoever cancels and then sees nobody at work may give the slot away, and a worker
        # killed right here leaves no claimed tile that nobody works on.
        self._set_working_on(worker, part_id)
        with self._locked(entry):
            owner, claimed, finished = _PROGRESS.unpack_from(self.memory, entry)
            if claimed < tile_count and self._open(entry, part_id):
                _PROGRESS.pack_into(self.memory, entry, owner, claimed + 1, finished)
                return int(claimed)
        self.rest(worker)
        return None

    def finish(self, slot: int, part_id: int, tile_count: int, tile: int, fate: TileFate = TileFate.COMPUTED) -> bool:
        """Count a claimed tile as done; True for exactly one caller, the one whose tile was the frame's last."""
        entry = self._entry_at(slot, part_id)
        with self._locked(entry):
            owner, claimed, finished = _PROGRESS.unpack_from(self.memory, entry)
            if owner != part_id:
                return False
            self.memory[self.layout.fates_at(slot) + tile] = fate
            _PROGRESS.pack_into(self.memory, entry, owner, claimed, finished + 1)
            return int(finished) + 1 == tile_count

    def spot(self, slot: int, part_id: int, xyxy_cells: Box) -> None:
        """A claimed tile, not yet finished, has something to decide on in this box of the mask's cells."""
        entry = self._entry_at(slot, part_id)
        with self._locked(entry):
            if _PROGRESS.unpack_from(self.memory, entry)[0] == part_id:
                x0, y0, x1, y1 = _SPOT.unpack_from(self.memory, entry + _SPOT_AT)
                left, top, right, bottom = xyxy_cells
                joined = (min(x0, left), min(y0, top), max(x1, right), max(y1, bottom))
                _SPOT.pack_into(self.memory, entry + _SPOT_AT, *joined)

    def spotted(self, slot: int, part_id: int) -> Box | None:
        """The box around all that the frame's tiles have spotted, for the one who finished the last; None: nothing."""
        x0, y0, x1, y1 = map(int, _SPOT.unpack_from(self.memory, self._entry_at(slot, part_id) + _SPOT_AT))
        return (x0, y0, x1, y1) if x0 < x1 else None

    def fates(self, slot: int, tile_count: int) -> list[TileFate]:
        """What became of each of the frame's tiles, for the one who finished the last."""
        start = self.layout.fates_at(slot)
        return [TileFate(fate) for fate in self.memory[start : start + tile_count]]

    def is_open(self, slot: int, part_id: int) -> bool:
        """Whether the slot is still this part's, and not cancelled."""
        return self._open(self._entry_at(slot, part_id), part_id)

    def working_on(self, worker: int) -> int | None:
        """The part whose result is lost if this worker dies now."""
        part_id = _WORKING_ON.unpack_from(self.memory, worker * _WORKING_ON.size)[0]
        return int(part_id) or None

    def rest(self, worker: int) -> None:
        """Nothing is lost if this worker dies now."""
        self._set_working_on(worker, 0)

    def _open(self, entry: int, part_id: int) -> bool:
        """Whether the entry is this part's and not cancelled."""
        owner = _PROGRESS.unpack_from(self.memory, entry)[0]
        return owner == part_id and not self.memory[entry + _CANCELLED_AT]

    def _entry_at(self, slot: int, part_id: int) -> int:
        return self.layout.header_at(slot) + part_id % _ENTRIES * _ENTRY_BYTES

    @contextmanager
    def _locked(self, entry: int) -> Iterator[None]:
        fcntl.lockf(self.fd, fcntl.LOCK_EX, 1, entry)
        try:
            yield
        finally:
            self._unlock(entry)

    def _lock_at_once(self, offset: int) -> bool:
        try:
            fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
        except BlockingIOError:
            return False
        return True

    def _unlock(self, offset: int) -> None:
        fcntl.lockf(self.fd, fcntl.LOCK_UN, 1, offset)

    def _set_working_on(self, worker: int, part_id: int) -> None:
        if not 0 <= worker < MAX_WORKERS:
            raise ValueError(f"worker {worker} is outside 0..{MAX_WORKERS - 1}")
        _WORKING_ON.pack_into(self.memory, worker * _WORKING_ON.size, part_id)
