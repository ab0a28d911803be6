"""The daemon's records as somebody beside it reads them: what this sees is committed."""

from __future__ import annotations

import sqlite3
from contextlib import closing

DATABASE = "/var/lib/edge-runtime/records.sqlite"


def committed() -> list[tuple[int, str]]:
    """Part id and outcome of every row, ascending."""
    with closing(sqlite3.connect(f"file:{DATABASE}?mode=ro", uri=True, timeout=10)) as connection:
        return connection.execute("SELECT part_id, outcome FROM parts ORDER BY part_id").fetchall()


def last_committed() -> int:
    """The highest part id, 0 without any."""
    with closing(sqlite3.connect(f"file:{DATABASE}?mode=ro", uri=True, timeout=10)) as connection:
        return int(connection.execute("SELECT coalesce(max(part_id), 0) FROM parts").fetchone()[0])


def integrity() -> str:
    with closing(sqlite3.connect(f"file:{DATABASE}?mode=ro", uri=True, timeout=10)) as connection:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
