"""What an archive holds: a folder tree of pictures, or a device's records with the pictures they name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import nlargest
from pathlib import Path, PurePosixPath

from edge_runtime.clock import SystemClock
from edge_runtime.pictures import PICTURE_SUFFIXES
from edge_runtime.storage.database import Database
from edge_runtime.values import MAX_DEFECTS, Box, InspectionRecord
from tools.errors import ToolError

DATABASE_NAME, PICTURES_NAME = "records.sqlite", "pictures"
_NOT_A_CAMERA_PICTURE = re.compile(r"\d{9,}-(overlay\.(jpg|png)|mask\.png)")


@dataclass(frozen=True)
class Record:
    """What a device decided about a part when it passed. `boxes` are those of its largest defects."""

    part_id: int
    outcome: str
    reasons: tuple[str, ...]
    defect_count: int
    model_id: str
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class ArchivePicture:
    """A picture file: its path below the picture folder, with `/`; `record` in a device's archive alone."""

    path: str
    size_bytes: int
    mtime_ns: int
    record: Record | None = None


@dataclass(frozen=True)
class Archive:
    """`pictures_folder` is what the paths of its pictures are relative to."""

    folder: Path
    pictures_folder: Path
    has_records: bool


def open_archive(folder: Path) -> Archive:
    """The archive in a folder; one with `records.sqlite` is a device's. Raises ToolError."""
    folder = Path(os.path.abspath(folder))
    if not folder.is_dir():
        raise ToolError(f"{folder}: no such folder; name a folder of pictures or a device's data_dir")
    if not (folder / DATABASE_NAME).is_file():
        return Archive(folder, folder, has_records=False)
    if not (folder / PICTURES_NAME).is_dir():
        raise ToolError(f"{folder}: {DATABASE_NAME} without the folder {PICTURES_NAME}; copy it from the device too")
    return Archive(folder, folder / PICTURES_NAME, has_records=True)


def list_pictures(archive: Archive) -> Iterator[ArchivePicture]:
    """Every picture, one at a time, in an order that depends on the archive alone. Raises ToolError, StorageError.

    A device's archive gives the pictures that its records name and that are still there, by part id; other
    folders every file with a picture's suffix, however deep, but no hidden ones and no overlays and masks of a daemon.
    """
    return _recorded(archive) if archive.has_records else found_pictures(archive.folder)


def found_pictures(folder: Path) -> Iterator[ArchivePicture]:
    """Every picture of a folder tree, parents before children, by name. Raises ToolError for a closed folder."""
    for parent, names, files in os.walk(folder, onerror=_refuse):
        names[:] = sorted(name for name in names if not name.startswith("."))
        for name in sorted(filter(_is_picture, files)):
            path = Path(parent, name)
            yield described(path, path.relative_to(folder).as_posix())


def _refuse(error: OSError) -> None:
    raise ToolError(f"{error.filename}: cannot be read: {error.strerror}; give this user the right to read it")


def _is_picture(name: str) -> bool:
    suffix = os.path.splitext(name)[1].lower()
    return suffix in PICTURE_SUFFIXES and not name.startswith(".") and not _NOT_A_CAMERA_PICTURE.fullmatch(name)


def _recorded(archive: Archive) -> Iterator[ArchivePicture]:
    database = Database(archive.folder / DATABASE_NAME, SystemClock())
    database.open_for_reading()
    try:
        for record in database.records():
            name = database.picture(record.trigger.part_id)
            if name is not None and _stays_inside(name) and (archive.pictures_folder / name).is_file():
                yield described(archive.pictures_folder / name, name, _record(record))
    finally:
        database.close()


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _record(record: InspectionRecord) -> Record:
    verdict = record.verdict
    largest = nlargest(MAX_DEFECTS, verdict.defects, key=lambda defect: defect.area_px)
    boxes = tuple(defect.xyxy_px for defect in largest)
    return Record(
        verdict.part_id, verdict.outcome.value, verdict.reasons, verdict.defect_count, verdict.model_id, boxes
    )


def described(path: Path, name: str, record: Record | None = None) -> ArchivePicture:
    """The file at `path` under the name it has in lists.

    One that is gone meanwhile has size -1, and becomes an error when its turn comes. A name that is no UTF-8 is told
    with backslashes, and its picture is an error too.
    """
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    try:
        status = path.stat()
    except OSError:
        return ArchivePicture(text, -1, 0, record)
    return ArchivePicture(text, status.st_size, status.st_mtime_ns, record)
