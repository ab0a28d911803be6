"""Accidents that a daemon meets once a year, each as a test."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil

from edge_runtime.interfaces import Output
from edge_runtime.protocol.messages import Down
from edge_runtime.values import Outcome

CLEAN, DEFECT, SEGV, ABORT, HANG, RUBBISH = 60, 101, 241, 242, 243, 244
SAFE = {output: output in (Output.REJECT, Output.FAULT) for output in Output}


def outcomes_of(station: Any) -> dict[int | None, Outcome]:
    return {result.line_seqno: result.outcome for result in station.results}


def paint_crowded(folder: Path, name: str) -> None:
    picture = np.full((256, 256, 3), CLEAN, np.uint8)
    for y in range(0, 256, 14):
        for x in range(0, 256, 14):
            picture[y : y + 4, x : x + 4] = DEFECT
    cv2.imwrite(str(folder / f"{name}.png"), picture)


def test_crowded(start_station: Any) -> None:
    station = start_station({"1": CLEAN})
    paint_crowded(station.folder / "pictures", "0")
    paint_crowded(station.folder / "pictures", "1")
    station.wait_until_ready()
    for seqno in range(25):
        station.trigger(seqno)
        station.until(lambda seqno=seqno: seqno in outcomes_of(station))
    print(station.results[-1])
    station.until(lambda: station.process.poll() is not None or len(station.results) > 30 or time.sleep(0.5) or True)
    assert station.stop() == 0
    assert len(station.records()) == 25


def test_office_dead_at_sigterm(start_station: Any) -> None:
    station = start_station({"1": CLEAN})
    station.wait_until_ready()
    office = station.children("office")[0]
    office.send_signal(signal.SIGSTOP)
    for seqno in range(5):
        station.trigger(seqno)
        station.until(lambda seqno=seqno: seqno in outcomes_of(station))
    station.process.send_signal(signal.SIGTERM)
    station.listen(0.2)
    office.kill()
    assert station.stop(timeout_s=25) == 0
    print(station.log[-3000:])
    assert len(station.records()) == 5


def test_sighup_group(start_station: Any) -> None:
    station = start_station({"1": CLEAN})
    station.wait_until_ready()
    everybody = [psutil.Process(station.process.pid), *psutil.Process(station.process.pid).children()]
    for each in everybody:
        each.send_signal(signal.SIGHUP)
    station.until(lambda: station.process.poll() is not None)
    station.until(lambda: any(isinstance(m, Down) for m in station.heard), 5)
    station.until(lambda: station.output_levels == SAFE, 5)


def test_line_stopped(start_station: Any) -> None:
    station = start_station({"1": CLEAN})
    station.wait_until_ready()
    station.process.send_signal(signal.SIGSTOP)
    station.until(lambda: any(isinstance(m, Down) for m in station.heard), 8)
    station.until(lambda: station.output_levels == SAFE, 8)


def test_refused_while_office_cannot_start(start_station: Any, tmp_path) -> None:
    (tmp_path / "station-0").mkdir()
    (tmp_path / "station-0" / "data").write_text("a file")
    station = start_station({"1": CLEAN})
    station.until(lambda: station.state != "")
    for n in range(3):
        station.trigger(n)
    t = time.monotonic() + 3
    station.until(lambda: time.monotonic() > t)
    print(station.heard, station.log[-2000:])
    os.remove(tmp_path / "station-0" / "data")
    station.wait_until_ready()
    t = time.monotonic() + 1
    station.until(lambda: time.monotonic() > t)
    print(station.results)
    assert not station.results


def test_bundle_replaced(start_station: Any, scripted_bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(scripted_bundle, copy)
    station = start_station({"1": CLEAN}, bundle=copy)
    station.wait_until_ready()
    m = copy / "manifest.json"
    m.write_text(m.read_text().replace('"1"', '"2"', 1))
    print(m.read_text()[:300])
    station.children("inspection")[0].kill()
    t = time.monotonic() + 3
    station.until(lambda: time.monotonic() > t)
    for seqno in range(6):
        station.trigger(seqno)
        station.until(lambda seqno=seqno: seqno in outcomes_of(station))
    assert station.stop() == 0
    print({r.verdict.model_id for r in station.records()}, station.log[-1500:])
    assert len({r.verdict.model_id for r in station.records()}) == 1


def test_data_folder_deleted(start_station: Any) -> None:
    station = start_station({"1": CLEAN})
    station.wait_until_ready()
    station.trigger(0)
    station.until(lambda: 0 in outcomes_of(station))
    time.sleep(0.3)
    shutil.rmtree(station.folder / "data")
    for seqno in range(1, 6):
        station.trigger(seqno)
        station.until(lambda seqno=seqno: seqno in outcomes_of(station))
    t = time.monotonic() + 3
    station.until(lambda: time.monotonic() > t)
    assert station.stop() == 0
    print(station.log[-1500:])
    assert len(station.records()) == 5
