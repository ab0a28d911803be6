"""Pictures of inspected parts on disk: rejected parts first, a ring of good ones, never more bytes than the budget."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from edge_runtime.errors import StorageError
from edge_runtime.files import sync_folder, write_atomically
from edge_runtime.storage.rows import utc_text
from edge_runtime.values import Outcome, check_picture

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8

OK, NG = "OK", "NG"
_FOLDER = r"\d{4}-\d\d-\d\d/(?P<kind>NG|OK)/"
_NAME = r"(?P<part_id>\d{9,})-(?:picture|overlay|mask)\.(?:jpg|png)"
_SAVED = re.compile(_FOLDER + _NAME)
_TEMPORARY = re.compile(_FOLDER + r"\." + _NAME + r"\.[0-9a-f]+\.tmp")


def encode_jpeg(image: ImageU8, quality: int) -> memoryview:
    """`image` (H, W, 3) BGR as JPEG, `quality` 0..100."""
    return _encode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])


def encode_png(image: ImageU8) -> memoryview:
    """`image` (H, W) or (H, W, 3) BGR as PNG, without loss."""
    return _encode(".png", image, [])


def _encode(suffix: str, image: ImageU8, options: list[int]) -> memoryview:
    done, data = cv2.imencode(suffix, image, options)
    if not done:
        raise ValueError(f"cannot encode {image.dtype} {image.shape} as {suffix}")
    return data.data


@dataclass(frozen=True)
class _Saved:
    """The files of one part."""

    paths: tuple[Path, ...]
    size_bytes: int


class ImageStore:
    """Keeps pictures under `folder` as DATE/NG/PART-picture.jpg, -overlay.jpg, -mask.png, and DATE/OK/… likewise.

    At most `budget_bytes` of files and `keep_ok` parts of outcome PASS. Room is made by deleting the oldest OK part,
    then the oldest NG part; an OK part never displaces an NG part. Files with other names are not counted and never
    touched. `jpeg_quality` None stores picture and overlay as PNG.

    Synchronization: one thread of one process.
    """

    def __init__(
        self,
        folder: Path,
        budget_bytes: int,
        keep_ok: int,
        *,
        free_bytes_min: int = 0,
        jpeg_quality: int | None = 90,
    ) -> None:
        self._folder = folder
        self._budget_bytes = budget_bytes
        self._keep_ok = keep_ok
        self._free_bytes_min = free_bytes_min
        self._jpeg_quality = jpeg_quality
        self._parts: dict[str, dict[int, _Saved]] = {OK: {}, NG: {}}
        self._used_bytes = {OK: 0, NG: 0}
        self._failing = False
        self._dropped = 0

    @property
    def used_bytes(self) -> int:
        """Size of all files kept, as the file system states it."""
        return sum(self._used_bytes.values())

    @property
    def dropped(self) -> int:
        """How many parts could not be saved because of an error."""
        return self._dropped

    def open(self) -> None:
        """Count what is there, delete what a crash left half-written and what exceeds the limits.

        Raises StorageError when the folder cannot be made, read or cleared.
        """
        self._parts = {OK: {}, NG: {}}
        self._used_bytes = {OK: 0, NG: 0}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._scan()
            self._shrink(self._keep_ok, self._budget_bytes)
        except OSError as exc:
            raise StorageError(f"{self._folder}: cannot open the picture folder: {exc}") from exc

    def save(
        self,
        part_id: int,
        outcome: Outcome,
        triggered_at: datetime,
        picture: ImageU8,
        overlay: Callable[[], ImageU8] | None = None,
        mask: ImageU8 | None = None,
    ) -> str | None:
        """Write a part's files; returns the picture's path relative to the folder, or None when nothing is kept.

        `picture` uint8 (H, W, 3) BGR, `overlay` gives one when the picture is encoded, so it may be drawn over it;
        `mask` class ids uint8 (h, w). The date is that of `triggered_at`
        in UTC. Raises StorageError for the first of a row of failures; the later ones are only counted in `dropped`.
        """
        kind = OK if outcome is Outcome.PASS else NG
        if kind == OK and self._keep_ok < 1:
            return None
        try:
            self._check_free_space()
            files = self._encode_files(f"{part_id:09d}", picture, overlay, mask)
            saved = self._keep(kind, part_id, utc_text(triggered_at)[:10], files)
        except (OSError, ValueError, cv2.error) as exc:
            self._dropped += 1
            if self._failing:
                return None
            self._failing = True
            raise StorageError(f"{self._folder}: pictures are dropped from part {part_id} on: {exc}") from exc
        if saved is None:
            return None
        self._failing = False
        return saved.paths[0].relative_to(self._folder).as_posix()

    def _encode_files(
        self, stem: str, picture: ImageU8, overlay: Callable[[], ImageU8] | None, mask: ImageU8 | None
    ) -> dict[str, memoryview]:
        check_picture(picture)
        suffix = "png" if self._jpeg_quality is None else "jpg"
        files = {f"{stem}-picture.{suffix}": self._encode(picture)}
        if overlay is not None:
            files[f"{stem}-overlay.{suffix}"] = self._encode(overlay())
        if mask is not None:
            files[f"{stem}-mask.png"] = encode_png(mask)
        return files

    def _encode(self, image: ImageU8) -> memoryview:
        return encode_png(image) if self._jpeg_quality is None else encode_jpeg(image, self._jpeg_quality)

    def _keep(self, kind: str, part_id: int, date: str, files: dict[str, memoryview]) -> _Saved | None:
        size_bytes = sum(len(data) for data in files.values())
        if size_bytes > self._budget_bytes:
            raise ValueError(f"{size_bytes} bytes exceed the budget of {self._budget_bytes}; raise the budget")
        for old_kind in (OK, NG):
            if part_id in self._parts[old_kind]:
                self._delete(old_kind, part_id)
        if kind == OK and size_bytes > self._budget_bytes - self._used_bytes[NG]:
            return None
        self._shrink(self._keep_ok - (kind == OK), self._budget_bytes - size_bytes)
        paths = self._write(self._folder / date / kind, files)
        return self._remember(kind, part_id, _Saved(paths, size_bytes))

    def _check_free_space(self) -> None:
        if not self._free_bytes_min:
            return
        status = os.statvfs(self._folder)
        free_bytes = status.f_bavail * status.f_frsize
        if free_bytes < self._free_bytes_min:
            raise OSError(
                f"{free_bytes} bytes free, at least {self._free_bytes_min} must stay; free space on this disk"
            )

    def _write(self, folder: Path, files: dict[str, memoryview]) -> tuple[Path, ...]:
        """All of `files` or, when it raises OSError, none of them."""
        self._make_folder(folder)
        paths = tuple(folder / name for name in files)
        try:
            for path, data in zip(paths, files.values(), strict=True):
                write_atomically(path, data)
        except BaseException:
            for path in paths:
                path.unlink(missing_ok=True)
            raise
        return paths

    def _make_folder(self, folder: Path) -> None:
        for path in (folder.parent, folder):
            if not path.is_dir():
                path.mkdir()
                sync_folder(path.parent)

    def _remember(self, kind: str, part_id: int, saved: _Saved) -> _Saved:
        self._parts[kind][part_id] = saved
        self._used_bytes[kind] += saved.size_bytes
        return saved

    def _shrink(self, ok_parts_max: int, used_bytes_max: int) -> None:
        while len(self._parts[OK]) > ok_parts_max:
            self._delete_oldest(OK)
        while self.used_bytes > used_bytes_max:
            self._delete_oldest(OK if self._parts[OK] else NG)

    def _delete_oldest(self, kind: str) -> None:
        self._delete(kind, next(iter(self._parts[kind])))

    def _delete(self, kind: str, part_id: int) -> None:
        saved = self._parts[kind][part_id]
        for path in saved.paths:
            path.unlink(missing_ok=True)
        del self._parts[kind][part_id]
        self._used_bytes[kind] -= saved.size_bytes
        with suppress(OSError):  # not empty yet
            for folder in saved.paths[0].parents[:2]:
                folder.rmdir()

    def _scan(self) -> None:
        sizes: dict[tuple[int, str], dict[Path, int]] = {}
        for path in self._own_folders_files():
            name = path.relative_to(self._folder).as_posix()
            if _TEMPORARY.fullmatch(name):
                path.unlink()
            elif match := _SAVED.fullmatch(name):
                sizes.setdefault((int(match["part_id"]), match["kind"]), {})[path] = path.stat().st_size
        for (part_id, kind), files in sorted(sizes.items(), key=lambda item: item[0]):
            self._remember(kind, part_id, _Saved(tuple(sorted(files)), sum(files.values())))

    def _own_folders_files(self) -> Iterator[Path]:
        """Regular files below the folder; no link is followed."""
        for parent, _folders, names in os.walk(self._folder, onerror=_fail):
            for name in names:
                path = Path(parent, name)
                if stat.S_ISREG(path.lstat().st_mode):
                    yield path


def _fail(error: OSError) -> None:
    raise error
