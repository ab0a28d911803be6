"""The tables a job ends with, written from the parts in one pass of bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from edge_runtime.values import DefectClass
from tools.reinspection.comparison import Reinspected
from tools.reinspection.tables import ROWS_AT_A_TIME, Row, chunked, disk_errors, whole_file

PICTURES_NAME, DEFECTS_NAME = "pictures.parquet", "defects.parquet"
DEFECTS = pa.schema(
    [
        ("path", pa.string()),
        ("part_id", pa.int64()),
        ("n", pa.int32()),
        ("class_id", pa.uint8()),
        ("class", pa.string()),
        ("x0", pa.int32()),
        ("y0", pa.int32()),
        ("x1", pa.int32()),
        ("y1", pa.int32()),
        ("area_px", pa.int64()),
        ("area_mm2", pa.float64()),
        ("score", pa.float64()),
        ("zone", pa.string()),
    ]
)


def pictures_schema(classes: Sequence[DefectClass]) -> Any:
    """One `count_CLASS` column for each class of the bundle; the last columns are null without a device's records."""
    return pa.schema(
        [
            ("path", pa.string()),
            ("size_bytes", pa.int64()),
            ("height_px", pa.int32()),
            ("width_px", pa.int32()),
            ("outcome", pa.string()),
            ("reasons", pa.list_(pa.string())),
            ("error", pa.string()),
            ("defect_count", pa.int32()),
            *((f"count_{each.name}", pa.int32()) for each in classes),
            ("max_score", pa.float64()),
            ("tiles", pa.int32()),
            ("ms", pa.float64()),
            ("part_id", pa.int64()),
            ("old_outcome", pa.string()),
            ("old_reasons", pa.list_(pa.string())),
            ("old_defect_count", pa.int32()),
            ("old_model_id", pa.string()),
            ("change", pa.string()),
            ("defects_gone", pa.int32()),
            ("defects_new", pa.int32()),
        ]
    )


def write_tables(folder: Path, classes: Sequence[DefectClass], pictures: Iterable[Reinspected]) -> None:
    """Stream `pictures` into both tables, in their order. Raises StorageError and then leaves the old tables."""
    names = {each.class_id: each.name for each in classes}
    paths, schema = (folder / PICTURES_NAME, folder / DEFECTS_NAME), pictures_schema(classes)
    with disk_errors(folder), whole_file(paths[0], schema) as by_picture, whole_file(paths[1], DEFECTS) as by_defect:
        for some in chunked(pictures, ROWS_AT_A_TIME // 8):
            by_picture.write_table(pa.Table.from_pylist([picture_row(each, classes) for each in some], schema))
            rows = [row for each in some for row in defect_rows(each, names)]
            by_defect.write_table(pa.Table.from_pylist(rows, DEFECTS))


def picture_row(one: Reinspected, classes: Sequence[DefectClass]) -> Row:
    result, record, change = one.result, one.picture.record, one.change
    counts = Counter(defect.class_id for defect in result.defects)
    row: Row = {
        "path": one.picture.path,
        "size_bytes": one.picture.size_bytes,
        "outcome": result.outcome.value,
        "reasons": list(result.reasons),
        "error": result.error,
        "defect_count": len(result.defects),
        **{f"count_{each.name}": counts[each.class_id] for each in classes},
        "max_score": one.max_score,
        "tiles": result.tiles,
        "ms": result.ms,
    }
    if result.image_hw is not None:
        row["height_px"], row["width_px"] = result.image_hw
    if record is not None:
        old = ("outcome", "reasons", "defect_count", "model_id")
        row |= {"part_id": record.part_id, **{f"old_{name}": getattr(record, name) for name in old}}
    if change is not None:
        row |= {"change": change.verdict, "defects_gone": change.defects_gone, "defects_new": change.defects_new}
    return row


def defect_rows(one: Reinspected, class_names: dict[int, str]) -> list[Row]:
    part_id = one.picture.record.part_id if one.picture.record else None
    return [
        {
            "path": one.picture.path,
            "part_id": part_id,
            "n": n,
            "class_id": defect.class_id,
            "class": class_names[defect.class_id],
            **dict(zip(("x0", "y0", "x1", "y1"), defect.xyxy_px, strict=True)),
            "area_px": defect.area_px,
            "area_mm2": defect.area_mm2,
            "score": defect.score,
            "zone": defect.zone.value,
        }
        for n, defect in enumerate(one.result.defects)
    ]
