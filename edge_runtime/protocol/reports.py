"""What the box tells a broker, as bytes: JSON in UTF-8, one object a message. docs/mqtt.md describes the keys."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_runtime.protocol.mqtt_topics import Kind, TopicRules
from edge_runtime.store_interfaces import FeedPosition, NumberedRecord
from edge_runtime.values import Defect, InspectionRecord

SCHEMA = 1
ONLINE, OFFLINE = b"online", b"offline"
MAX_REPLAY_BYTES = 1024


def record_payload(
    station: str, epoch: str, previous_no: int, numbered: NumberedRecord, class_names: Mapping[int, str]
) -> bytes:
    """One record. `previous_no` is the number of the record published before it, 0 for none.

    Numbers between the two were deleted from the database before they could be told.
    """
    return _bytes(
        {
            "schema": SCHEMA,
            "station": station,
            "epoch": epoch,
            "record_no": numbered.record_no,
            "previous_no": previous_no,
            **_record(numbered.record, class_names),
        }
    )


def _record(record: InspectionRecord, class_names: Mapping[int, str]) -> dict[str, Any]:
    verdict = record.verdict
    return {
        "part_id": verdict.part_id,
        "line_seqno": record.line_seqno,
        "triggered_at": record.triggered_at.isoformat(timespec="microseconds"),
        "outcome": verdict.outcome.value,
        "reasons": verdict.reasons,
        "defect_count": verdict.defect_count,
        "defects": [_defect(each, class_names) for each in verdict.defects],
        "model_id": verdict.model_id,
        "recipe_id": verdict.recipe_id,
        "recipe_number": record.recipe_number,
        "recipe_digest": record.recipe_digest,
        "stage_ms": record.stage_ms,
        "label": record.label,
        "tiles": asdict(record.tiles),
        "tile_px": record.tile_px,
        "engine": record.engine,
    }


def _defect(defect: Defect, class_names: Mapping[int, str]) -> dict[str, Any]:
    return {
        "class_id": defect.class_id,
        "class": class_names.get(defect.class_id),
        "xyxy_px": defect.xyxy_px,
        "area_px": defect.area_px,
        "area_mm2": defect.area_mm2,
        "score": defect.score,
        "zone": defect.zone.value,
    }


def state_payload(snapshot: Mapping[str, Any], reported: FeedPosition, deleted_unsent: int) -> bytes:
    """The box's state from its snapshot.json, and how far the broker has acknowledged records.

    Of the last verdicts only the newest is told, without its defects: each is a record of its own.
    """
    shown = {key: value for key, value in snapshot.items() if key != "last_verdicts"}
    last = (snapshot.get("last_verdicts") or [{}])[-1]
    shown["last"] = {key: last.get(key) for key in ("part_id", "outcome", "reasons")}
    shown["reported"] = {"epoch": reported.epoch, "record_no": reported.record_no, "deleted_unsent": deleted_unsent}
    return _bytes({"schema": SCHEMA, **shown})


class _Replay(BaseModel):
    """A consumer's wish: everything after this number again. Other keys are left alone."""

    model_config = ConfigDict(strict=True)
    epoch: str
    after: int = Field(ge=0, lt=2**63)


def parse_replay(payload: bytes) -> FeedPosition | None:
    """`{"epoch": "…", "after": N}`; None for anything else."""
    if len(payload) > MAX_REPLAY_BYTES:
        return None
    try:
        wish = _Replay.model_validate_json(payload)
    except ValidationError:
        return None
    return FeedPosition(wish.epoch, wish.after)


def discovery(rules: TopicRules, discovery_prefix: str, model: str) -> Iterator[tuple[str, bytes]]:
    """Topic and payload of each message by which Home Assistant finds this box; to be retained."""
    box = "edge_runtime_" + re.sub(r"[^A-Za-z0-9_-]", "_", rules.station)
    shared = {
        "availability_topic": rules.topic(Kind.STATUS),
        "state_topic": rules.topic(Kind.STATE),
        "device": {"identifiers": [box], "name": rules.station, "manufacturer": "edge-runtime", "model": model},
    }
    for component, key, entry in _ENTITIES:
        config = {"unique_id": f"{box}_{key}", **entry, **shared}
        yield f"{discovery_prefix}/{component}/{box}/{key}/config", _bytes(config)


def _counter(key: str, name: str) -> tuple[str, str, dict[str, str]]:
    entry = {"name": name, "value_template": f"{{{{ value_json.{key} }}}}", "state_class": "total_increasing"}
    return "sensor", key, entry


_ENTITIES: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("sensor", "state", {"name": "State", "value_template": "{{ value_json.state }}"}),
    (
        "binary_sensor",
        "fault",
        {
            "name": "Fault",
            "device_class": "problem",
            "value_template": "{{ 'ON' if value_json.faults else 'OFF' }}",
        },
    ),
    _counter("triggers", "Triggers"),
    _counter("passed", "Passed"),
    _counter("rejected", "Rejected"),
    _counter("not_inspected", "Not inspected"),
    ("sensor", "last_outcome", {"name": "Last outcome", "value_template": "{{ value_json.last.outcome }}"}),
    ("sensor", "last_part", {"name": "Last part", "value_template": "{{ value_json.last.part_id }}"}),
)


def _bytes(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
