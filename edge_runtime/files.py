"""Files on disk are whole or absent: the one function that writes."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_atomically(path: Path, data: bytes | memoryview, like: Path | None = None) -> None:
    """Make `path` hold `data`; after a power cut it holds the old content or the new, never a part. Raises OSError.

    Until the rename the data lies in a `.NAME.xxxxxxxx.tmp` beside it, which only a power cut leaves behind. It gets
    the owner and the rights of `like`, if that is given.
    """
    temporary = temporary_sibling(path)
    try:
        with open(temporary, "xb") as file:
            if like is not None:
                _take_rights(file.fileno(), like)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _take_rights(descriptor: int, like: Path) -> None:
    there, here = os.stat(like), os.fstat(descriptor)
    if (there.st_uid, there.st_gid) != (here.st_uid, here.st_gid):
        os.fchown(descriptor, there.st_uid, there.st_gid)
    os.fchmod(descriptor, there.st_mode & 0o777)


def temporary_sibling(path: Path) -> Path:
    """An unused hidden name in the same folder."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
