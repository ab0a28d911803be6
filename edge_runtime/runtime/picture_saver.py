"""Pictures of parts, saved from their slots by a thread of the lowest priority: neither records nor inspection wait."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING

from edge_runtime.errors import StorageError
from edge_runtime.runtime.frame_ring import FrameRing
from edge_runtime.runtime.messages import Archive
from edge_runtime.runtime.slot_arrays import slot_arrays
from edge_runtime.store_interfaces import PictureStore
from edge_runtime.values import DefectClass, Mask, Outcome, Recipe
from edge_runtime.vision.blobs import foreground_cells
from edge_runtime.vision.overlay import draw_over, draw_overlay

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8

log = logging.getLogger(__name__)
LOWEST_PRIORITY = 19


@dataclass(frozen=True)
class DrawingPlan:
    """What it takes to draw the overlay of a recipe's part."""

    classes: Sequence[DefectClass]
    recipe: Recipe
    mask_stride_px: int


# For a part without a recipe, or with one that is not known here: its overlay is the picture with its outcome.
NOTHING_TO_DRAW = DrawingPlan((), Recipe("none"), 1)


@dataclass(frozen=True)
class SavedPicture:
    """The slot of `request` is free of it. `path`: None when nothing is kept. `failure`: a fault of this program."""

    request: Archive
    path: str | None = None
    failure: Exception | None = None


class PictureSaver:
    """Owns the store once it is started, and each slot from `save_soon` until the picture is in `saved`.

    Synchronization: all methods are for one thread.
    """

    def __init__(self, ring: FrameRing, store: PictureStore) -> None:
        self._ring = ring
        self._store = store
        self._todo: SimpleQueue[tuple[Archive, DrawingPlan] | None] = SimpleQueue()
        self._done: SimpleQueue[SavedPicture] = SimpleQueue()
        self._done_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="picture-saver", daemon=True)

    def start(self) -> None:
        """Open the store and begin. Raises StorageError."""
        self._store.open()
        self._thread.start()

    def fileno(self) -> int:
        """Readable while `saved` has news."""
        return self._done_fd

    def save_soon(self, request: Archive, plan: DrawingPlan) -> None:
        """Have the picture in `request.slot` saved after those before."""
        self._todo.put((request, plan))

    def saved(self) -> list[SavedPicture]:
        """What was done since the last call."""
        try:
            os.eventfd_read(self._done_fd)
        except BlockingIOError:
            return []
        return [self._done.get() for _ in range(self._done.qsize())]

    def finish(self) -> list[SavedPicture]:
        """Wait until all is done; nothing can be saved afterwards."""
        self._todo.put(None)
        self._thread.join()
        return self.saved()

    # -- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)  # of this thread alone
        while (task := self._todo.get()) is not None:
            self._done.put(self._attempt(*task))
            os.eventfd_write(self._done_fd, 1)

    def _attempt(self, request: Archive, plan: DrawingPlan) -> SavedPicture:
        try:
            return SavedPicture(request, self._save(request, plan))
        except StorageError as exc:
            log.error("picture of part %d is not kept: %s", request.record.trigger.part_id, exc)
            return SavedPicture(request)
        except Exception as exc:
            log.exception("unexpected error")
            return SavedPicture(request, failure=exc)

    def _save(self, request: Archive, plan: DrawingPlan) -> str | None:
        assert request.slot is not None
        verdict = request.record.verdict
        arrays = slot_arrays(self._ring, request.slot, request.image_hw, plan.mask_stride_px)
        save = partial(self._store.save, verdict.part_id, verdict.outcome, request.record.triggered_at, arrays.image)
        if verdict.outcome is Outcome.PASS:
            return save()
        if verdict.outcome is Outcome.NOT_INSPECTED or plan is NOTHING_TO_DRAW:
            # There is no mask, or none whose classes are known; and a worker may still be looking at the picture.
            return save(lambda: draw_overlay(arrays.image, (), None, plan.classes, plan.recipe, verdict.outcome))
        mask = Mask(arrays.class_ids, arrays.scores, plan.mask_stride_px)

        def overlay() -> ImageU8:
            draw_over(arrays.image, verdict.defects, mask, plan.classes, plan.recipe, verdict.outcome)
            return arrays.image

        return save(overlay, _defective_classes(mask, plan.classes))


def _defective_classes(mask: Mask, classes: Sequence[DefectClass]) -> ImageU8:
    """Class ids where the score reaches its class's threshold, 0 elsewhere."""
    shown = foreground_cells(mask, classes)
    shown &= mask.class_ids  # 255 or 0 before
    return shown
