"""A writer killed at any moment: what it called committed is there, and no file with a final name is half-written."""

from __future__ import annotations

import multiprocessing
import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np

from edge_runtime.clock import ManualClock
from edge_runtime.storage.database import Database
from edge_runtime.storage.image_store import ImageStore
from edge_runtime.values import InspectionRecord, Outcome

ROUNDS = 40
AT = datetime(2026, 11, 23, tzinfo=timezone.utc)
FORK = multiprocessing.get_context("fork")


def picture_of(part_id: int) -> np.ndarray:
    return np.random.default_rng(part_id).integers(0, 256, (120, 160, 3), np.uint8)


def open_both(folder: Path) -> tuple[Database, ImageStore]:
    database = Database(folder / "records.db", ManualClock())
    database.open()
    store = ImageStore(folder / "pictures", 2_000_000, keep_ok=5, jpeg_quality=None)
    store.open()
    return database, store


def write_forever(folder: Path, committed_fd: int, make_record: Callable[..., InspectionRecord]) -> None:
    """Print each part id, on a line of its own, once its commit has returned."""
    database, store = open_both(folder)
    part_id = database.next_part_id()
    while True:
        batch = range(part_id, part_id + 1 + part_id % 4)
        for part_id in batch:
            outcome = Outcome.PASS if part_id % 3 else Outcome.REJECT
            database.add(make_record(part_id, outcome))
            path = store.save(part_id, outcome, AT, picture_of(part_id))
            database.set_picture(part_id, path)
        os.write(committed_fd, b"".join(b"%d\n" % part_id for part_id in database.commit()))
        part_id = batch[-1] + 1


def killed_run(folder: Path, make_record: Callable[..., InspectionRecord], lifetime_s: float) -> list[int]:
    """Kill a writer `lifetime_s` after its first commit; returns the ids it called committed."""
    read_fd, write_fd = os.pipe()
    writer = FORK.Process(target=write_forever, args=(folder, write_fd, make_record))
    writer.start()
    os.close(write_fd)
    with os.fdopen(read_fd, "rb") as committed:
        first = committed.readline()
        writer.join(lifetime_s)
        writer.kill()
        rest = committed.read()
    writer.join()
    assert writer.exitcode == -9
    return [int(line) for line in (first + rest).split()]


def check_pictures(folder: Path) -> None:
    for path in folder.glob("*/*/[0-9]*"):
        assert np.array_equal(cv2.imread(str(path)), picture_of(int(path.name.split("-")[0])))


def test_a_killed_writer_loses_nothing_it_called_committed(tmp_path, make_record):
    chance = random.Random(7)
    committed: list[int] = []
    for _ in range(ROUNDS):
        committed += killed_run(tmp_path, make_record, chance.uniform(0, 0.03))
        check_pictures(tmp_path / "pictures")
    database, store = open_both(tmp_path)
    stored = {record.trigger.part_id for record in database.records()}
    assert stored >= set(committed)
    assert len(set(committed)) == len(committed) >= ROUNDS
    assert database.next_part_id() > max(committed) + 1000
    for part_id in committed:
        assert database.record(part_id) == make_record(part_id, Outcome.PASS if part_id % 3 else Outcome.REJECT)
    with closing(sqlite3.connect(tmp_path / "records.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert store.used_bytes == sum(path.stat().st_size for path in (tmp_path / "pictures").rglob("*") if path.is_file())
    assert store.used_bytes <= 2_000_000
    database.close()
