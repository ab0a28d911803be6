"""One SQLite file and its owner: the lock, the connection, and errors that say what to do."""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from edge_runtime.errors import StorageError
from edge_runtime.storage.schema import MIGRATIONS, schema_version

BUSY_TIMEOUT_MS = 2000
WAL_LIMIT_BYTES = 64 * 1024 * 1024

MOVE_AWAY = "the file is damaged: move it, with its -wal and -shm files, to another folder and start again"
_ADVICE = {
    "malformed": MOVE_AWAY,
    "not a database": MOVE_AWAY,
    "is full": "free space on this disk",
    "locked": "another program holds a write transaction on it: close that program",
    "readonly": "give the daemon's user the right to write it",
    "too large": "part ids end at 2**62",
    "unable to open": "check that it is a file in a folder that the daemon's user may write",
}


class SqliteFile:
    """A file of this program's tables, open or not.

    Raises StorageError; what SQLite and the disk raise becomes one within `storage_errors` and `transaction`.
    Synchronization: one thread uses it alone. One opening for writing at a time on a machine, enforced by a lock on
    PATH.lock; any number for reading beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.was_taken_away = False
        self._connection: sqlite3.Connection | None = None
        self._lock: IO[bytes] | None = None
        self._inode = 0

    @property
    def sql(self) -> sqlite3.Connection:
        if self._connection is None:
            raise self.error("is not open")
        return self._connection

    def open_for_writing(self) -> None:
        """Take the lock, and create the file where there is none."""
        self._take_lock()
        self._connect(f"{self.path.absolute().as_uri()}?mode=rwc")

    def open_for_reading(self) -> None:
        """Open an existing file of this version beside its owner."""
        self._connect(f"{self.path.absolute().as_uri()}?mode=ro")
        if schema_version(self.sql) != len(MIGRATIONS):
            raise self.error("is of another version than this program; start the daemon once to migrate it")

    def close(self) -> None:
        """Harmless when not open."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _take_lock(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = open(f"{self.path}.lock", "ab")  # noqa: SIM115 - held until close
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise self.error("is open in another process; wait for it to end, or stop it") from exc

    def _connect(self, uri: str) -> None:
        self._connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_MS / 1000)
        if schema_version(self._connection) > len(MIGRATIONS):
            raise self.error("was written by a newer version of this program; install that version, or move the file")

    def make_durable(self) -> None:
        """What is committed from now on survives a power cut."""
        if self.sql.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise self.error("lies on a file system without shared memory; use a local disk")
        self.sql.execute("PRAGMA synchronous = FULL")
        self.sql.execute("PRAGMA foreign_keys = ON")
        self.sql.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")

    def check_integrity(self) -> None:
        finding = self.sql.execute("PRAGMA quick_check(1)").fetchone()[0]
        if finding != "ok":
            raise self.error(f"{' '.join(finding.split())}; {MOVE_AWAY}")

    def note_place(self) -> None:
        """The file that lies there now is the one that `check_in_place` expects."""
        self._inode, self.was_taken_away = self.path.stat().st_ino, False

    def check_in_place(self) -> None:
        """Whoever deletes the file of a running daemon must not take the records written since."""
        if not self.path.exists() or self.path.stat().st_ino != self._inode:
            self.close()
            self.was_taken_away = True
            raise self.error("was deleted or moved while in use; a new file is made")

    @contextmanager
    def transaction(self, action: str) -> Iterator[sqlite3.Connection]:
        with self.storage_errors(action):
            self.sql.execute("BEGIN IMMEDIATE")
            try:
                yield self.sql
                self.sql.execute("COMMIT")
            except BaseException:
                if self.sql.in_transaction:
                    self.sql.execute("ROLLBACK")
                raise

    @contextmanager
    def storage_errors(self, action: str) -> Iterator[None]:
        """The one translation of what SQLite and the disk refuse; `action` says what was to be done."""
        try:
            yield
        except (sqlite3.Error, OSError, OverflowError) as exc:
            advice = next((text for word, text in _ADVICE.items() if word in str(exc)), "check the disk and its mount")
            raise self.error(f"cannot {action}: {exc}; {advice}") from exc

    def error(self, text: str) -> StorageError:
        return StorageError(f"{self.path}: {text}")
