"""Opening: ids after each kind of stop, versions, damaged files, owners and readers."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from edge_runtime.clock import ManualClock
from edge_runtime.errors import StorageError
from edge_runtime.storage.database import Database
from edge_runtime.storage.schema import MIGRATIONS, migrate, schema_version
from edge_runtime.values import Outcome

VERSIONS = Path(__file__).parent / "versions"


def add_and_commit(database: Database, *records) -> None:
    for record in records:
        database.add(record)
    database.commit()


def meta(path: Path) -> dict[str, str]:
    with closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT key, value FROM meta"))


def test_ids_start_at_1_and_go_on_after_a_clean_stop(path, open_database, make_record):
    database = open_database(path)
    assert database.next_part_id() == 1
    database.add(make_record(1))
    assert database.next_part_id() == 2
    database.close_cleanly()
    assert not Path(f"{path}-wal").exists()
    assert open_database(path).next_part_id() == 2


def test_ids_jump_after_every_stop_that_was_not_clean(path, open_database, make_record):
    database = open_database(path)
    add_and_commit(database, make_record(41))
    database.close()
    database = open_database(path)
    assert database.next_part_id() == 1042
    database.close()
    database = open_database(path)
    assert database.next_part_id() == 2042
    database.close_cleanly()
    assert open_database(path).next_part_id() == 2042


def test_repeated_records_below_the_jump_are_taken(path, open_database, make_record):
    add_and_commit(database := open_database(path), make_record(41))
    database.close()
    add_and_commit(database := open_database(path), make_record(41), make_record(42))
    assert [record.trigger.part_id for record in database.records()] == [41, 42]
    assert database.next_part_id() == 1042


def test_the_meta_table_tells_the_state(path, open_database):
    database = open_database(path)
    told = meta(path)
    assert re.fullmatch(r"[0-9a-f]{16}", told.pop("file_id"))
    assert told == {"clean_stop": "0", "opened_at": "2026-01-01T00:00:00.000000+00:00", "last_record_no": "0"}
    database.close_cleanly()
    assert meta(path)["clean_stop"] == "1"


def test_records_not_committed_are_written_by_a_clean_close(path, open_database, make_record):
    database = open_database(path)
    database.add(make_record(1))
    database.close_cleanly()
    assert open_database(path).record(1) == make_record(1)


def test_the_file_is_in_wal_mode_and_is_read_by_others_while_open(path, database, make_record):
    add_and_commit(database, make_record(1))
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        other.execute("BEGIN")
        assert other.execute("SELECT count(*) FROM parts").fetchone() == (1,)
        add_and_commit(database, make_record(2))
        assert other.execute("SELECT count(*) FROM parts").fetchone() == (1,)


def test_a_second_owner_is_refused_until_the_first_lets_go(path, database, open_database, make_record):
    with pytest.raises(StorageError, match="open in another process"):
        open_database(path)
    add_and_commit(database, make_record(1))
    database.close_cleanly()
    assert open_database(path).next_part_id() == 2


def test_a_reader_beside_the_owner_sees_commits_and_changes_nothing(path, database, make_record):
    reader = Database(path, ManualClock())
    reader.open_for_reading()
    add_and_commit(database, make_record(1))
    assert reader.latest(1) == [make_record(1)]
    reader.add(make_record(2))
    with pytest.raises(StorageError, match="readonly"):
        reader.commit()
    reader.close()
    assert meta(path)["clean_stop"] == "0"
    assert database.latest(5) == [make_record(1)]


def test_a_reader_does_not_create_a_database(path):
    with pytest.raises(StorageError, match="unable to open"):
        Database(path, ManualClock()).open_for_reading()
    assert not path.exists()


def test_a_write_lock_held_elsewhere_delays_records_but_loses_none(path, database, make_record, monkeypatch):
    database.close()
    monkeypatch.setattr("edge_runtime.storage.sqlite_file.BUSY_TIMEOUT_MS", 10)
    database.open()
    database.add(make_record(1))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match=r"locked; another program holds a write transaction"):
            database.commit()
        other.execute("ROLLBACK")
    assert database.commit() == [1]


def test_a_newer_database_is_refused_and_left_as_it_was(path, open_database):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    before = path.read_bytes()
    with pytest.raises(StorageError, match=r"records\.db: was written by a newer version"):
        open_database(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS) + 1))
def test_every_earlier_version_is_migrated_with_its_data(path, open_database, make_record, version):
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((VERSIONS / f"{version}.sql").read_text(encoding="utf-8"))
        assert schema_version(connection) == version
    database = open_database(path)
    assert list(database.records()) == [make_record(1), make_record(2, Outcome.PASS), make_record(3)]
    assert database.picture(3) == "2026-11-23/NG/000000003-picture.jpg"
    assert database.next_part_id() == 4
    with closing(sqlite3.connect(path)) as connection:
        assert schema_version(connection) == len(MIGRATIONS)


def test_a_step_keeps_data_and_a_failing_step_leaves_the_last_good_version(path, database, make_record):
    add_and_commit(database, make_record(1))
    note = "ALTER TABLE parts ADD COLUMN note TEXT"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        with pytest.raises(sqlite3.Error, match="no_such_table"):
            migrate(connection, (*MIGRATIONS, note, "UPDATE parts SET note = 'lost'; DELETE FROM no_such_table"))
        assert schema_version(connection) == len(MIGRATIONS) + 1
        assert connection.execute("SELECT part_id, note FROM parts").fetchall() == [(1, None)]


def damage_header(path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)


def damage_pages(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def damage_one_page(path: Path) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 8192 * 4096
    content[middle : middle + 4096] = b"\xff" * 4096
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [damage_header, damage_pages, damage_one_page, cut_short])
def test_a_damaged_file_is_named_and_kept(path, open_database, make_record, damage):
    database = open_database(path)
    add_and_commit(database, *(make_record(part_id) for part_id in range(1, 300)))
    database.close()
    damage(path)
    before = path.read_bytes()
    with pytest.raises(StorageError, match=r"records\.db: .*the file is damaged: move it"):
        open_database(path)
    assert path.read_bytes() == before


def test_after_a_clean_stop_the_file_is_not_searched_for_damage(path, open_database, make_record):
    database = open_database(path)
    add_and_commit(database, *(make_record(part_id) for part_id in range(1, 300)))
    database.close_cleanly()
    damage_one_page(path)
    database = open_database(path)
    with pytest.raises(StorageError, match="the file is damaged: move it"):
        list(database.records())


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path, open_database):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"file/records\.db: cannot open"):
        open_database(tmp_path / "file" / "records.db")


FULL_DISK = """
import resource, sys
from pathlib import Path
from edge_runtime.clock import ManualClock
from edge_runtime.errors import StorageError
from edge_runtime.storage.database import Database
from edge_runtime.values import InspectionRecord, Outcome, Trigger, Verdict

def record(part_id):
    verdict = Verdict(part_id, Outcome.REJECT, ("x" * 2000,), (), 0, 1, "m", "r")
    return InspectionRecord(Trigger(part_id, 0, 1), verdict, ManualClock().utc_now(), None)

database = Database(Path(sys.argv[1]), ManualClock())
database.open()
database.add(record(1))
assert database.commit() == [1]
limit = Path(sys.argv[1] + "-wal").stat().st_size + 5000
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
for part_id in range(2, 52):
    database.add(record(part_id))
for attempt in range(2):
    try:
        database.commit()
    except StorageError as exc:
        print(exc)
assert [r.trigger.part_id for r in database.records()] == [1]
database.add(record(52))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert database.commit() == list(range(2, 53))
database.close_cleanly()
"""


def test_records_wait_in_memory_while_nothing_can_be_written(path, open_database):
    run = subprocess.run([sys.executable, "-c", FULL_DISK, path], capture_output=True, text=True, timeout=60)
    assert run.stderr == ""
    assert run.stdout.count("cannot write records") == 2
    assert [record.trigger.part_id for record in open_database(path).records()] == list(range(1, 53))


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 1 MiB; only a privileged user can mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("may not mount a file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(ballast: Path) -> None:
    """Write into `ballast` until the disk has no room for another byte."""
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        any(file.write(bytes(4096)) < 1 for _ in count())


def test_a_full_disk_says_so_and_loses_no_record(small_disk, make_record):
    database = Database(small_disk / "records.db", ManualClock())
    database.open()
    add_and_commit(database, make_record(1))
    ballast = small_disk / "ballast"
    fill(ballast)
    for part_id in range(2, 100):
        database.add(make_record(part_id))
    with pytest.raises(StorageError, match=r"is full; free space on this disk"):
        database.commit()
    assert database.latest(9) == [make_record(1)]
    ballast.unlink()
    assert database.commit() == list(range(2, 100))
    assert list(database.records()) == [make_record(part_id) for part_id in range(1, 100)]
    database.close_cleanly()
