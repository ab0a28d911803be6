"""Records to store, and a database that is closed whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from edge_runtime.clock import ManualClock
from edge_runtime.storage.database import Database
from edge_runtime.values import Defect, InspectionRecord, Outcome, Trigger, Verdict, Zone

START = datetime(2026, 11, 23, 10, 0, tzinfo=timezone.utc)
DEFECTS = (
    Defect(1, (3, 4, 30, 40), 700, 7.25, 0.875),
    Defect(2, (0, 0, 1, 1), 1, None, 1.0, Zone.IGNORE),
)


def _make_record(part_id: int, outcome: Outcome = Outcome.REJECT, model_id: str = "pcb/3") -> InspectionRecord:
    passed = outcome is Outcome.PASS
    verdict = Verdict(
        part_id=part_id,
        outcome=outcome,
        reasons=() if passed else ("open: 2 > 0", "Kratzer größer als 3 mm²"),
        defects=() if passed else DEFECTS,
        defect_count=0 if passed else 5,
        decided_ns=part_id * 10**9 + 150_000_000,
        model_id=model_id,
        recipe_id="board-a",
    )
    return InspectionRecord(
        trigger=Trigger(part_id, part_id * 10**9, part_id * 10**9 + 200_000_000),
        verdict=verdict,
        triggered_at=START + timedelta(seconds=part_id, microseconds=7),
        line_seqno=part_id % 7 or None,
        stage_ms={"total": 150.0, "capture": 12.5, "queue": 0.1},
    )


@pytest.fixture
def make_record() -> Callable[..., InspectionRecord]:
    """`make_record(part_id, outcome=REJECT, model_id=…)`; part n is triggered n seconds after `start`."""
    return _make_record


@pytest.fixture
def start() -> datetime:
    return START


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.db"


@pytest.fixture
def open_database() -> Iterator[Callable[[Path], Database]]:
    """Opens databases for writing and closes them, unclean, when the test ends."""
    opened: list[Database] = []

    def open_one(path: Path) -> Database:
        database = Database(path, ManualClock())
        database.open()
        opened.append(database)
        return database

    yield open_one
    for database in opened:
        database.close()


@pytest.fixture
def database(path: Path, open_database: Callable[[Path], Database]) -> Database:
    return open_database(path)
