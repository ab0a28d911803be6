"""The demo's summary: what the controller was told, how long it took, and how much of the known truth was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from edge_runtime.child_program import DATABASE_NAME
from edge_runtime.clock import SystemClock
from edge_runtime.commands.controller import Protocol
from edge_runtime.storage.database import Database
from edge_runtime.values import InspectionRecord, Outcome
from edge_runtime.vision.boards import CAMERA, Board, paint_board
from edge_runtime.vision.matching import match_boxes, padded

IOU_ABOVE = 1 / 3
PAD_PX = 10
TOO_SLOW = (("busy",), ("deadline",))


@dataclass(frozen=True)
class Recall:
    """Defects of all parts together: known ones hit, known ones, found ones; and parts judged right."""

    hits: int
    known: int
    found: int
    parts_right: int
    parts: int


def print_summary(console: Console, output: Path, protocol: Protocol, side_px: int | None) -> None:
    """Print the tables; with `side_px` the parts were synthetic boards of that size, whose defects are known."""
    records = read_records(output / "data" / DATABASE_NAME)
    table = Table("", "", title="Summary", show_header=False)
    for name, value in _counts(records) + _latencies(protocol, records):
        table.add_row(name, value)
    if side_px is not None and records:
        for name, value in _truth(compare_with_truth(records, side_px)):
            table.add_row(name, value)
    console.print(table)
    if lost := sum(record.verdict.reasons[:1] in TOO_SLOW for record in records):
        console.print(f"[yellow]{lost} parts came faster than this computer inspects them: take a lower --rate-hz[/]")
    console.print(f"records: {output}/data/{DATABASE_NAME}, pictures of rejected parts: {output}/data/pictures")


def read_records(path: Path) -> list[InspectionRecord]:
    database = Database(path, SystemClock())
    database.open_for_reading()
    try:
        return list(database.records())
    finally:
        database.close()


def compare_with_truth(records: Sequence[InspectionRecord], side_px: int) -> Recall:
    """By the DeepPCB rule: boxes padded by 10 px hit a known defect of their class when the IoU exceeds 1/3."""
    hits = known_count = found_count = right = 0
    inspected = [record for record in records if record.verdict.outcome is not Outcome.NOT_INSPECTED]
    for record in inspected:
        known = [(d.class_id, padded(d.xyxy_px, PAD_PX)) for d in _board_of(record.label, side_px).defects]
        found = [(d.class_id, padded(d.xyxy_px, PAD_PX), d.score) for d in record.verdict.defects]
        hits += sum(hit is not None for hit in match_boxes(found, known, IOU_ABOVE))
        known_count, found_count = known_count + len(known), found_count + len(found)
        right += (record.verdict.outcome is Outcome.REJECT) == bool(known)
    return Recall(hits, known_count, found_count, right, len(inspected))


def _board_of(label: str, side_px: int) -> Board:
    """The board that the synthetic camera labelled SEED/INDEX, painted again."""
    seed, index = label.split("/")
    return paint_board(int(seed), int(index), (side_px, side_px), CAMERA)


def _counts(records: Sequence[InspectionRecord]) -> list[tuple[str, str]]:
    outcomes = [record.verdict.outcome for record in records]
    return [("parts recorded", str(len(records)))] + [
        (outcome.value.replace("_", " ").lower(), str(outcomes.count(outcome))) for outcome in Outcome
    ]


def _latencies(protocol: Protocol, records: Sequence[InspectionRecord]) -> list[tuple[str, str]]:
    rows = [("trigger to verdict on the wire, ms", _percentiles(list(protocol.latency_ms.values())))]
    for stage in ("capture", "tiles", "decide"):
        rows.append((f"  {stage}, ms", _percentiles([r.stage_ms[stage] for r in records if stage in r.stage_ms])))
    return rows


def _percentiles(values: list[float]) -> str:
    if not values:
        return "none"
    p50, p95, p99 = np.percentile(values, [50, 95, 99])
    return f"p50 {p50:.0f}  p95 {p95:.0f}  p99 {p99:.0f}  max {max(values):.0f}"


def _truth(recall: Recall) -> list[tuple[str, str]]:
    return [
        ("known defects found (recall)", f"{recall.hits} of {recall.known}{_share(recall.hits, recall.known)}"),
        ("found defects real (precision)", f"{recall.hits} of {recall.found}{_share(recall.hits, recall.found)}"),
        ("parts judged right", f"{recall.parts_right} of {recall.parts}{_share(recall.parts_right, recall.parts)}"),
    ]


def _share(part: int, whole: int) -> str:
    return f" ({100 * part / whole:.1f} %)" if whole else ""
