"""What happens once a year: each test is an accident, and a promise that holds all the same."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil

from edge_runtime.interfaces import Output
from edge_runtime.protocol.messages import Down, Refused, TriggerRequest
from edge_runtime.protocol.sentence import encode
from edge_runtime.signal_io.safe_levels import SAFE_ACTIVE
from edge_runtime.values import Outcome

CLEAN, DEFECT, HANG = 60, 101, 243
SAFE = {wired: SAFE_ACTIVE[wired] for wired in (Output.OK, Output.REJECT, Output.FAULT, Output.HEARTBEAT)}


def outcomes_of(station: Any) -> dict[int | None, Outcome]:
    return {result.line_seqno: result.outcome for result in station.results}


def send_parts(station: Any, count: int) -> None:
    for seqno in range(count):
        station.trigger(seqno)
        station.until(lambda seqno=seqno: seqno in outcomes_of(station))


def start_again(station: Any, **streams: Any) -> None:
    """The same daemon with other standard streams."""
    station.process.kill()
    station.until(lambda: any(isinstance(m, Down) for m in station.heard))
    station.process.wait()
    command = [sys.executable, "-m", "edge_runtime", "run", "--config", str(station.folder / "config.toml")]
    station.process = subprocess.Popen(command, **streams)
    station.heard.clear()
    station.wait_until_ready()


def kill_all(children: list[psutil.Process]) -> None:
    for child in children:
        child.kill()


# -- the line ---------------------------------------------------------------------------------------------------


def test_a_line_stopped_dead_is_ended_and_its_outputs_made_safe(start_station: Any) -> None:
    station = start_station({"1": CLEAN})
    station.wait_until_ready()
    station.process.send_signal(signal.SIGSTOP)
    station.until(lambda: Down("line_died") in station.heard)
    station.until(lambda: station.output_levels == SAFE)
    assert station.process.wait() == -signal.SIGKILL


def test_what_systemd_sends_to_a_dead_lines_group_keeps_nobody_from_the_last_work(start_station: Any) -> None:
    station = start_station({"1": CLEAN})
    station.wait_until_ready()
    guard, office = *station.children("guard"), *station.children("office")
    office.suspend()
    send_parts(station, 3)
    station.process.kill()
    for signum in (signal.SIGTERM, signal.SIGABRT):
        guard.send_signal(signum)
        office.send_signal(signum)
    office.resume()
    station.until(lambda: Down("line_died") in station.heard)
    station.until(lambda: station.output_levels == SAFE)
    psutil.wait_procs([guard, office], timeout=30)
    assert [record.trigger.part_id for record in station.records()] == [1, 2, 3]


def test_the_guard_waits_for_a_port_that_is_not_free_at_once(start_station: Any) -> None:
    station = start_station({"1": CLEAN})
    station.wait_until_ready()
    slave = os.readlink(station.cable.link)
    station.cable.link.unlink()
    station.process.kill()
    station.listen(0.3)
    assert Down("line_died") not in station.heard
    station.cable.link.symlink_to(slave)
    station.until(lambda: Down("line_died") in station.heard)


def test_a_terminal_that_hangs_up_stops_the_daemon_in_order(start_station: Any) -> None:
    station = start_station({"1": CLEAN})
    station.wait_until_ready()
    start_again(station, stdin=station.cable.slave_fd)
    line = psutil.Process(station.process.pid)
    for signum in (signal.SIGTSTP, signal.SIGHUP):
        for process in [*line.children(), line]:
            process.send_signal(signum)
    station.until(lambda: Down("stopped") in station.heard)
    station.until(lambda: station.process.poll() is not None)
    assert station.process.returncode == 0
    assert station.output_levels == SAFE


def test_nobody_reading_the_log_stops_nothing(start_station: Any) -> None:
    station = start_station({"1": CLEAN})
    station.wait_until_ready()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    while True:  # full from the first line on
        try:
            os.write(writer, b"x" * 4096)
        except BlockingIOError:
            break
    os.set_blocking(writer, True)
    try:
        start_again(station, stdout=writer, stderr=writer)
        send_parts(station, 5)
        kill_all(station.children("inspection"))
        station.wait_until_ready()
        assert set(outcomes_of(station).values()) == {Outcome.PASS}
        assert station.stop() == 0
    finally:
        os.close(reader)
        os.close(writer)


def test_closed_standard_streams_are_never_the_serial_port(start_station: Any) -> None:
    station = start_station({"1": CLEAN})
    station.wait_until_ready()
    start_again(station, preexec_fn=lambda: os.closerange(0, 3))
    send_parts(station, 3)
    assert set(outcomes_of(station).values()) == {Outcome.PASS}
    assert station.stop() == 0


def test_a_flood_of_triggers_makes_no_verdict_late(start_station: Any) -> None:
    station = start_station({"1": HANG}, deadline_ms=400, guard_ms=50, hang_timeout_ms=3000, realtime_priority=10)
    station.wait_until_ready()
    station.acknowledging = False
    os.set_blocking(station.cable.master_fd, False)
    flood, sent = b"".join(encode(TriggerRequest(seqno)) for seqno in range(20_000)), 0
    end = time.monotonic() + 2
    while time.monotonic() < end and sent < len(flood):
        try:
            sent += os.write(station.cable.master_fd, flood[sent:])
        except BlockingIOError:
            station.listen(0.001)
    os.set_blocking(station.cable.master_fd, True)
    assert station.stop() == 0
    records = station.records()
    assert len(records) > 500
    assert [r.trigger.part_id for r in records if r.verdict.decided_ns > r.trigger.deadline_ns] == []


def test_triggers_before_there_are_ids_are_refused_and_never_become_parts(start_station: Any, tmp_path: Path) -> None:
    (tmp_path / "station-0").mkdir()
    (tmp_path / "station-0" / "data").write_text("in the way of the data folder")
    station = start_station({"1": CLEAN})
    station.until(lambda: station.state == "starting")
    station.trigger(7)
    station.until(lambda: Refused("starting") in station.heard)
    (tmp_path / "station-0" / "data").unlink()
    station.wait_until_ready()
    station.trigger(7)
    station.until(lambda: 7 in outcomes_of(station))
    assert station.stop() == 0
    assert [(r.trigger.part_id, r.line_seqno) for r in station.records()] == [(1, 7)]


# -- the children -----------------------------------------------------------------------------------------------


def test_without_descriptors_children_are_started_later_and_parts_go_on(start_station: Any) -> None:
    station = start_station({"1": CLEAN}, deadline_ms=1000)
    station.wait_until_ready()
    # No number below this one is free, the workers' own are above it, and poll asks for no more descriptors at a time.
    resource.prlimit(station.process.pid, resource.RLIMIT_NOFILE, (12, 4096))
    kill_all(station.children("inspection"))
    station.until(lambda: "cannot be started" in station.log)
    send_parts(station, 3)
    resource.prlimit(station.process.pid, resource.RLIMIT_NOFILE, (1024, 4096))
    station.wait_until_ready()
    assert station.stop() == 0
    assert set(outcomes_of(station).values()) == {Outcome.NOT_INSPECTED}


def test_workers_with_two_models_never_share_a_line(start_station: Any, scripted_bundle: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(scripted_bundle, bundle)
    station = start_station({"1": CLEAN}, bundle=bundle)
    station.wait_until_ready()
    manifest = bundle / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": "1"', '"version": "2"'))
    station.children("inspection")[0].kill()
    station.until(lambda: "a bundle or template was replaced" in station.log)
    send_parts(station, 6)
    assert station.stop() == 0
    assert {r.verdict.model_id.split("@")[0] for r in station.records()} == {"scripted/1"}


def test_named_pipes_and_names_that_are_not_utf8_among_the_pictures(start_station: Any) -> None:
    station = start_station({"1": CLEAN})
    station.wait_until_ready()
    pictures = os.fsencode(station.folder / "pictures")
    shutil.copy(pictures + b"/1.png", pictures + b"/\xff.png")
    os.mkfifo(pictures + b"/3.png")
    kill_all(station.children("capture"))
    station.until(lambda: "fault camera cleared" in station.log)
    for seqno in range(6):
        station.wait_until_ready()
        station.trigger(seqno)
        station.until(lambda seqno=seqno: seqno in outcomes_of(station))
    assert station.stop() == 0
    inspected = [r.label for r in station.records() if r.verdict.outcome is Outcome.PASS]
    assert set(inspected) == {"1.png", "\ufffd.png"}


# -- the records ------------------------------------------------------------------------------------------------


def test_part_after_part_with_very_many_defects(start_station: Any) -> None:
    station = start_station({"1": CLEAN})
    picture = np.full((256, 256, 3), CLEAN, np.uint8)
    for y in range(0, 256, 14):
        for x in range(0, 256, 14):
            picture[y : y + 4, x : x + 4] = DEFECT
    cv2.imwrite(str(station.folder / "pictures" / "1.png"), picture)
    station.wait_until_ready()
    send_parts(station, 25)
    station.wait_until_ready()
    assert station.results[-1].defect_count > 200
    assert station.stop() == 0
    assert [len(r.verdict.defects) for r in station.records()] == [200] * 25


def test_an_office_that_dies_while_the_daemon_stops_is_started_again_for_the_records(start_station: Any) -> None:
    station = start_station({"1": CLEAN})
    station.wait_until_ready()
    office = station.children("office")[0]
    office.send_signal(signal.SIGSTOP)
    send_parts(station, 5)
    station.process.send_signal(signal.SIGTERM)
    station.listen(0.2)
    office.kill()
    assert station.stop() == 0
    assert [r.line_seqno for r in station.records()] == list(range(5))


def test_a_deleted_data_folder_takes_no_later_record_with_it(start_station: Any) -> None:
    station = start_station({"1": CLEAN})
    station.wait_until_ready()
    station.listen(0.2)
    shutil.rmtree(station.folder / "data")
    send_parts(station, 5)
    station.until(lambda: "storage: is well again" in station.log)
    assert station.stop() == 0
    assert [r.line_seqno for r in station.records()] == list(range(5))


def test_a_database_locked_while_the_line_dies_costs_no_record(start_station: Any) -> None:
    station = start_station({"1": CLEAN})
    station.wait_until_ready()
    other = sqlite3.connect(station.folder / "data" / "records.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    send_parts(station, 5)
    station.process.kill()
    station.until(lambda: "trying again to commit" in station.log)
    other.execute("ROLLBACK")
    other.close()
    station.until(lambda: len(station.records()) == 5)
    assert [r.line_seqno for r in station.records()] == list(range(5))


def test_children_are_started_the_long_way_until_the_next_fork_server_is_ready(start_station: Any) -> None:
    station = start_station({"1": CLEAN})
    station.wait_until_ready()
    for server in station.children("fork-server"):
        server.send_signal(signal.SIGSTOP)
    kill_all(station.children("inspection"))
    kill_all(station.children("office"))
    station.until(lambda: "the fork server is gone" in station.log)
    station.wait_until_ready()
    send_parts(station, 2)
    assert len(station.children("child_program inspection")) == 2
    station.until(lambda: "the next fork server is ready" in station.log)
    kill_all(station.children("inspection"))
    station.until(lambda: len(station.children("edge-runtime inspection")) == 2)
    station.wait_until_ready()
    assert station.stop() == 0
    assert set(outcomes_of(station).values()) == {Outcome.PASS}
    assert [record.line_seqno for record in station.records()] == [0, 1]
