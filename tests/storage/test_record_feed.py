"""The feed: every committed record once, in the order of the commits, whatever the part ids are."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_runtime.clock import ManualClock
from edge_runtime.errors import StorageError
from edge_runtime.storage.database import Database
from edge_runtime.storage.record_feed import SqliteRecordFeed


@pytest.fixture
def open_feed() -> Iterator[Callable[[Path], SqliteRecordFeed]]:
    opened: list[SqliteRecordFeed] = []

    def open_one(path: Path) -> SqliteRecordFeed:
        feed = SqliteRecordFeed(path)
        feed.open()
        opened.append(feed)
        return feed

    yield open_one
    for feed in opened:
        feed.close()


def commit(database: Database, *records) -> None:
    for record in records:
        database.add(record)
    database.commit()


def part_ids(feed: SqliteRecordFeed, after: int = 0) -> list[tuple[int, int]]:
    return [(each.record_no, each.record.trigger.part_id) for each in feed.after(after, 100)]


def test_a_lower_id_committed_later_comes_later_and_is_not_skipped(path, database, open_feed, make_record):
    feed = open_feed(path)
    commit(database, make_record(1), make_record(7))
    assert part_ids(feed) == [(1, 1), (2, 7)]
    commit(database, make_record(5), make_record(3))
    assert part_ids(feed, after=2) == [(3, 5), (4, 3)]
    assert feed.end().record_no == 4


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(order=st.permutations(range(1, 25)), cuts=st.lists(st.integers(1, 5), min_size=24, max_size=24))
def test_whoever_follows_the_numbers_gets_each_record_once(tmp_path_factory, make_record, order, cuts):
    path = tmp_path_factory.mktemp("feed") / "records.sqlite"
    database, feed = Database(path, ManualClock()), SqliteRecordFeed(path)
    database.open()
    feed.open()
    got, waiting = [], list(order)
    for size in cuts:
        batch, waiting = waiting[:size], waiting[size:]
        commit(database, *(make_record(part_id) for part_id in batch))
        while numbered := feed.after(len(got), 3):
            got += numbered
    database.close()
    feed.close()
    assert [each.record_no for each in got] == list(range(1, 25))
    assert [each.record for each in got] == [make_record(part_id) for part_id in order]


def test_a_reader_beside_a_busy_writer_misses_nothing(path, database, open_feed, make_record):
    feed, got = open_feed(path), []
    done = threading.Event()

    def read() -> None:
        reader = SqliteRecordFeed(path)
        reader.open()
        while not (done.is_set() and len(got) == reader.end().record_no):
            got.extend(each.record.trigger.part_id for each in reader.after(len(got), 7))
        reader.close()

    thread = threading.Thread(target=read)
    thread.start()
    ids = [block * 10 + n for block in range(30) for n in (9, 3, 7, 1)]
    for start in range(0, len(ids), 3):
        commit(database, *(make_record(part_id) for part_id in ids[start : start + 3]))
    done.set()
    thread.join()
    assert got == ids
    assert feed.end().record_no == len(ids)


def test_numbers_are_not_given_twice_when_the_newest_are_deleted(path, database, open_feed, make_record):
    commit(database, make_record(9), make_record(5))
    assert database.prune(1) == 1  # the lowest part id, which was committed last
    commit(database, make_record(6))
    assert part_ids(open_feed(path)) == [(1, 9), (3, 6)]


def test_numbers_go_on_over_failed_commits_and_restarts(path, database, open_database, open_feed, make_record):
    commit(database, make_record(1))
    database.close()
    commit(open_database(path), make_record(1), make_record(2))
    assert part_ids(open_feed(path)) == [(1, 1), (2, 2)]


def test_another_file_has_another_epoch(path, tmp_path, database, open_database, open_feed, make_record):
    feed = open_feed(path)
    epoch = feed.end().epoch
    assert not feed.was_replaced()
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").rename(tmp_path / f"old{suffix}")
    assert feed.was_replaced()
    database.add(make_record(1))
    with pytest.raises(StorageError):
        database.commit()
    database.commit()
    feed.open()
    assert not feed.was_replaced()
    assert (feed.end().record_no, feed.end().epoch != epoch) == (1, True)


def test_what_cannot_be_read_is_a_storage_error(path, open_feed):
    with pytest.raises(StorageError, match="No such file"):
        open_feed(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE anything (n)")
    with pytest.raises(StorageError, match="another version"):
        open_feed(path)
    with pytest.raises(StorageError, match="not open"):
        SqliteRecordFeed(path).end()


def test_the_feed_writes_nothing(path, database, open_feed, make_record):
    commit(database, make_record(1))
    feed = open_feed(path)
    with pytest.raises(StorageError, match="readonly"):
        feed._fetch("DELETE FROM parts WHERE part_id > ?", 0)
