"""Which pictures stay on disk, under which names, and what happens when they cannot be written."""

from __future__ import annotations

import os
import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.errors import StorageError
from edge_runtime.storage.image_store import ImageStore
from edge_runtime.values import Outcome

AT = datetime(2026, 11, 23, 23, 59, tzinfo=timezone.utc)
GRAY = np.full((20, 30, 3), 90, np.uint8)
MASK = np.arange(15 * 10, dtype=np.uint8).reshape(10, 15)
MIB = 1024 * 1024


def opened(folder: Path, budget_bytes: int = MIB, keep_ok: int = 100, **options) -> ImageStore:
    store = ImageStore(folder, budget_bytes, keep_ok, **options)
    store.open()
    return store


def files_below(folder: Path) -> dict[str, int]:
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def part_ids(folder: Path, kind: str) -> list[int]:
    return sorted(int(path.name.split("-")[0]) for path in folder.glob(f"*/{kind}/*-picture.*"))


def test_a_rejected_part_is_kept_as_picture_overlay_and_mask(tmp_path):
    store = opened(tmp_path, jpeg_quality=None)
    picture = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)
    path = store.save(123, Outcome.REJECT, AT, picture, lambda: GRAY, MASK)
    assert path == "2026-11-23/NG/000000123-picture.png"
    stem = str(tmp_path / "2026-11-23/NG/000000123")
    assert np.array_equal(cv2.imread(f"{stem}-picture.png"), picture)
    assert np.array_equal(cv2.imread(f"{stem}-overlay.png"), GRAY)
    assert np.array_equal(cv2.imread(f"{stem}-mask.png", cv2.IMREAD_UNCHANGED), MASK)
    assert len(files_below(tmp_path)) == 3


def test_pictures_are_jpeg_by_default_and_masks_never(tmp_path):
    opened(tmp_path).save(1, Outcome.REJECT, AT, GRAY, lambda: GRAY, MASK)
    day = "2026-11-23/NG/00000000"
    assert sorted(files_below(tmp_path)) == [f"{day}1-mask.png", f"{day}1-overlay.jpg", f"{day}1-picture.jpg"]
    assert abs(cv2.imread(str(tmp_path / f"{day}1-picture.jpg")).astype(int) - 90).max() <= 2


def test_a_lower_quality_takes_fewer_bytes(tmp_path):
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    sizes = []
    for quality in (30, 95):
        store = opened(tmp_path / str(quality), jpeg_quality=quality)
        store.save(1, Outcome.REJECT, AT, noise)
        sizes.append(store.used_bytes)
    assert sizes[0] < sizes[1] / 2


@pytest.mark.parametrize(
    ("outcome", "kind"), [(Outcome.PASS, "OK"), (Outcome.REJECT, "NG"), (Outcome.NOT_INSPECTED, "NG")]
)
def test_the_folder_tells_the_outcome_and_the_date_is_utc(tmp_path, outcome, kind):
    late = datetime(2026, 11, 23, 23, 30, tzinfo=timezone(timedelta(hours=-2)))
    assert opened(tmp_path).save(5, outcome, late, GRAY) == f"2026-11-24/{kind}/000000005-picture.jpg"


def test_a_picture_read_only_in_its_slot_can_be_saved(tmp_path):
    picture = GRAY.copy()
    picture.flags.writeable = False
    assert opened(tmp_path).save(5, Outcome.REJECT, AT, picture)


def test_the_ring_keeps_the_newest_good_parts(tmp_path):
    store = opened(tmp_path, keep_ok=3)
    for part_id in range(1, 8):
        store.save(part_id, Outcome.PASS, AT, GRAY)
    assert part_ids(tmp_path, "OK") == [5, 6, 7]
    assert opened(tmp_path, keep_ok=0).save(8, Outcome.PASS, AT, GRAY) is None
    assert files_below(tmp_path) == {}


def test_the_budget_takes_the_oldest_good_part_first_then_the_oldest_bad(tmp_path):
    store = opened(tmp_path / "one")
    store.save(1, Outcome.REJECT, AT, GRAY)
    store = opened(tmp_path / "kept", budget_bytes=4 * store.used_bytes)
    steps = [(1, "REJECT"), (2, "PASS"), (3, "REJECT"), (4, "PASS"), (5, "REJECT"), (6, "REJECT"), (7, "REJECT")]
    left = []
    for part_id, outcome in steps:
        store.save(part_id, Outcome(outcome), AT, GRAY)
        left.append((part_ids(tmp_path / "kept", "OK"), part_ids(tmp_path / "kept", "NG")))
    assert left[3:] == [([2, 4], [1, 3]), ([4], [1, 3, 5]), ([], [1, 3, 5, 6]), ([], [3, 5, 6, 7])]
    assert store.save(8, Outcome.PASS, AT, GRAY) is None
    assert part_ids(tmp_path / "kept", "NG") == [3, 5, 6, 7]


SAVES = st.lists(st.tuples(st.sampled_from(Outcome), st.integers(1, 60), st.booleans(), st.booleans()), max_size=15)


@settings(deadline=None, max_examples=25)  # each example waits for a disk
@given(saves=SAVES, budget_bytes=st.integers(3000, 40_000), keep_ok=st.integers(0, 4))
def test_the_budget_counts_real_file_sizes_and_is_never_exceeded(saves, budget_bytes, keep_ok, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    store = opened(folder, budget_bytes, keep_ok)
    noise = np.random.default_rng(2).integers(0, 256, (60, 30, 3), np.uint8)
    for part_id, (outcome, height_px, reopen, repeat) in enumerate(saves, start=1):
        store = opened(folder, budget_bytes, keep_ok) if reopen else store
        for _ in range(1 + repeat):
            store.save(part_id, outcome, AT + timedelta(hours=part_id), noise[:height_px].copy())
        assert store.used_bytes == sum(files_below(folder).values()) <= budget_bytes
        assert len(part_ids(folder, "OK")) <= keep_ok
    assert store.dropped == 0
    shutil.rmtree(folder)


def test_emptied_folders_go_and_part_ids_tell_the_age_even_when_the_clock_jumps_back(tmp_path):
    store = opened(tmp_path, keep_ok=2)
    for part_id, days in ((1, 0), (2, 0), (3, -300)):
        store.save(part_id, Outcome.PASS, AT + timedelta(days=days), GRAY)
    store = opened(tmp_path, keep_ok=1)
    assert sorted(files_below(tmp_path)) == ["2026-01-27/OK/000000003-picture.jpg"]
    assert [path.name for path in tmp_path.iterdir()] == ["2026-01-27"]


def test_files_of_others_are_neither_counted_nor_deleted(tmp_path):
    others = [
        "notes.txt",
        "2026-11-23/NG/note.jpg",
        "2026-11-23/NG/000000001-picture.jpg.bak",
        ".x.tmp",
        "a/NG/000000001-mask.png",
    ]
    for name in others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(5000))
    target = tmp_path / "target"
    target.write_bytes(bytes(5000))
    (tmp_path / "2026-11-23/NG/000000002-picture.jpg").symlink_to(target)
    store = opened(tmp_path, budget_bytes=3000, keep_ok=1)
    assert store.used_bytes == 0
    for part_id in range(10, 30):
        store.save(part_id, Outcome.REJECT, AT, GRAY)
    assert set(files_below(tmp_path)) > {*others, "target", "2026-11-23/NG/000000002-picture.jpg"}
    assert sum(files_below(tmp_path).values()) > 25_000


def test_what_a_crash_left_half_written_is_removed_at_open(tmp_path):
    store = opened(tmp_path)
    store.save(1, Outcome.REJECT, AT, GRAY, None, MASK)
    used_bytes = store.used_bytes
    leftover = tmp_path / "2026-11-23/NG/.000000002-overlay.jpg.0a1b2c3d.tmp"
    leftover.write_bytes(b"half")
    assert opened(tmp_path).used_bytes == used_bytes
    assert not leftover.exists()


def test_saving_a_part_again_replaces_its_files(tmp_path):
    store = opened(tmp_path)
    store.save(1, Outcome.REJECT, AT, GRAY, lambda: GRAY, MASK)
    store.save(1, Outcome.REJECT, AT + timedelta(days=1), GRAY)
    assert sorted(files_below(tmp_path)) == ["2026-11-24/NG/000000001-picture.jpg"]
    assert store.used_bytes == sum(files_below(tmp_path).values())


def test_failures_are_raised_once_per_edge_and_counted_always(tmp_path):
    store = opened(tmp_path)
    obstacle = tmp_path / "2026-11-23"

    def fail_three_times(part_id: int) -> None:
        obstacle.touch()
        with pytest.raises(StorageError, match=f"pictures are dropped from part {part_id} on: .*File exists"):
            store.save(part_id, Outcome.REJECT, AT, GRAY)
        assert [store.save(part_id + n, Outcome.REJECT, AT, GRAY) for n in (1, 2)] == [None, None]
        obstacle.unlink()

    fail_three_times(10)
    assert store.save(20, Outcome.REJECT, AT, GRAY) == "2026-11-23/NG/000000020-picture.jpg"
    shutil.rmtree(obstacle)
    fail_three_times(30)
    assert store.dropped == 6


def test_a_set_is_written_whole_or_not_at_all(tmp_path):
    store = opened(tmp_path)
    store.save(1, Outcome.REJECT, AT, GRAY)
    before = files_below(tmp_path)
    (tmp_path / "2026-11-23/NG/000000002-mask.png").mkdir()
    with pytest.raises(StorageError):
        store.save(2, Outcome.REJECT, AT, GRAY, lambda: GRAY, MASK)
    assert files_below(tmp_path) == before
    assert store.used_bytes == sum(before.values())


def test_a_part_larger_than_the_budget_costs_no_other_picture(tmp_path):
    store = opened(tmp_path, budget_bytes=3000)
    store.save(1, Outcome.REJECT, AT, GRAY)
    store.save(2, Outcome.PASS, AT, GRAY)
    noise = np.random.default_rng(3).integers(0, 256, (200, 200, 3), np.uint8)
    with pytest.raises(StorageError, match="exceed the budget of 3000; raise the budget"):
        store.save(3, Outcome.REJECT, AT, noise)
    assert (part_ids(tmp_path, "OK"), part_ids(tmp_path, "NG")) == ([2], [1])


def test_nothing_is_written_while_the_disk_has_too_little_room(tmp_path):
    status = os.statvfs(tmp_path)
    store = opened(tmp_path, free_bytes_min=2 * status.f_blocks * status.f_frsize)
    with pytest.raises(StorageError, match=r"bytes free, at least .* must stay; free space on this disk"):
        store.save(1, Outcome.REJECT, AT, GRAY)
    assert files_below(tmp_path) == {}
    assert opened(tmp_path, free_bytes_min=1).save(1, Outcome.REJECT, AT, GRAY)


@pytest.mark.parametrize(
    "picture", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_picture_is_a_storage_error(tmp_path, picture):
    with pytest.raises(StorageError, match="a picture must be uint8"):
        opened(tmp_path).save(1, Outcome.REJECT, AT, picture)


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot open the picture folder"):
        opened(tmp_path / "file")
