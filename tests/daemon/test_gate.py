"""The gate in service: tiles skipped and counted, a wrong gate found by the audit, told, closed and opened again."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_runtime.protocol.messages import FaultChanged, ResetRequest
from edge_runtime.values import Outcome, TileCounts
from edge_runtime.vision.gate import is_audited
from tests.daemon.conftest import CLEAN, DEFECT, write_scripted

SIDE_PX, TILES, AUDIT_EVERY = 512, 4, 12
GOOD, BAD = DEFECT - CLEAN, DEFECT - CLEAN + 1  # the stray of a defect: it must not be below the threshold
PASS, REJECT = Outcome.PASS, Outcome.REJECT
PARTS = 40


def paint(path: Path, defects_xy: list[tuple[int, int]]) -> Path:
    picture = np.full((SIDE_PX, SIDE_PX, 3), CLEAN, np.uint8)
    for x, y in defects_xy:
        picture[y : y + 40, x : x + 30] = DEFECT
    cv2.imwrite(str(path), picture)
    return path


@pytest.fixture
def start(start_station: Any, tmp_path: Path) -> Any:
    """A line whose parts all look alike, with defects at the given places, four tiles each."""

    def start(threshold: float, defects_xy: list[tuple[int, int]], **changes: object) -> Any:
        bundle = write_scripted(tmp_path / "gated" / "1", takes_template=True, gate_threshold=threshold)
        template = paint(tmp_path / "template.png", [])
        more = f'[recipe]\ntemplate = "{template}"\n'
        settings = {"side_px": SIDE_PX, "gate_audit_every": AUDIT_EVERY, **changes}
        station = start_station({}, more=more, files=[paint(tmp_path / "1.png", defects_xy)], bundle=bundle, **settings)
        station.wait_until_ready()
        return station

    return start


def inspect(station: Any, count: int) -> None:
    """One part at a time, so that each finds the gate as the one before left it."""
    for _ in range(count):
        before = len(station.results)
        station.trigger(before)
        station.until(lambda before=before: len(station.results) > before)


def audited(part_id: int) -> int:
    return sum(is_audited(part_id, tile, AUDIT_EVERY) for tile in range(TILES))


def faults(station: Any) -> list[tuple[str, bool]]:
    return [(m.code, m.raised) for m in station.heard if isinstance(m, FaultChanged) and m.code == "gate"]


def snapshot(station: Any) -> dict[str, Any]:
    return json.loads((station.folder / "data" / "snapshot.json").read_bytes())


def test_clean_tiles_are_skipped_and_counted_and_a_tile_with_a_defect_is_computed(start: Any) -> None:
    station = start(GOOD, [(60, 100)])
    inspect(station, PARTS)
    station.until(lambda: snapshot(station)["passed"] + snapshot(station)["rejected"] == PARTS)
    shown = snapshot(station)
    assert station.stop() == 0
    records = station.records()
    assert {r.verdict.outcome for r in records} == {REJECT}
    assert {d.xyxy_px for r in records for d in r.verdict.defects} == {(60, 100, 90, 140)}
    audits = [sum(is_audited(r.trigger.part_id, tile, AUDIT_EVERY) for tile in (1, 2, 3)) for r in records]
    assert sum(audits) > 0
    assert [r.tiles for r in records] == [TileCounts(1 + n, 3 - n, n, 0) for n in audits]
    assert {(r.tile_px, r.engine) for r in records} == {(256, "scripted")}
    total = sum(audits)
    counts = {"computed": PARTS + total, "skipped": 3 * PARTS - total, "audited": total, "missed": 0}
    assert shown["tiles"] == counts
    assert faults(station) == []


def test_a_miss_closes_the_gate_is_told_and_stands_until_a_reset(start: Any) -> None:
    station = start(BAD, [(60, 100), (300, 300)])
    inspect(station, PARTS)
    station.until(lambda: faults(station) == [("gate", True)])
    station.until(lambda: snapshot(station)["faults"] == ["gate"])
    station.say(ResetRequest())
    station.until(lambda: faults(station) == [("gate", True), ("gate", False)])
    inspect(station, 1)
    assert station.stop() == 0
    *before_reset, after = station.records()
    found_at = next(n for n, r in enumerate(before_reset) if r.tiles.missed)
    assert [r.verdict.outcome for r in before_reset] == [PASS] * found_at + [REJECT] * (PARTS - found_at)
    let_through, found, full = before_reset[:found_at], before_reset[found_at], before_reset[found_at + 1 :]
    assert [r.tiles for r in let_through] == [TileCounts(n, 4 - n, n) for n in map(audited, range(1, found_at + 1))]
    assert len(found.verdict.defects) == 2, "what was skipped before the miss is computed after it"
    assert (found.tiles.computed, found.tiles.skipped) == (4, 0)
    assert {(r.tiles, len(r.verdict.defects)) for r in full} == {(TileCounts(4), 2)}
    assert after.tiles.skipped > 0 or after.tiles.missed > 0
    assert "the gate called a tile clean" in station.log


def test_a_closed_gate_outlives_the_daemon_until_another_version_is_taken_over(
    start: Any, relaunch: Any, tmp_path: Path
) -> None:
    station = start(BAD, [(60, 100)], gate_audit_every=1)
    inspect(station, 1)
    station.until(lambda: faults(station) == [("gate", True)])
    station.process.kill()
    station.process.wait()
    station = relaunch(station)
    station.until(lambda: faults(station) == [("gate", True)])
    config = station.folder / "config.toml"
    write_scripted(tmp_path / "gated" / "2", takes_template=True, gate_threshold=BAD, version="2")
    config.write_text(config.read_text().replace(str(tmp_path / "gated" / "1"), str(tmp_path / "gated" / "2")))
    station.process.send_signal(signal.SIGHUP)
    station.until(lambda: faults(station) == [("gate", True), ("gate", False)])
    assert station.stop() == 0
    assert [record.tiles.missed for record in station.records()] == [1]


def test_a_gate_that_is_switched_off_skips_nothing(start: Any) -> None:
    station = start(BAD, [(60, 100)], workers='1\ngate = "off"')
    inspect(station, 3)
    assert station.stop() == 0
    assert [(r.verdict.outcome, r.tiles) for r in station.records()] == [(REJECT, TileCounts(4))] * 3


def test_a_gate_that_the_golden_tiles_disprove_lets_no_worker_become_ready(start_station: Any, tmp_path: Path) -> None:
    paint(tmp_path / "template.png", [])
    faint = write_scripted(tmp_path / "faint" / "1", takes_template=True, gate_threshold=255.0, golden_grey=200)
    more = f'[recipe]\ntemplate = "{tmp_path / "template.png"}"\n'
    station = start_station({}, more=more, files=[paint(tmp_path / "1.png", [])], bundle=faint, side_px=SIDE_PX)
    station.until(lambda: "the gate calls it clean (score 200.0, threshold 255.0)" in station.log)
    assert station.state != "ready"
