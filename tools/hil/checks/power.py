"""The power is cut while parts are recorded: the emulator is killed and started again on the same disk."""

from __future__ import annotations

import time
from concurrent.futures import Future
from typing import Any

from tools.hil.report import expect
from tools.hil.station import Station

ID_JUMP = 1000
PARTS = 100
PART_EVERY_MS = 200.0
COMMITTED_BEFORE_THE_CUT = 40


def cut(station: Station) -> str:
    """What anybody saw committed is there afterwards, the file is whole, and the ids jump."""
    station.become_ready()
    before = station.box.call("records.last_committed")
    steps = [(1, 60.0), (0, PART_EVERY_MS - 60.0)] * PARTS
    passing = station.box.start("gpio.pull_in_turn", line="TRIGGER", steps=steps)
    committed = _watch_commits(station, before, passing)
    told = list(station.controller.part_ids)
    station.cut_power_and_boot()
    expect(station.box.call("records.integrity") == "ok", "the database is damaged")
    kept = {part_id for part_id, _ in station.outcomes()}
    lost = set(range(before + 1, committed + 1)) - kept
    expect(not lost, f"committed and gone: {sorted(lost)}")
    return f"all {committed - before} committed records kept, {_told(told, before, kept)}, {_jump(station, max(kept))}"


def _watch_commits(station: Station, before: int, passing: Future[Any]) -> int:
    """The highest id that was seen committed, at the moment to cut the power."""
    committed = before
    while committed < before + COMMITTED_BEFORE_THE_CUT and not passing.done():
        committed = int(station.box.call("records.last_committed"))
        time.sleep(0.05)
    expect(not passing.done(), f"only {committed - before} records of {PARTS} parts")
    return committed


def _told(told: list[int], before: int, kept: set[int]) -> str:
    """The controller may know of parts whose records were still on their way to the disk."""
    new = [part_id for part_id in told if part_id > before]
    missing = [part_id for part_id in new if part_id not in kept]
    return f"{len(missing)} of {len(new)} told results without a record"


def _jump(station: Station, last: int) -> str:
    station.systemctl("start")
    station.pass_parts(1)
    station.until(lambda: station.outcomes()[-1][0] > last, "a part after the power cut")
    jump = station.outcomes()[-1][0] - last
    expect(jump >= ID_JUMP, f"ids went on by {jump}")
    return f"ids jump by {jump}"
