"""The folder of a job: what it is, which pictures it has, which chunks are done. One run at a time."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_runtime.files import write_atomically
from tools.errors import ToolError
from tools.reinspection.archive import Archive, list_pictures
from tools.reinspection.tables import chunked, disk_errors, read_part, read_paths, write_listing, write_part
from tools.reinspection.values import PictureResult, Results, Task

JOB_NAME, LISTING_NAME, PARTS_NAME, LOCK_NAME = "job.json", "listing.parquet", "parts", ".lock"
FORMAT = 2


@dataclass(frozen=True, kw_only=True)
class Means:
    """What the pictures of a job are inspected with, and how many of them make a chunk."""

    model_id: str
    bundle_digest: str
    recipe: dict[str, Any]
    template: str | None
    template_sha256: str | None
    tile_px: int | None
    chunk_pictures: int


@dataclass(frozen=True, kw_only=True)
class JobDescription(Means):
    """What makes two jobs the same: a chunk done for one is then good for the other."""

    archive: str
    pictures: int
    listing_sha256: str
    format: int = FORMAT

    @property
    def job_id(self) -> str:
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class JobFolder:
    """An opened job; chunks are numbered from 0 in the order of the list.

    Synchronization: one thread of one process.
    """

    def __init__(self, folder: Path, description: JobDescription) -> None:
        self.folder = folder
        self.description = description
        self.listing = folder / LISTING_NAME
        self._parts = folder / PARTS_NAME
        self._done = {int(path.stem) for path in self._parts.glob("[0-9]*.parquet")}

    @property
    def pictures_done(self) -> int:
        """Pictures whose chunk is on disk."""
        return sum(self._length(chunk) for chunk in self._done)

    def missing_tasks(self) -> Iterator[Task]:
        """The chunks that are not done, one at a time; not those done meanwhile."""
        for chunk, paths in enumerate(chunked(read_paths(self.listing), self.description.chunk_pictures)):
            if chunk not in self._done:
                yield Task(chunk, tuple(paths))

    def keep(self, chunk: int, results: Results) -> None:
        """Write a chunk's part. Raises StorageError."""
        write_part(self._part(chunk), results, self.description.job_id)
        self._done.add(chunk)

    def results(self) -> Iterator[PictureResult]:
        """All results in the order of the list. Raises StorageError for a part that is absent or of another job."""
        for chunk in range(-(-self.description.pictures // self.description.chunk_pictures)):
            yield from read_part(self._part(chunk), self.description.job_id)

    def _part(self, chunk: int) -> Path:
        return self._parts / f"{chunk:08d}.parquet"

    def _length(self, chunk: int) -> int:
        begin = chunk * self.description.chunk_pictures
        return max(0, min(self.description.chunk_pictures, self.description.pictures - begin))


@contextmanager
def open_job(folder: Path, archive: Archive, means: Means) -> Iterator[JobFolder]:
    """Begin a job in an empty folder, or go on with the same one; lists the whole archive.

    Raises ToolError and StorageError.
    """
    if archive.folder in (folder.absolute(), *folder.absolute().parents):
        raise ToolError(f"{folder}: lies inside the archive, whose pictures it would join; choose another --out")
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        _check_is_ours(folder)
        for path in folder.rglob(".*.tmp"):
            path.unlink()
        fresh = folder / f"new-{LISTING_NAME}"
        pictures, listing_sha256 = write_listing(fresh, list_pictures(archive))
        if not pictures:
            raise ToolError(f"{archive.folder}: holds no picture; name a folder of pictures or a device's data_dir")
        description = JobDescription(
            archive=str(archive.folder), pictures=pictures, listing_sha256=listing_sha256, **vars(means)
        )
        _begin_or_resume(folder, description, fresh)
        yield JobFolder(folder, description)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with disk_errors(folder), open(folder / LOCK_NAME, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise ToolError(f"{folder}: another reinspect works in it; wait for it, or choose another --out") from exc
        yield


def _check_is_ours(folder: Path) -> None:
    ours = {LOCK_NAME, LISTING_NAME, f"new-{LISTING_NAME}"}
    others = sorted(path.name for path in folder.iterdir() if path.name not in ours and not path.name.endswith(".tmp"))
    if others and not (folder / JOB_NAME).exists():
        raise ToolError(f"{folder}: holds {others[0]} and no {JOB_NAME}; choose a new or empty folder for --out")


def _begin_or_resume(folder: Path, description: JobDescription, fresh: Path) -> None:
    path = folder / JOB_NAME
    with disk_errors(path):
        if path.exists():
            fresh.unlink()
            _check_same(path, description)
        else:
            fresh.replace(folder / LISTING_NAME)
            write_atomically(path, json.dumps(asdict(description), indent=2).encode())
        (folder / PARTS_NAME).mkdir(exist_ok=True)


def _check_same(path: Path, description: JobDescription) -> None:
    try:
        stored = json.loads(path.read_bytes())
        different = [key for key, value in asdict(description).items() if stored.get(key) != value]
    except (ValueError, AttributeError) as exc:
        raise ToolError(f"{path}: is damaged: {exc}; choose a new folder for --out") from exc
    if different:
        was, is_now = stored.get(different[0]), asdict(description)[different[0]]
        raise ToolError(
            f"{path.parent}: holds another job: {', '.join(different)} differ ({different[0]} was {was}, is {is_now}); "
            "choose another --out, or give what that job was begun with to go on with it"
        )
