"""How far records were reported, kept on disk: whole or absent."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_runtime.errors import StorageError
from edge_runtime.files import write_atomically
from edge_runtime.store_interfaces import FeedPosition

log = logging.getLogger(__name__)


class _Kept(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    epoch: str = Field(pattern=r"^[0-9a-f]{1,64}(\.[0-9]{1,9})?$")
    record_no: int = Field(ge=0, lt=2**63)


def resume(kept: FeedPosition | None, end: FeedPosition) -> FeedPosition:
    """Where to go on in a database whose newest commit is `end`.

    Another file is told from its beginning. A cursor beyond the end means that an older copy of the file was put back,
    which will give numbers a second time: they get an epoch of their own, the file's id and `.1`, `.2`, …
    """
    if kept is None or kept.epoch.partition(".")[0] != end.epoch:
        return FeedPosition(end.epoch, 0)
    if kept.record_no <= end.record_no:
        return kept
    file_id, _, generation = kept.epoch.partition(".")
    return FeedPosition(f"{file_id}.{int(generation or 0) + 1}", end.record_no)


class CursorFile:
    """One small JSON file. Raises StorageError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> FeedPosition | None:
        """None when there is none, or rubbish: everything is then told again, which consumers drop as repeats."""
        try:
            kept = _Kept.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise StorageError(f"{self._path}: cannot be read: {exc}") from exc
        except ValidationError as exc:
            log.error("%s is damaged, all records are reported again: %s", self._path, exc.errors()[0]["msg"])
            return None
        return FeedPosition(kept.epoch, kept.record_no)

    def write(self, position: FeedPosition) -> None:
        data = json.dumps({"epoch": position.epoch, "record_no": position.record_no})
        try:
            write_atomically(self._path, data.encode())
        except OSError as exc:
            raise StorageError(f"{self._path}: cannot be written: {exc}") from exc
