"""An InspectionRecord as database rows and back, without loss."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import groupby
from typing import Any

from edge_runtime.values import Defect, InspectionRecord, Outcome, TileCounts, Trigger, Verdict, Zone

PART_COLUMNS = (
    "part_id", "line_seqno", "triggered_at", "at_ns", "deadline_ns", "outcome", "reasons", "defect_count",
    "model_id", "recipe_id", "decided_ns", "stage_ms", "label", "recipe_number",
    "recipe_digest", "tiles_computed", "tiles_skipped", "tiles_audited", "tiles_missed",
    "tile_px", "engine",
)  # fmt: skip
DEFECT_COLUMNS = ("part_id", "n", "class_id", "x0", "y0", "x1", "y1", "area_px", "area_mm2", "score", "zone")

INSERT_PART = f"INSERT INTO parts ({', '.join(PART_COLUMNS)}) VALUES ({', '.join('?' * len(PART_COLUMNS))})"
INSERT_DEFECT = f"INSERT INTO defects ({', '.join(DEFECT_COLUMNS)}) VALUES ({', '.join('?' * len(DEFECT_COLUMNS))})"
SELECT_JOINED = f"""
    SELECT {", ".join(f"p.{name}" for name in PART_COLUMNS)}, {", ".join(f"d.{name}" for name in DEFECT_COLUMNS)}
    FROM (SELECT * FROM parts WHERE part_id >= ? ORDER BY part_id {{order}} LIMIT ?) AS p
    LEFT JOIN defects AS d ON d.part_id = p.part_id
    ORDER BY p.part_id {{order}}, d.n
"""
"""Parameters: first part id, number of parts; `order` is ASC or DESC. For `split_joined`."""

PART_ID_MAX = 2**62
"""Room above it keeps the arithmetic on ids inside SQLite's 64 bits."""

Row = tuple[Any, ...]


@dataclass(frozen=True)
class RecordRows:
    """One row of `parts` (without its picture) and its rows of `defects`, columns as named above.

    Two records have the same content exactly when their rows are equal.
    """

    part: Row
    defects: tuple[Row, ...]


def utc_text(moment: datetime) -> str:
    """ISO text in UTC with microseconds: of fixed width, so that text order is time order."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} carries no time zone")
    return moment.astimezone(timezone.utc).isoformat(timespec="microseconds")


def encode(record: InspectionRecord) -> RecordRows:
    """The rows of `record`. Raises ValueError for what SQLite could not give back unchanged."""
    trigger, verdict = record.trigger, record.verdict
    if trigger.part_id != verdict.part_id:
        raise ValueError(f"the trigger is of part {trigger.part_id}, the verdict of part {verdict.part_id}")
    if trigger.part_id > PART_ID_MAX:
        raise ValueError(f"part ids end at {PART_ID_MAX}")
    part = (
        trigger.part_id,
        record.line_seqno,
        utc_text(record.triggered_at),
        trigger.at_ns,
        trigger.deadline_ns,
        verdict.outcome.value,
        json.dumps(verdict.reasons),
        verdict.defect_count,
        verdict.model_id,
        verdict.recipe_id,
        verdict.decided_ns,
        json.dumps(record.stage_ms, sort_keys=True, allow_nan=False),
        record.label,
        record.recipe_number,
        record.recipe_digest,
        record.tiles.computed,
        record.tiles.skipped,
        record.tiles.audited,
        record.tiles.missed,
        record.tile_px,
        record.engine,
    )
    rows = RecordRows(part, tuple(_encode_defect(trigger.part_id, n, d) for n, d in enumerate(verdict.defects)))
    for row in (rows.part, *rows.defects):
        _check_storable(row)
    return rows


def _encode_defect(part_id: int, n: int, defect: Defect) -> Row:
    return (
        part_id, n, defect.class_id, *defect.xyxy_px, defect.area_px, defect.area_mm2, defect.score, defect.zone.value,
    )  # fmt: skip


def _check_storable(row: Row) -> None:
    for value in row:
        if isinstance(value, str):
            value.encode()  # a lone surrogate is a ValueError here
        elif isinstance(value, float):
            if not math.isfinite(value):
                raise ValueError(f"{value} is not a finite number")
        elif value is not None and not (isinstance(value, int) and -(2**63) <= value < 2**63):
            raise ValueError(f"{value!r} is not a 64-bit integer")


def split_joined(joined: Iterable[Row]) -> Iterator[RecordRows]:
    """Rows of `parts LEFT JOIN defects`, those of one part in sequence, as one RecordRows per part."""
    width = len(PART_COLUMNS)
    for part, group in groupby(joined, key=lambda row: row[:width]):
        defects = (row[width:] for row in group)
        yield RecordRows(part, tuple(row for row in defects if row[0] is not None))


def decode(rows: RecordRows) -> InspectionRecord:
    """The inverse of `encode`. Raises ValueError for rows that `encode` never made."""
    part = dict(zip(PART_COLUMNS, rows.part, strict=True))
    verdict = Verdict(
        part_id=part["part_id"],
        outcome=Outcome(part["outcome"]),
        reasons=tuple(json.loads(part["reasons"])),
        defects=tuple(_decode_defect(row) for row in rows.defects),
        defect_count=part["defect_count"],
        decided_ns=part["decided_ns"],
        model_id=part["model_id"],
        recipe_id=part["recipe_id"],
    )
    return InspectionRecord(
        trigger=Trigger(part["part_id"], part["at_ns"], part["deadline_ns"]),
        verdict=verdict,
        triggered_at=datetime.fromisoformat(part["triggered_at"]),
        line_seqno=part["line_seqno"],
        stage_ms=json.loads(part["stage_ms"]),
        label=part["label"],
        recipe_number=part["recipe_number"],
        recipe_digest=part["recipe_digest"],
        tiles=TileCounts(*(part[f"tiles_{name}"] for name in ("computed", "skipped", "audited", "missed"))),
        tile_px=part["tile_px"],
        engine=part["engine"],
    )


def _decode_defect(row: Sequence[Any]) -> Defect:
    _part_id, _n, class_id, x0, y0, x1, y1, area_px, area_mm2, score, zone = row
    return Defect(class_id, (x0, y0, x1, y1), area_px, area_mm2, score, Zone(zone))
