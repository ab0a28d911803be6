"""What the keepers of records and pictures promise to the processes that use them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from edge_runtime.values import ImageU8, InspectionRecord, Outcome


class RecordStore(Protocol):
    """Where one row per trigger is kept. One process, one thread owns it. Raises StorageError."""

    def open(self) -> None: ...

    def next_part_id(self) -> int:
        """The first id never used."""
        ...

    def add(self, record: InspectionRecord) -> None:
        """Take a record for the next `commit`; the same record again is harmless, another of its id RecordConflict."""
        ...

    def set_picture(self, part_id: int, relative_path: str | None) -> None: ...

    def keep_recipe(self, number: int) -> None:
        """Remember the selected recipe's number, written by the next `commit`."""
        ...

    def kept_recipe(self) -> int | None:
        """The number that was kept last; None: never one."""
        ...

    def keep_gate(self, model_id: str) -> None:
        """Remember which model's gate has missed a defect, written by the next `commit`; empty: none."""
        ...

    def kept_gate(self) -> str:
        """The model whose gate was kept last; empty: none."""
        ...

    def commit(self) -> list[int]:
        """Write what was added; the part ids now on disk. What could not be written stays for a later commit."""
        ...

    def close(self) -> None: ...

    def close_cleanly(self) -> None:
        """Commit, note that nothing was lost, and close."""
        ...


class PictureStore(Protocol):
    """Where pictures of parts are kept within a budget. One process, one thread owns it. Raises StorageError."""

    def open(self) -> None: ...

    def save(
        self,
        part_id: int,
        outcome: Outcome,
        triggered_at: datetime,
        picture: ImageU8,
        overlay: Callable[[], ImageU8] | None = None,
        mask: ImageU8 | None = None,
    ) -> str | None:
        """Write a part's files; the picture's relative path, or None when nothing is kept.

        `overlay` is called once `picture` is needed no more: it may draw over it.
        """
        ...


@dataclass(frozen=True)
class FeedPosition:
    """A place in the sequence of commits of one database file, which `epoch` names."""

    epoch: str
    record_no: int


@dataclass(frozen=True)
class NumberedRecord:
    """A committed record. `record_no` is 1, 2, 3 … in the order of commits, without gaps until old ones are deleted."""

    record_no: int
    record: InspectionRecord


class RecordFeed(Protocol):
    """Records in the order of their commits, read beside their owner. Raises StorageError, after which `open` anew."""

    def open(self) -> None: ...

    def end(self) -> FeedPosition:
        """The newest commit."""
        ...

    def after(self, record_no: int, limit: int) -> list[NumberedRecord]:
        """The next records, at most `limit`; nothing with a lower number can appear later."""
        ...

    def was_replaced(self) -> bool:
        """Whether another file, or none, now lies where the open one did."""
        ...

    def close(self) -> None: ...
