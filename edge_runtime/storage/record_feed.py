"""The records database as a feed: records in the order of their commits, read beside the office."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_runtime.errors import StorageError
from edge_runtime.storage.rows import DEFECT_COLUMNS, PART_COLUMNS, decode, split_joined
from edge_runtime.storage.schema import MIGRATIONS, schema_version
from edge_runtime.store_interfaces import FeedPosition, NumberedRecord

BUSY_TIMEOUT_MS = 2000

_COLUMNS = ", ".join([*(f"p.{name}" for name in PART_COLUMNS), *(f"d.{name}" for name in DEFECT_COLUMNS)])
_AFTER = f"""
    SELECT p.record_no, {_COLUMNS}
    FROM (SELECT * FROM parts WHERE record_no > ? ORDER BY record_no LIMIT ?) AS p
    LEFT JOIN defects AS d ON d.part_id = p.part_id
    ORDER BY p.record_no, d.n
"""
_END = """
    SELECT (SELECT value FROM meta WHERE key = 'file_id'),
           (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'last_record_no')
"""


class SqliteRecordFeed:
    """Reads a records database by its own connection and never writes; see `store_interfaces.RecordFeed`.

    `record_no` is given inside the transaction that commits a record, and one process writes at a time: whoever has
    read number n will never see a new number below it, whatever the part ids are. One thread owns it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._inode = 0

    def open(self) -> None:
        self.close()
        try:
            with self._storage_errors():
                self._inode = os.stat(self._path).st_ino  # first: a file put there meanwhile is then seen as new
                uri = f"{self._path.absolute().as_uri()}?mode=ro"
                self._connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_MS / 1000)
                if schema_version(self._connection) != len(MIGRATIONS):
                    raise StorageError(f"{self._path}: is of another version than this program; start the daemon")
        except StorageError:
            self.close()
            raise

    def end(self) -> FeedPosition:
        file_id, last_record_no = self._fetch(_END)[0]
        return FeedPosition(str(file_id), int(last_record_no))

    def after(self, record_no: int, limit: int) -> list[NumberedRecord]:
        joined = self._fetch(_AFTER, record_no, limit)
        numbers = dict.fromkeys(row[0] for row in joined)
        records = split_joined(row[1:] for row in joined)
        try:
            return [NumberedRecord(number, decode(rows)) for number, rows in zip(numbers, records, strict=True)]
        except ValueError as exc:
            raise StorageError(f"{self._path}: a record after number {record_no} makes no sense: {exc}") from exc

    def was_replaced(self) -> bool:
        try:
            return os.stat(self._path).st_ino != self._inode
        except OSError:
            return True

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _fetch(self, query: str, *parameters: int) -> list[tuple[Any, ...]]:
        if self._connection is None:
            raise StorageError(f"{self._path}: is not open")
        with self._storage_errors():
            return self._connection.execute(query, parameters).fetchall()

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as exc:
            raise StorageError(f"{self._path}: cannot be read for reporting: {exc}") from exc
