"""The whole daemon, from outside: triggers and accidents in, sentences, levels and rows out."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest

from edge_runtime.interfaces import Output
from edge_runtime.protocol.messages import Down, FaultChanged, Heartbeat, Status, StatusQuery, TriggerAccepted
from edge_runtime.signal_io.safe_levels import SAFE_ACTIVE
from edge_runtime.values import Outcome

CLEAN, DEFECT, SEGV, ABORT, HANG, RUBBISH = 60, 101, 241, 242, 243, 244
SAFE = {wired: SAFE_ACTIVE[wired] for wired in (Output.OK, Output.REJECT, Output.FAULT, Output.HEARTBEAT)}


def outcomes_of(station: Any) -> dict[int | None, Outcome]:
    return {result.line_seqno: result.outcome for result in station.results}


def test_each_trigger_gets_its_pictures_verdict_on_the_wire_and_in_the_records(start_station: Any) -> None:
    station = start_station({"1": CLEAN, "2": DEFECT, "3": CLEAN, "4": DEFECT})
    station.wait_until_ready()
    for seqno in range(8):
        station.trigger(seqno)
        station.until(lambda seqno=seqno: seqno in outcomes_of(station))
    assert outcomes_of(station) == {s: Outcome.REJECT if s % 2 else Outcome.PASS for s in range(8)}
    assert [m for m in station.heard if isinstance(m, TriggerAccepted)] == [TriggerAccepted(s, s + 1) for s in range(8)]
    assert station.stop() == 0
    records = station.records()
    assert [(r.trigger.part_id, r.line_seqno, r.verdict.outcome, r.label) for r in records] == [
        (s + 1, s, Outcome.REJECT if s % 2 else Outcome.PASS, f"{s % 4 + 1}.png") for s in range(8)
    ]
    rejected = records[1].verdict
    assert rejected.reasons == ("open: count 1 > 0",)
    assert [d.xyxy_px for d in rejected.defects] == [(60, 100, 90, 140)]
    assert Down("stopped") in station.heard
    assert station.output_levels == SAFE


def test_a_burst_of_triggers_is_answered_in_full(start_station: Any) -> None:
    station = start_station({"1": CLEAN})
    station.wait_until_ready()
    for seqno in range(100):
        station.trigger(seqno)
    station.until(lambda: len(outcomes_of(station)) == 100)
    station.say(StatusQuery())
    station.until(lambda: any(isinstance(m, Status) for m in station.heard))
    status = next(m for m in station.heard if isinstance(m, Status))
    assert status.triggers == 100 == status.passed + status.rejected + status.not_inspected
    assert station.stop() == 0
    assert [r.trigger.part_id for r in station.records()] == list(range(1, 101))


def test_a_crashing_hanging_or_lying_predictor_costs_its_own_part_only(start_station: Any) -> None:
    pictures = {"1": CLEAN, "2": SEGV, "3": DEFECT, "4": ABORT, "5": CLEAN, "6": RUBBISH, "7": HANG}
    station = start_station(pictures)
    for seqno in range(14):
        station.wait_until_ready()
        station.trigger(seqno)
        station.until(lambda seqno=seqno: seqno in outcomes_of(station))
    not_inspected, by_name = Outcome.NOT_INSPECTED, {"1": Outcome.PASS, "3": Outcome.REJECT, "5": Outcome.PASS}
    assert outcomes_of(station) == {s: by_name.get(str(s % 7 + 1), not_inspected) for s in range(14)}
    assert station.stop() == 0
    for record in station.records():
        assert record.verdict.decided_ns <= record.trigger.deadline_ns
        if record.verdict.outcome is not_inspected:
            assert record.verdict.reasons == ("worker_lost",)


def test_a_part_that_takes_too_long_is_not_inspected_at_its_deadline(start_station: Any) -> None:
    station = start_station({"1": HANG, "2": CLEAN}, deadline_ms=1000, guard_ms=500, hang_timeout_ms=20_000)
    station.wait_until_ready()
    station.trigger(0)
    station.until(lambda: 0 in outcomes_of(station))
    assert station.stop() == 0
    record = station.records()[0]
    assert (record.verdict.reasons, record.tile_px, record.engine) == (("deadline",), 0, "")
    assert 0 <= record.trigger.deadline_ns - record.verdict.decided_ns <= 500_000_000


def test_kill_9_of_the_daemon_leaves_the_outputs_safe_and_the_controller_told(start_station: Any) -> None:
    station = start_station({"1": CLEAN})
    station.wait_until_ready()
    station.trigger(0)
    station.until(lambda: 0 in outcomes_of(station))
    everybody = psutil.Process(station.process.pid).children(recursive=True)
    station.process.send_signal(signal.SIGKILL)
    station.until(lambda: Down("line_died") in station.heard)
    station.until(lambda: station.output_levels == SAFE)
    station.process.wait()
    _, alive = psutil.wait_procs(everybody, timeout=30)
    assert not alive, f"left behind: {alive}"
    assert [r.trigger.part_id for r in station.records()] == [1], "the office commits what the line had said"


def test_after_kill_9_the_ids_jump_so_that_the_gap_shows(start_station: Any, relaunch: Any) -> None:
    station = start_station({"1": CLEAN})
    station.wait_until_ready()
    station.trigger(0)
    station.until(lambda: 0 in outcomes_of(station))
    station.process.kill()
    station.until(lambda: Down("line_died") in station.heard)
    again = relaunch(station)
    again.wait_until_ready()
    again.trigger(0)
    again.until(lambda: bool(again.results))
    assert again.results[0].part_id > 1000
    assert again.stop() == 0


def test_a_dead_office_or_camera_is_started_again_and_no_record_is_lost(start_station: Any) -> None:
    station = start_station({"1": CLEAN, "2": DEFECT})
    station.wait_until_ready()
    for seqno in range(30):
        role = {5: "office", 10: "capture", 15: "office", 20: "capture"}.get(seqno)
        if role is not None:
            station.until(lambda role=role: bool(station.children(role)))  # parts are faster than a new child
            station.children(role)[0].kill()
        station.trigger(seqno)
        station.until(lambda seqno=seqno: seqno in outcomes_of(station))
    station.until(lambda: station.state == "ready")
    assert station.stop() == 0
    assert [r.line_seqno for r in station.records()] == list(range(30))


def test_sigterm_under_load_answers_every_part_and_exits_in_time(start_station: Any) -> None:
    station = start_station({"1": CLEAN, "2": HANG}, deadline_ms=60_000, hang_timeout_ms=60_000)
    station.wait_until_ready()
    for seqno in range(4):
        station.trigger(seqno)
    station.until(lambda: sum(isinstance(m, TriggerAccepted) for m in station.heard) == 4)
    assert station.stop() == 0
    assert len(outcomes_of(station)) == 4
    assert [r.line_seqno for r in station.records()] == [0, 1, 2, 3]
    assert station.output_levels == SAFE


@pytest.mark.parametrize("trigger", ["serial", "free_run"])
def test_what_the_template_shows_passes_and_a_picture_of_another_size_is_not_inspected(
    start_station: Any, template_bundle: Path, tmp_path: Path, trigger: str
) -> None:
    template, pictures = np.full((256, 256), CLEAN, np.uint8), {"1": CLEAN, "2": DEFECT, "3": DEFECT + 1}
    template[103:143, 55:85] = DEFECT  # the pictures' patch, moved by 3 rows and -5 columns
    cv2.imwrite(str(tmp_path / "good.png"), template)
    cv2.imwrite(str(tmp_path / "4.png"), template[:200])
    more = f'[recipe]\ntemplate = "{tmp_path / "good.png"}"\n'
    changes = {"bundle": template_bundle, "trigger": trigger, "loop": "false"}
    station = start_station(pictures, more=more, files=[tmp_path / "4.png"], **changes)
    if trigger == "serial":
        station.wait_until_ready()
        for seqno in range(4):
            station.trigger(seqno)
    station.until(lambda: len(station.results) == 4)
    assert station.stop() == 0
    records = station.records()
    assert [(r.label, r.verdict.outcome, r.verdict.reasons) for r in records] == [
        ("1.png", Outcome.PASS, ()),
        ("2.png", Outcome.PASS, ()),
        ("3.png", Outcome.REJECT, ("short: count 1 > 0",)),
        ("4.png", Outcome.NOT_INSPECTED, ("not_template_size",)),
    ]
    assert [d.xyxy_px for d in records[2].verdict.defects] == [(60, 100, 90, 140)]
    assert list((station.folder / "data" / "pictures").rglob("000000004-picture.jpg"))


def test_free_run_ends_with_the_pictures(start_station: Any) -> None:
    station = start_station({"1": CLEAN, "2": DEFECT, "3": CLEAN}, loop="false", trigger="free_run")
    station.until(lambda: station.process.poll() is not None)
    assert station.process.returncode == 0
    assert [r.verdict.outcome for r in station.records()] == [Outcome.PASS, Outcome.REJECT, Outcome.PASS]
    pictures = sorted(p.name for p in (station.folder / "data" / "pictures").rglob("*-*.*"))
    assert pictures == ["000000002-mask.png", "000000002-overlay.jpg", "000000002-picture.jpg"]


def test_a_stop_in_free_run_begins_no_new_part_and_keeps_every_record(start_station: Any) -> None:
    station = start_station({"1": CLEAN, "2": DEFECT}, trigger="free_run")
    station.until(lambda: len(station.results) > 10)
    assert station.stop() == 0
    assert {result.part_id for result in station.results} == {r.trigger.part_id for r in station.records()}
    assert "could not be kept" not in station.log


def test_a_camera_that_is_away_is_a_fault_until_it_is_back(start_station: Any) -> None:
    station = start_station({"1": CLEAN})
    station.wait_until_ready()
    (station.folder / "pictures").rename(station.folder / "away")
    station.trigger(0)
    station.until(lambda: station.state == "fault")
    assert outcomes_of(station)[0] is Outcome.NOT_INSPECTED
    assert FaultChanged("camera", True) in station.heard
    (station.folder / "away").rename(station.folder / "pictures")
    station.until(lambda: FaultChanged("camera", False) in station.heard)
    station.trigger(1)
    station.until(lambda: outcomes_of(station).get(1) is Outcome.PASS)
    assert station.stop() == 0


def test_a_camera_that_goes_while_no_part_comes_is_a_fault_at_once(start_station: Any) -> None:
    station = start_station({"1": CLEAN})
    station.wait_until_ready()
    (station.folder / "pictures").rename(station.folder / "away")
    station.until(lambda: station.state == "fault")
    assert FaultChanged("camera", True) in station.heard
    (station.folder / "away").rename(station.folder / "pictures")
    station.until(lambda: FaultChanged("camera", False) in station.heard)
    assert station.stop() == 0


def test_workers_that_never_start_are_a_fault_and_every_part_is_not_inspected(start_station: Any) -> None:
    station = start_station({"1": SEGV}, restarts_max=2, deadline_ms=1000)
    station.wait_until_ready()
    for seqno in range(100):
        station.trigger(seqno)
        station.until(lambda seqno=seqno: seqno in outcomes_of(station))
        station.heard = [message for message in station.heard if not isinstance(message, Heartbeat)]
        station.until(lambda: station.state != "")
        if station.state == "fault" and station.output_levels[Output.FAULT]:
            break
    assert station.state == "fault"
    assert FaultChanged("workers", True) in station.heard
    assert set(outcomes_of(station).values()) == {Outcome.NOT_INSPECTED}
    assert station.stop() == 0
