"""The records database: one row per trigger, on disk within one commit."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from edge_runtime.clock import Clock
from edge_runtime.errors import RecordConflict, StorageError
from edge_runtime.storage.rows import (
    INSERT_DEFECT,
    INSERT_PART,
    SELECT_JOINED,
    RecordRows,
    decode,
    encode,
    split_joined,
    utc_text,
)
from edge_runtime.storage.schema import migrate, schema_version
from edge_runtime.storage.sqlite_file import MOVE_AWAY, SqliteFile
from edge_runtime.values import InspectionRecord, Outcome

UNCLEAN_JUMP = 1000
READ_BATCH_ROWS = 500
PRUNE_BATCH_ROWS = 500

_NEXT_PART_ID = """
    SELECT max(
        1,
        coalesce((SELECT max(part_id) + 1 FROM parts), 1),
        coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'next_part_id_min'), 1)
    )
"""


class Database:
    """Records and their defects in one SQLite file (WAL, synchronous FULL).

    Reads see what is committed; a record that was added but not committed lives in memory and survives any failed
    `commit`, to be written by a later one. Every method may raise StorageError.

    Synchronization: one thread, which opens it, uses it alone. One opening for writing at a time on a machine,
    enforced by a lock on PATH.lock; any number for reading beside it.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._file = SqliteFile(path)
        self._clock = clock
        self._row_count: int | None = None
        self._pending: dict[int, RecordRows] = {}
        self._repeated: set[int] = set()
        self._pictures: dict[int, str | None] = {}
        self._kept: dict[str, str] = {}
        self._kept_is_written = True

    def open(self) -> None:
        """Open for writing: create or migrate the file, and check it if the last owner did not close cleanly."""
        try:
            with self._file.storage_errors("open"):
                self._file.open_for_writing()
                self._prepare()
                self._file.note_place()
                self._row_count, self._kept_is_written = None, not self._kept
        except StorageError:
            self.close()
            raise

    def open_for_reading(self) -> None:
        """Open an existing database beside its owner; only the methods that read will work."""
        try:
            with self._file.storage_errors("read"):
                self._file.open_for_reading()
        except StorageError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file without marking a clean stop; records not committed are lost. Harmless when not open."""
        self._file.close()

    def close_cleanly(self) -> None:
        """Commit, note that nothing was lost, and close; for an orderly stop of the whole daemon only.

        When it raises, the database is still open and its stop not clean.
        """
        self.commit()
        with self._file.transaction("note the clean stop"):
            self._set_meta("clean_stop", "1")
        self.close()

    def add(self, record: InspectionRecord) -> None:
        """Take a record for the next `commit`.

        A part already known with the same content is answered by that commit too; with other content, and for
        values that SQLite cannot hold, RecordConflict, and the database is unchanged.
        """
        part_id = record.trigger.part_id
        try:
            rows = encode(record)
        except ValueError as exc:
            raise RecordConflict(f"{self._file.path}: cannot record part {part_id}: {exc}") from exc
        known = self._pending.get(part_id) or (None if self._file.was_taken_away else self._rows_of(part_id))
        if known is None:
            self._pending[part_id] = rows
        elif known != rows:
            raise RecordConflict(
                f"{self._file.path}: part {part_id} is already recorded with other content; part ids must not repeat"
            )
        elif part_id not in self._pending:
            self._repeated.add(part_id)

    def set_picture(self, part_id: int, relative_path: str | None) -> None:
        """Note with the next `commit` where the picture of a known part lies in the picture folder."""
        if part_id not in self._pending and self._rows_of(part_id) is None:
            raise self._file.error(f"has no record of part {part_id} to set a picture for")
        self._pictures[part_id] = relative_path

    def keep_recipe(self, number: int) -> None:
        """Remember the selected recipe's number with the next `commit`, and with the first in a new file."""
        self._keep("recipe", str(number))

    def kept_recipe(self) -> int | None:
        """The number kept last, on disk or for the next `commit`; None: never one."""
        text = self._kept_text("recipe")
        return None if text is None else int(text)

    def keep_gate(self, model_id: str) -> None:
        """Remember which model's gate has missed a defect, as `keep_recipe` does; empty: none."""
        self._keep("gate", model_id)

    def kept_gate(self) -> str:
        """The model kept last, as `kept_recipe`; empty: none."""
        return self._kept_text("gate") or ""

    def commit(self) -> list[int]:
        """Write all that was added, in one transaction; returns the part ids now on disk, ascending.

        A file that was deleted or moved away meanwhile is a StorageError; the next commit makes a new one.
        """
        if self._file.was_taken_away:
            self.open()
        if self._pending or self._pictures or not self._kept_is_written:
            with self._file.transaction("write records") as sql:
                sql.executemany(INSERT_PART, (rows.part for rows in self._pending.values()))
                sql.executemany(INSERT_DEFECT, (row for rows in self._pending.values() for row in rows.defects))
                paths = ((path, part_id) for part_id, path in self._pictures.items())
                sql.executemany("UPDATE parts SET picture = ? WHERE part_id = ?", paths)
                for key, text in self._kept.items():
                    self._set_meta(key, text)
            self._kept_is_written = True
            self._file.check_in_place()
        committed = sorted(self._repeated.union(self._pending))
        if self._row_count is not None:
            self._row_count += len(self._pending)
        self._pending.clear()
        self._repeated.clear()
        self._pictures.clear()
        return committed

    def next_part_id(self) -> int:
        """The first id never used: one after the highest, and after a stop that was not clean 1000 further."""
        with self._file.storage_errors("read"):
            on_disk = int(self._file.sql.execute(_NEXT_PART_ID).fetchone()[0])
        return max(on_disk, max(self._pending, default=0) + 1)

    def latest(self, limit: int) -> list[InspectionRecord]:
        """The `limit` records with the highest ids, newest first."""
        return [self._decode(rows) for rows in self._select(1, limit, "DESC")]

    def record(self, part_id: int) -> InspectionRecord:
        """The record of one part; an unknown part is a StorageError."""
        rows = self._rows_of(part_id)
        if rows is None:
            raise self._file.error(f"has no record of part {part_id}")
        return self._decode(rows)

    def records(self, first_part_id: int = 1) -> Iterator[InspectionRecord]:
        """All records from `first_part_id` on in id order, read in batches; commits may happen meanwhile."""
        while batch := self._select(first_part_id, READ_BATCH_ROWS, "ASC"):
            for rows in batch:
                yield self._decode(rows)
            first_part_id = batch[-1].part[0] + 1

    def picture(self, part_id: int) -> str | None:
        """The relative path noted by `set_picture`; the file may have been deleted since to keep the byte budget."""
        with self._file.storage_errors("read"):
            row = self._file.sql.execute("SELECT picture FROM parts WHERE part_id = ?", (part_id,)).fetchone()
        return None if row is None else row[0]

    def counts(self, since: datetime | None = None) -> dict[Outcome, int]:
        """How many parts had each outcome, those labelled before `since` (UTC wall clock) left out."""
        first = "" if since is None else utc_text(since)
        query = "SELECT outcome, count(*) FROM parts WHERE triggered_at >= ? GROUP BY outcome"
        with self._file.storage_errors("read"):
            found = dict(self._file.sql.execute(query, (first,)).fetchall())
        return {outcome: found.get(outcome.value, 0) for outcome in Outcome}

    def prune(self, max_rows: int) -> int:
        """Delete the oldest records beyond `max_rows` ≥ 1, a small batch a call; returns how many it deleted.

        Call again until it returns 0, with commits in between.
        """
        if max_rows < 1:
            raise ValueError(f"max_rows must be at least 1, not {max_rows}")
        with self._file.transaction("prune records") as sql:
            if self._row_count is None:
                self._row_count = int(sql.execute("SELECT count(*) FROM parts").fetchone()[0])
            surplus = min(max(0, self._row_count - max_rows), PRUNE_BATCH_ROWS)
            oldest = "SELECT part_id FROM parts ORDER BY part_id LIMIT ?"
            deleted = sql.execute(f"DELETE FROM parts WHERE part_id IN ({oldest})", (surplus,)).rowcount
        self._row_count -= deleted
        return deleted

    def _prepare(self) -> None:
        clean = schema_version(self._file.sql) == 0 or self._get_meta("clean_stop") == "1"
        if not clean:
            self._file.check_integrity()
        self._file.make_durable()
        migrate(self._file.sql)
        with self._file.transaction("note the start"):
            if not clean:
                self._set_meta("next_part_id_min", str(self.next_part_id() + UNCLEAN_JUMP))
            self._set_meta("clean_stop", "0")
            self._set_meta("opened_at", utc_text(self._clock.utc_now()))

    def _get_meta(self, key: str) -> str | None:
        row = self._file.sql.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def _set_meta(self, key: str, value: str) -> None:
        self._file.sql.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))

    def _keep(self, key: str, text: str) -> None:
        self._kept[key], self._kept_is_written = text, False

    def _kept_text(self, key: str) -> str | None:
        if key not in self._kept:
            with self._file.storage_errors("read"):
                text = self._get_meta(key)
            if text is not None:
                self._kept[key] = text
        return self._kept.get(key)

    def _rows_of(self, part_id: int) -> RecordRows | None:
        found = self._select(part_id, 1, "ASC")
        return found[0] if found and found[0].part[0] == part_id else None

    def _select(self, first_part_id: int, limit: int, order: str) -> list[RecordRows]:
        with self._file.storage_errors("read"):
            query = SELECT_JOINED.format(order=order)
            return list(split_joined(self._file.sql.execute(query, (first_part_id, limit))))

    def _decode(self, rows: RecordRows) -> InspectionRecord:
        try:
            return decode(rows)
        except ValueError as exc:
            raise self._file.error(f"the record of part {rows.part[0]} makes no sense: {exc}; {MOVE_AWAY}") from exc
