"""Office child: commits one row per trigger within 100 ms, has pictures saved when there is time."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from edge_runtime.clock import NS_PER_MS, NS_PER_S, Clock
from edge_runtime.errors import EdgeRuntimeError, RecordConflict, StorageError
from edge_runtime.files import write_atomically
from edge_runtime.processes import freeze_garbage
from edge_runtime.runtime.channel import Channel, ChannelClosed
from edge_runtime.runtime.frame_ring import FrameRing
from edge_runtime.runtime.messages import (
    Archive,
    Committed,
    KeepGate,
    KeepRecipe,
    Message,
    NewRecipes,
    Ping,
    Pong,
    Publish,
    Ready,
    SlotRead,
    Stop,
    StorageTrouble,
)
from edge_runtime.runtime.picture_saver import NOTHING_TO_DRAW, DrawingPlan, PictureSaver, SavedPicture
from edge_runtime.store_interfaces import PictureStore, RecordStore

log = logging.getLogger(__name__)
COMMIT_EVERY_NS = 50 * NS_PER_MS
RETRY_AFTER_TROUBLE_NS = 1000 * NS_PER_MS
SNAPSHOT_EVERY_NS = 1000 * NS_PER_MS
IDS_PER_MESSAGE = 1000
LAST_TRIES = 20


@dataclass(frozen=True)
class OfficePlan:
    """How overlays are drawn, by a recipe's digest, and where the last Snapshot is put.

    `load` makes the drawings of other settings, as JSON; it raises EdgeRuntimeError.
    """

    drawings: Mapping[str, DrawingPlan]
    snapshot_path: Path
    load: Callable[[str], Mapping[str, DrawingPlan]] | None = None


class Office:
    """Owns the database and the picture folder."""

    def __init__(
        self,
        channel: Channel,
        ring: FrameRing,
        records: RecordStore,
        pictures: PictureStore,
        plan: OfficePlan,
        clock: Clock,
    ) -> None:
        self._channel = channel
        self._records = records
        self._saver = PictureSaver(ring, pictures)
        self._plan = plan
        self._clock = clock
        self._not_added: deque[Archive] = deque()
        self._added = False
        self._commit_at_ns = 0
        self._trouble = ""
        self._snapshot = ""
        self._snapshot_at_ns = 0

    def serve(self) -> None:
        """Work until told to stop; when the line dies, commit what it still had to say, then leave."""
        self._records.open()
        self._saver.start()
        next_part_id, recipe, gate = (
            self._records.next_part_id(),
            self._records.kept_recipe(),
            self._records.kept_gate(),
        )
        freeze_garbage()
        self._channel.send_patiently(Ready(next_part_id=next_part_id, kept_recipe=recipe, kept_gate=gate))
        try:
            while not isinstance(message := self._channel.wait(self._wait_ms(), self._saver.fileno()), Stop):
                self._take(message)
                self._note_saved(self._saver.saved())
                self._commit_if_due()
                if message is None:
                    self._write_snapshot()
            self._finish()
        except ChannelClosed:
            log.error("the line is gone; committing what it left")
            self._leave()

    def _take(self, message: Message | None) -> None:
        if isinstance(message, Archive):
            self._add(message)
        elif isinstance(message, (KeepRecipe, KeepGate)):
            self._keep(message)
            self._commit_soon(0)
        elif isinstance(message, NewRecipes):
            self._add_drawings(message.settings)
        elif isinstance(message, Publish):
            self._snapshot = message.snapshot
        elif isinstance(message, Ping):
            self._channel.send_patiently(Pong())

    def _add_drawings(self, settings: str) -> None:
        """Parts of the recipes before may still come: of two take-overs both are known."""
        try:
            more = self._plan.load(settings) if self._plan.load is not None else {}
        except EdgeRuntimeError as exc:
            log.error("overlays of the new recipes will show the picture alone: %s", exc)
            return
        self._plan = replace(self._plan, drawings={**self._plan.drawings, **more})

    def _wait_ms(self) -> float:
        """Until the next commit."""
        if self._added:
            return max(0.0, (self._commit_at_ns - self._clock.monotonic_ns()) / NS_PER_MS)
        return 200.0

    # -- records ------------------------------------------------------------------------------------------------

    def _add(self, message: Archive) -> None:
        try:
            self._records.add(message.record)
            if message.slot is not None:
                self._saver.save_soon(message, self._plan.drawings.get(message.record.recipe_digest, NOTHING_TO_DRAW))
        except RecordConflict as exc:
            # The same id with other content can only be a fault of this program: say so, do not block the rest.
            part_id = message.record.trigger.part_id
            log.error("record of part %d is refused: %s", part_id, exc)
            self._say_read(message)
            self._channel.send_patiently(Committed((part_id,)))
            return
        except StorageError as exc:
            self._note_trouble(str(exc))
            self._say_read(message)
            self._not_added.append(replace(message, slot=None))
        self._commit_soon(COMMIT_EVERY_NS)

    def _keep(self, message: KeepRecipe | KeepGate) -> None:
        if isinstance(message, KeepRecipe):
            self._records.keep_recipe(message.number)
        else:
            self._records.keep_gate(message.model_id)

    def _commit_soon(self, within_ns: int) -> None:
        if not self._added:
            due_ns = self._clock.monotonic_ns() + within_ns
            self._added, self._commit_at_ns = True, max(self._commit_at_ns, due_ns)

    def _commit_if_due(self) -> None:
        if not self._added or self._clock.monotonic_ns() < self._commit_at_ns:
            return
        try:
            part_ids = self._commit()
        except StorageError as exc:
            self._note_trouble(str(exc))
            self._commit_at_ns = self._clock.monotonic_ns() + RETRY_AFTER_TROUBLE_NS
            return
        self._added = False
        self._note_trouble("")
        for start in range(0, len(part_ids), IDS_PER_MESSAGE):
            self._channel.send_patiently(Committed(tuple(part_ids[start : start + IDS_PER_MESSAGE])))

    def _commit(self) -> list[int]:
        """Commit all, with what the database could not look up when it came."""
        while self._not_added:
            self._records.add(self._not_added[0].record)
            self._not_added.popleft()
        return self._records.commit()

    def _finish(self) -> None:
        self._commit()
        self._note_saved(self._saver.finish())
        self._records.close_cleanly()
        self._write_snapshot(at_once=True)

    def _leave(self) -> None:
        """The line is gone: commit what it had sent before, however long another program locks the database."""
        with suppress(ChannelClosed):
            while (message := self._channel.receive()) is not None:
                self._not_added += [message] if isinstance(message, Archive) else []
                if isinstance(message, (KeepRecipe, KeepGate)):
                    self._keep(message)
        for _ in range(LAST_TRIES):
            try:
                self._commit()
                break
            except StorageError as exc:
                log.error("trying again to commit what the line left: %s", exc)
                time.sleep(RETRY_AFTER_TROUBLE_NS / NS_PER_S)
        self._records.close()

    def _note_trouble(self, reason: str) -> None:
        if bool(reason) != bool(self._trouble):
            log.log(logging.ERROR if reason else logging.INFO, "storage: %s", reason or "is well again")
            self._channel.send_patiently(StorageTrouble(reason[:500]))
        self._trouble = reason

    # -- pictures -----------------------------------------------------------------------------------------------

    def _note_saved(self, pictures: Sequence[SavedPicture]) -> None:
        """Give the slots of saved pictures back, whatever became of them, and note where the pictures lie."""
        for picture in pictures:
            if picture.failure is not None:
                raise picture.failure
            self._say_read(picture.request)
            if picture.path is not None:
                self._note_picture(picture.request.record.trigger.part_id, picture.path)

    def _note_picture(self, part_id: int, path: str) -> None:
        try:
            self._records.set_picture(part_id, path)
            self._commit_soon(COMMIT_EVERY_NS)
        except StorageError as exc:
            log.error("where the picture of part %d lies is not kept: %s", part_id, exc)

    def _say_read(self, message: Archive) -> None:
        if message.slot is not None:
            self._channel.send_patiently(SlotRead(message.record.trigger.part_id))

    # -- snapshot -----------------------------------------------------------------------------------------------

    def _write_snapshot(self, at_once: bool = False) -> None:
        now_ns = self._clock.monotonic_ns()
        if not self._snapshot or (now_ns < self._snapshot_at_ns and not at_once):
            return
        self._snapshot_at_ns = now_ns + SNAPSHOT_EVERY_NS
        try:
            write_atomically(self._plan.snapshot_path, self._snapshot.encode())
        except OSError as exc:
            self._note_trouble(f"{self._plan.snapshot_path}: {exc}")
        self._snapshot = ""
