"""The tables of the records database, as numbered migrations; `docs/records.md` says what the columns mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

MIGRATIONS = (
    """
    CREATE TABLE meta (
        key   TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) WITHOUT ROWID;

    CREATE TABLE parts (
        part_id      INTEGER PRIMARY KEY,
        line_seqno   INTEGER,
        triggered_at TEXT    NOT NULL,
        at_ns        INTEGER NOT NULL,
        deadline_ns  INTEGER NOT NULL,
        outcome      TEXT    NOT NULL CHECK (outcome IN ('PASS', 'REJECT', 'NOT_INSPECTED')),
        reasons      TEXT    NOT NULL,
        defect_count INTEGER NOT NULL,
        model_id     TEXT    NOT NULL,
        recipe_id    TEXT    NOT NULL,
        decided_ns   INTEGER NOT NULL,
        stage_ms     TEXT    NOT NULL,
        label        TEXT    NOT NULL,
        picture      TEXT
    );

    CREATE INDEX parts_by_time ON parts (triggered_at, outcome);

    CREATE TABLE defects (
        part_id  INTEGER NOT NULL REFERENCES parts ON DELETE CASCADE,
        n        INTEGER NOT NULL,
        class_id INTEGER NOT NULL,
        x0       INTEGER NOT NULL,
        y0       INTEGER NOT NULL,
        x1       INTEGER NOT NULL,
        y1       INTEGER NOT NULL,
        area_px  INTEGER NOT NULL,
        area_mm2 REAL,
        score    REAL    NOT NULL,
        zone     TEXT    NOT NULL,
        PRIMARY KEY (part_id, n)
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE parts ADD COLUMN record_no INTEGER;

    UPDATE parts SET record_no = numbered.n
    FROM (SELECT part_id, row_number() OVER (ORDER BY part_id) AS n FROM parts) AS numbered
    WHERE numbered.part_id = parts.part_id;

    CREATE UNIQUE INDEX parts_by_record_no ON parts (record_no);

    INSERT INTO meta (key, value) SELECT 'last_record_no', coalesce(max(record_no), 0) FROM parts;
    INSERT INTO meta (key, value) VALUES ('file_id', lower(hex(randomblob(8))));

    CREATE TRIGGER parts_are_numbered AFTER INSERT ON parts BEGIN
        UPDATE meta SET value = value + 1 WHERE key = 'last_record_no';
        UPDATE parts SET record_no = (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'last_record_no')
        WHERE part_id = new.part_id;
    END;
    """,
    """
    ALTER TABLE parts ADD COLUMN recipe_number INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE parts ADD COLUMN recipe_digest TEXT NOT NULL DEFAULT '';
    """,
    """
    ALTER TABLE parts ADD COLUMN tiles_computed INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE parts ADD COLUMN tiles_skipped INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE parts ADD COLUMN tiles_audited INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE parts ADD COLUMN tiles_missed INTEGER NOT NULL DEFAULT 0;
    """,
    "ALTER TABLE parts ADD COLUMN tile_px INTEGER NOT NULL DEFAULT 0;",
    "ALTER TABLE parts ADD COLUMN engine TEXT NOT NULL DEFAULT '';",
)
"""`MIGRATIONS[n]` turns version n into n + 1; one that has shipped never changes."""


def schema_version(connection: sqlite3.Connection) -> int:
    """How many migrations the file has seen; 0 for an empty one."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection, migrations: Sequence[str] = MIGRATIONS) -> None:
    """Bring the file to version len(migrations), each step whole or not at all. Raises sqlite3.Error."""
    for version in range(schema_version(connection), len(migrations)):
        try:
            connection.executescript(
                f"BEGIN IMMEDIATE; {migrations[version]}; PRAGMA user_version = {version + 1}; COMMIT;"
            )
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
