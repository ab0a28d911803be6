"""Promise 1, with everything going wrong at once: 2,000 triggers, one verdict each, in time, on record, none twice."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from typing import Any

import psutil

from edge_runtime.protocol.messages import Result, TriggerAccepted
from edge_runtime.values import Outcome

CLEAN, DEFECT, SEGV, HANG = 60, 101, 241, 243
TRIGGERS = 2000
SEND_EVERY_S = 0.025
HEALTHY_S = 0.5
CABLE_OUT_S = 0.4
ANSWER_WITHIN_S = 0.25


class Accidents:
    """Once the last one is healed, the next: a worker killed or stopped dead, office or camera dead, cable pulled."""

    def __init__(self, station: Any, seed: int) -> None:
        self.done: Counter[str] = Counter()
        self._station = station
        self._random = random.Random(seed)
        self._next_at = time.monotonic() + HEALTHY_S
        self._plug_at: float | None = None
        self._kinds = {
            "worker SIGKILL": lambda: self._kill("inspection", signal.SIGKILL),
            "worker SIGSEGV": lambda: self._kill("inspection", signal.SIGSEGV),
            "worker stopped": lambda: self._kill("inspection", signal.SIGSTOP),
            "office SIGKILL": lambda: self._kill("office", signal.SIGKILL),
            "camera SIGKILL": lambda: self._kill("capture", signal.SIGKILL),
            "cable pulled": self._pull,
        }

    def happen(self) -> None:
        now = time.monotonic()
        if self._plug_at is not None and now >= self._plug_at:
            self._station.cable.plug()
            self._plug_at = None
        if self._plug_at is not None or self._station.state not in ("ready", "inspecting"):
            self._next_at = now + HEALTHY_S
        if now >= self._next_at:
            self._next_at = now + HEALTHY_S
            kind = sorted(self._kinds)[self.done.total() % len(self._kinds)]
            self._kinds[kind]()
            self.done[kind] += 1

    def end(self) -> None:
        if self._plug_at is not None:
            self._station.cable.plug()
            self._plug_at = None

    def _kill(self, role: str, signum: int) -> None:
        victims = self._station.children(role)
        if victims:
            try:
                self._random.choice(victims).send_signal(signum)
            except psutil.NoSuchProcess:
                return

    def _pull(self) -> None:
        self._station.cable.pull()
        self._plug_at = time.monotonic() + CABLE_OUT_S


def send_all(station: Any, accidents: Accidents) -> None:
    """Trigger part after part; a trigger whose acceptance is not heard is repeated with its number."""
    accepted: set[int] = set()
    for seqno in range(TRIGGERS):
        sent_at = 0.0
        while seqno not in accepted:
            accidents.happen()
            assert station.process.poll() is None, station.log[-4000:]
            if station.cable.plugged and time.monotonic() - sent_at > ANSWER_WITHIN_S:
                station.trigger(seqno)
                sent_at = time.monotonic()
            accepted |= {m.line_seqno for m in station.listen(0.005) if isinstance(m, TriggerAccepted)}
        until = time.monotonic() + SEND_EVERY_S
        while time.monotonic() < until:
            accidents.happen()
            station.listen(0.005)


def test_2000_triggers_while_workers_camera_office_and_cable_fail(start_station: Any) -> None:
    pictures = {f"{n:02}": CLEAN for n in range(40)} | {"07": DEFECT, "13": DEFECT, "21": SEGV, "33": HANG}
    limits = {"deadline_ms": 500, "guard_ms": 50, "hang_timeout_ms": 900, "realtime_priority": 10, "ring_slots": 6}
    station = start_station(pictures, **limits)
    station.wait_until_ready()
    accidents = Accidents(station, seed=7)
    send_all(station, accidents)
    accidents.end()
    station.until(lambda: len({result.part_id for result in station.results}) >= TRIGGERS)
    assert station.stop() == 0

    told: dict[int, set[Result]] = {}
    for result in station.results:
        told.setdefault(result.part_id, set()).add(result)
    assert {part_id: len(different) for part_id, different in told.items() if len(different) != 1} == {}

    records = station.records()
    assert [r.trigger.part_id for r in records] == list(range(1, TRIGGERS + 1)), "one row a trigger, no gap"
    assert [r.line_seqno for r in records] == list(range(TRIGGERS)), "no trigger twice"
    wire = {part_id: next(iter(different)).outcome for part_id, different in told.items()}
    assert wire == {r.trigger.part_id: r.verdict.outcome for r in records}, "the wire and the records agree"
    late = [r.trigger.part_id for r in records if r.verdict.decided_ns > r.trigger.deadline_ns]
    assert late == []
    truth = {f"{n:02}.png": Outcome.PASS for n in range(40)} | dict.fromkeys(("07.png", "13.png"), Outcome.REJECT)
    wrong = [
        r for r in records
        if r.verdict.outcome is not Outcome.NOT_INSPECTED and r.verdict.outcome is not truth.get(r.label)
    ]  # fmt: skip
    assert wrong == []
    outcomes = Counter(r.verdict.outcome for r in records)
    print(dict(outcomes), dict(accidents.done), Counter(r.verdict.reasons for r in records if r.verdict.reasons))
    assert outcomes[Outcome.PASS] > TRIGGERS / 3, "healthy periods pass their good parts"
    assert len(accidents.done) == 6, "every kind of accident happened"
