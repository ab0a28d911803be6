"""A writer killed at any moment: what it called committed is there, and no file with a final name is half-written."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from edge_runtime.clock import ManualClock
from edge_runtime.storage.database import Database
from edge_runtime.storage.image_store import ImageStore
from edge_runtime.values import InspectionRecord, Outcome

BUDGET_BYTES = 2_000_000
AT = datetime(2026, 11, 23, tzinfo=timezone.utc)
MakeRecord = Callable[..., InspectionRecord]
FORK = multiprocessing.get_context("fork")


def picture_of(part_id: int) -> np.ndarray:
    return np.random.default_rng(part_id).integers(0, 256, (120, 160, 3), np.uint8)


def open_both(folder: Path) -> tuple[Database, ImageStore]:
    database = Database(folder / "records.db", ManualClock())
    database.open()
    store = ImageStore(folder / "pictures", BUDGET_BYTES, keep_ok=5, jpeg_quality=None)
    store.open()
    return database, store


def expected_record(part_id: int, make_record: MakeRecord) -> InspectionRecord:
    return make_record(part_id, Outcome.PASS if part_id % 3 else Outcome.REJECT)


def write_forever(folder: Path, committed_fd: int, make_record: MakeRecord, saves: bool, torn_at_bytes: int) -> None:
    """Print each part id, on a line of its own, once its commit has returned.

    With `torn_at_bytes` the kernel kills this process inside the write that would grow a file beyond that size.
    """
    database, store = open_both(folder)
    part_id = database.next_part_id()
    if torn_at_bytes:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (torn_at_bytes, resource.RLIM_INFINITY))
    while True:
        batch = range(part_id, part_id + 1 + part_id % 4)
        for part_id in batch:
            record = expected_record(part_id, make_record)
            database.add(record)
            if saves:
                database.set_picture(part_id, store.save(part_id, record.verdict.outcome, AT, picture_of(part_id)))
        os.write(committed_fd, b"".join(b"%d\n" % part_id for part_id in database.commit()))
        part_id = batch[-1] + 1


@contextmanager
def writing(folder: Path, *how: object) -> Iterator[tuple[ForkProcess, BinaryIO]]:
    """A process in `write_forever`, and what it prints."""
    read_fd, write_fd = os.pipe()
    writer = FORK.Process(target=write_forever, args=(folder, write_fd, *how))
    writer.start()
    os.close(write_fd)
    with os.fdopen(read_fd, "rb") as printed:
        yield writer, printed
    writer.join()


def check(folder: Path, make_record: MakeRecord) -> set[int]:
    """Whole or absent: every stored record and every picture under its final name. Returns the stored ids."""
    for path in (folder / "pictures").glob("*/*/[0-9]*"):
        assert np.array_equal(cv2.imread(str(path)), picture_of(int(path.name.split("-")[0])))
    database, store = open_both(folder)
    files = [path for path in (folder / "pictures").rglob("*") if path.is_file()]
    assert [path for path in files if path.name.endswith(".tmp")] == []
    assert store.used_bytes == sum(path.stat().st_size for path in files) <= BUDGET_BYTES
    records = list(database.records())
    assert records == [expected_record(record.trigger.part_id, make_record) for record in records]
    stored = {record.trigger.part_id for record in records}
    assert database.next_part_id() > max(stored, default=0) + 1000
    with closing(sqlite3.connect(folder / "records.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    database.close()
    return stored


def test_a_writer_killed_at_any_moment_loses_nothing_it_called_committed(tmp_path, make_record):
    chance = random.Random(7)
    committed: list[int] = []
    for _ in range(40):
        with writing(tmp_path, make_record, True, 0) as (writer, printed):
            first = printed.readline()
            writer.join(chance.uniform(0, 0.03))
            writer.kill()
            committed += [int(line) for line in (first + printed.read()).split()]
        assert writer.exitcode == -signal.SIGKILL
    assert check(tmp_path, make_record) >= set(committed)
    assert len(set(committed)) == len(committed) >= 40


def test_a_commit_torn_in_the_middle_of_a_write_is_whole_or_absent(tmp_path, make_record):
    chance = random.Random(8)
    committed: list[int] = []
    for _ in range(20):
        with writing(tmp_path, make_record, False, chance.randrange(50_000, 150_000)) as (writer, printed):
            committed += [int(line) for line in printed.read().split()]
        assert writer.exitcode == -signal.SIGXFSZ
        assert check(tmp_path, make_record) >= set(committed)
    assert len(set(committed)) == len(committed) >= 20


def test_a_picture_torn_in_the_middle_of_a_write_never_has_its_final_name(tmp_path, make_record):
    with writing(tmp_path, make_record, True, 40_000) as (writer, printed):
        assert printed.read() == b""
    assert writer.exitcode == -signal.SIGXFSZ
    torn = [path for path in (tmp_path / "pictures").rglob("*") if path.is_file()]
    assert [(path.name[-4:], path.stat().st_size) for path in torn] == [(".tmp", 40_000)]
    assert check(tmp_path, make_record) == set()
    assert not torn[0].exists()
