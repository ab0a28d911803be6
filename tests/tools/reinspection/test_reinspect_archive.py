"""What an archive holds: picture trees with odd names, and a device's records."""

import os
from datetime import datetime, timezone

import numpy as np
import pytest

from edge_runtime.clock import SystemClock
from edge_runtime.storage.database import Database
from edge_runtime.storage.image_store import ImageStore
from edge_runtime.values import Defect, InspectionRecord, Outcome, Trigger, Verdict
from tools.errors import ToolError
from tools.reinspection.archive import list_pictures, open_archive

DAY = datetime(2026, 11, 23, 10, tzinfo=timezone.utc)
BACKGROUND_GREY, OPEN_GREY = 10, 101


def names_in(folder):
    return [picture.path for picture in list_pictures(open_archive(folder))]


def picture_of(*greys):
    image = np.full((70, 100, 3), BACKGROUND_GREY, np.uint8)
    for n, grey in enumerate(greys):
        image[20:26, 10 + 12 * n : 16 + 12 * n] = grey
    return image


def record_of(part_id, outcome, boxes=()):
    defects = tuple(Defect(1, box, 36, None, 0.9) for box in boxes)
    reasons = () if outcome is Outcome.PASS else ("open: count 1 > 0",)
    verdict = Verdict(part_id, outcome, reasons, defects, len(defects), 5, "old/1@00000000", "default")
    return InspectionRecord(Trigger(part_id, 1, 10), verdict, DAY, None)


@pytest.fixture
def device(tmp_path):
    """A data_dir: part 1 passed and has a defect now, 2 was rejected and is clean, 3 is as it was, 4 lost its picture,
    5 never had one, 6 was not inspected."""
    folder = tmp_path / "data"
    database = Database(folder / "records.sqlite", SystemClock())
    database.open()
    store = ImageStore(folder / "pictures", 1 << 30, 100, jpeg_quality=None)
    store.open()
    parts = {
        1: (Outcome.PASS, (), (OPEN_GREY,)),
        2: (Outcome.REJECT, ((50, 50, 56, 56),), ()),
        3: (Outcome.REJECT, ((10, 20, 16, 26), (70, 40, 76, 46)), (OPEN_GREY, OPEN_GREY)),
        4: (Outcome.PASS, (), ()),
        5: (Outcome.PASS, (), None),
        6: (Outcome.NOT_INSPECTED, (), ()),
    }
    for part_id, (outcome, boxes, greys) in parts.items():
        database.add(record_of(part_id, outcome, boxes))
        if greys is not None:
            image = picture_of(*greys)
            path = store.save(part_id, outcome, DAY, image, overlay=lambda image=image: image, mask=image[..., 0])
            database.set_picture(part_id, path)
    database.close_cleanly()
    next((folder / "pictures").rglob("000000004-picture.png")).unlink()
    return folder


def test_pictures_of_any_depth_in_one_order_and_nothing_else(tmp_path, painted):
    for name in ("b.png", "a/z.JPG", "a/b/c.bmp", ".hidden/x.png", ".x.png", "d/000000007-overlay.jpg"):
        painted(tmp_path / name)
    (tmp_path / "d/000000007-mask.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("")
    assert names_in(tmp_path) == ["b.png", "a/z.JPG", "a/b/c.bmp"]


def test_an_empty_archive_is_refused(run, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ToolError, match="empty: holds no picture"):
        run(archive_folder=tmp_path / "empty")


def test_an_archive_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ToolError, match="no such folder"):
        open_archive(tmp_path / "nowhere")


def test_records_without_their_pictures_are_refused(device):
    (device / "pictures").rename(device / "elsewhere")
    with pytest.raises(ToolError, match="without the folder pictures"):
        open_archive(device)


def test_strange_names_become_rows(run, tables, tmp_path, painted):
    folder = tmp_path / "strange"
    for name in ("a|b`c<img src=x>.png", "line\nbreak.png"):
        painted(folder / name, OPEN_GREY)
    os.link(folder / "line\nbreak.png", os.fsencode(folder) + b"/\xff.png")
    finished = run(archive_folder=folder)
    pictures, _ = tables(finished.folder)
    assert {row["path"]: row["outcome"] for row in pictures} == {
        "a|b`c<img src=x>.png": "REJECT", "line\nbreak.png": "REJECT", "\\xff.png": "NOT_INSPECTED"
    }  # fmt: skip
    assert "<img src=x>" not in (finished.folder / "report.html").read_text()


def test_a_devices_records_stand_beside_what_is_found_now(run, tables, device):
    finished = run(archive_folder=device)
    pictures, defects = tables(finished.folder)
    columns = ("part_id", "old_outcome", "outcome", "change", "defects_gone", "defects_new")
    assert [tuple(row[name] for name in columns) for row in pictures] == [
        (1, "PASS", "REJECT", "PASS to REJECT", 0, 1),
        (2, "REJECT", "PASS", "REJECT to PASS", 1, 0),
        (3, "REJECT", "REJECT", "same", 1, 1),
        (6, "NOT_INSPECTED", "PASS", "NOT_INSPECTED to PASS", 0, 0),
    ]
    assert pictures[1]["old_reasons"] == ["open: count 1 > 0"]
    assert {row["old_model_id"] for row in pictures} == {"old/1@00000000"}
    assert [row["part_id"] for row in defects] == [1, 3, 3]
    assert finished.summary.changed_count == 3
    text = (finished.folder / "report.md").read_text()
    assert "| `2026-11-23/NG` | 2 | 1 | 0 | 3 |" in text
    assert "| PASS to REJECT | 1 |" in text


def test_a_picture_outside_the_folder_is_not_read(device):
    database = Database(device / "records.sqlite", SystemClock())
    database.open()
    database.add(record_of(7, Outcome.PASS))
    database.set_picture(7, "../records.sqlite")
    database.close_cleanly()
    assert len(names_in(device)) == 4


def test_a_picture_that_cannot_be_read_changed_nothing(run, tables, device):
    next((device / "pictures").rglob("000000001-picture.png")).write_bytes(b"")
    first = tables(run(archive_folder=device).folder)[0][0]
    assert (first["outcome"], first["old_outcome"], first["change"]) == ("NOT_INSPECTED", "PASS", None)
