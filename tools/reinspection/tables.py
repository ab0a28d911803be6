"""Parquet files, whole or absent: the list of pictures, one part a chunk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from edge_runtime.errors import StorageError
from edge_runtime.files import sync_folder, temporary_sibling, write_atomically
from edge_runtime.values import Defect, Outcome, Zone
from tools.reinspection.archive import ArchivePicture, Record
from tools.reinspection.values import PictureResult, Results

ROWS_AT_A_TIME = 8192
BOX = pa.list_(pa.int32(), 4)
RECORD_FIELDS = [
    ("part_id", pa.int64()),
    ("outcome", pa.string()),
    ("reasons", pa.list_(pa.string())),
    ("defect_count", pa.int32()),
    ("model_id", pa.string()),
    ("boxes", pa.list_(BOX)),
]
LISTING = pa.schema(
    [
        ("path", pa.string()),
        ("size_bytes", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("record", pa.struct(RECORD_FIELDS)),
    ]
)
DEFECT_FIELDS = [
    ("class_id", pa.uint8()),
    ("xyxy_px", BOX),
    ("area_px", pa.int64()),
    ("area_mm2", pa.float64()),
    ("score", pa.float64()),
    ("zone", pa.string()),
]
PART = pa.schema(
    [
        ("path", pa.string()),
        ("outcome", pa.string()),
        ("reasons", pa.list_(pa.string())),
        ("error", pa.string()),
        ("image_hw", pa.list_(pa.int32())),
        ("tiles", pa.int32()),
        ("ms", pa.float64()),
        ("defects", pa.list_(pa.struct(DEFECT_FIELDS))),
    ]
)

Item = TypeVar("Item")
Row = dict[str, Any]


def chunked(items: Iterable[Item], count: int) -> Iterator[list[Item]]:
    """Runs of `count` items, the last one shorter."""
    source = iter(items)
    while chunk := list(islice(source, count)):
        yield chunk


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """An OSError about `path` becomes a StorageError that says how to go on."""
    try:
        yield
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise StorageError(f"{path}: {reason}; make room or put it right, then run the same command again") from exc


@contextmanager
def whole_file(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """A writer whose file appears under `path` when the block ends well, and not at all otherwise."""
    temporary = temporary_sibling(path)
    try:
        with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            yield writer
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_listing(path: Path, pictures: Iterable[ArchivePicture]) -> tuple[int, str]:
    """Stream the list to `path`; how many pictures it has and the SHA-256 of their paths, sizes and times."""
    count, digest = 0, hashlib.sha256()
    with disk_errors(path), whole_file(path, LISTING) as writer:
        for some in chunked(pictures, ROWS_AT_A_TIME):
            digest.update(b"".join(map(_fingerprint, some)))
            writer.write_table(pa.Table.from_pylist([asdict(picture) for picture in some], LISTING))
            count += len(some)
    return count, digest.hexdigest()


def listing_digest(pictures: Iterable[ArchivePicture]) -> str:
    """What `write_listing` says of the same pictures."""
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(_fingerprint(picture))
    return digest.hexdigest()


def _fingerprint(picture: ArchivePicture) -> bytes:
    return f"{picture.path}\0{picture.size_bytes}\0{picture.mtime_ns}\n".encode()


def read_paths(path: Path) -> Iterator[str]:
    """The paths of a listing, in order."""
    for batch in pq.ParquetFile(path).iter_batches(ROWS_AT_A_TIME, columns=["path"]):
        yield from batch.column(0).to_pylist()


def read_listing(path: Path) -> Iterator[ArchivePicture]:
    """The pictures of a listing, in order."""
    for batch in pq.ParquetFile(path).iter_batches(ROWS_AT_A_TIME):
        for row in batch.to_pylist():
            yield ArchivePicture(**{**row, "record": row["record"] and _record(row["record"])})


def _record(row: Row) -> Record:
    return Record(**{**row, "reasons": tuple(row["reasons"]), "boxes": tuple(tuple(box) for box in row["boxes"])})


def write_part(path: Path, results: Results, job_id: str) -> None:
    """One chunk's results. Raises StorageError and then leaves no file."""
    table = pa.Table.from_pylist([_row(result) for result in results], PART.with_metadata({"job": job_id}))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    with disk_errors(path):
        write_atomically(path, sink.getvalue().to_pybytes())


def read_part(path: Path, job_id: str) -> list[PictureResult]:
    """The inverse of `write_part`. Raises StorageError for a file of another job and for one that is damaged."""
    try:
        table = pq.ParquetFile(path).read()
    except (OSError, pa.ArrowException) as exc:
        raise StorageError(f"{path}: cannot be read: {exc}; delete it and run the same command again") from exc
    if not table.schema.equals(PART) or (table.schema.metadata or {}).get(b"job") != job_id.encode():
        raise StorageError(f"{path}: belongs to another job; delete it and run the same command again")
    return [_result(row) for row in table.to_pylist()]


def _row(result: PictureResult) -> Row:
    row = {field.name: getattr(result, field.name) for field in fields(result)}
    return {**row, "outcome": result.outcome.value, "defects": [_defect_row(defect) for defect in result.defects]}


def _defect_row(defect: Defect) -> Row:
    return {**vars(defect), "zone": defect.zone.value}


def _result(row: Row) -> PictureResult:
    image_hw = None if row["image_hw"] is None else tuple(row["image_hw"])
    defects = tuple(
        Defect(**{**each, "xyxy_px": tuple(each["xyxy_px"]), "zone": Zone(each["zone"])}) for each in row["defects"]
    )
    changed = {"outcome": Outcome(row["outcome"]), "reasons": tuple(row["reasons"])}
    return PictureResult(**{**row, **changed, "image_hw": image_hw, "defects": defects})
