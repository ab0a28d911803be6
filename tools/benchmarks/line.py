"""`python -m tools bench line`: what the daemon adds between a trigger and its result on the wire."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from edge_runtime.camera.belt import BeltScript, InView, write_script
from edge_runtime.clock import NS_PER_MS
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.interfaces import Input
from edge_runtime.protocol.messages import FROM_DEVICE, Heartbeat, Message, Result
from edge_runtime.protocol.sentence import Decoder
from edge_runtime.runtime.part_times import STATIONS
from edge_runtime.signal_io.edge_feed import EdgeSender, FedEdge
from edge_runtime.signal_io.recording import written
from edge_runtime.simulation.findings import percentile
from edge_runtime.simulation.station import TILE_PX, Station, write_scripted_bundle
from edge_runtime.simulation.toml_text import to_toml
from edge_runtime.values import InspectionRecord, Outcome
from tools.benchmarks.daemon import journals_folder
from tools.benchmarks.pauses import machine_pauses
from tools.benchmarks.report import Clerk, Report
from tools.progress import progress_bar

READY_WITHIN_S, STOP_WITHIN_S = 60.0, 10.0
DEADLINE_MS = 2000
PAUSES_S = 5.0
WARM_UP = 20
GOAL_P99_MS, GOAL_MAX_MS = 5.0, 20.0


@dataclass(frozen=True)
class Spread:
    """Milliseconds over all parts."""

    p50: float | None
    p99: float | None
    max: float | None

    @staticmethod
    def of(values_ms: Sequence[float]) -> Spread:
        return Spread(*(percentile(values_ms, share) for share in (0.5, 0.99, 1.0)))


@dataclass(frozen=True)
class LineFigures:
    """From the trigger's stamp to the result's write.

    `beyond_inference_ms` takes off the time from the first tile's start to the last one's end, as the workers measured
    it; `beyond_compute_ms` takes off the processor time alone that a tile was given, so it also holds what the workers
    lost to each other and to other programs. `answered`: triggers with a record. `priority_granted`: whether the kernel
    gave the wished priority. `hops_ms`: the ways from station to station of a record, and from the answer to `wire`.
    """

    priority: int
    priority_granted: bool
    triggers: int
    answered: int
    inspected: int
    rate_hz: float
    workers: int
    predict_ms: float
    trigger_to_wire_ms: Spread
    beyond_inference_ms: Spread
    beyond_compute_ms: Spread
    hops_ms: dict[str, Spread]

    @property
    def meets_goal(self) -> bool:
        spread = self.beyond_inference_ms
        if self.inspected < self.triggers or spread.p99 is None or spread.max is None:
            return False
        return spread.p99 <= GOAL_P99_MS and spread.max <= GOAL_MAX_MS


@dataclass(frozen=True)
class LineWish:
    """`predict_ms`: processor time of one tile; each part has a tile for each worker."""

    triggers: int
    rate_hz: float
    predict_ms: float
    workers: int
    priorities: Sequence[int]


def bench_line(wish: LineWish) -> Report:
    """One row for each priority, measured in a daemon of its own; before that, what the machine does by itself.

    Raises EdgeRuntimeError.
    """
    clerk, rows, pauses = Clerk("line"), [], machine_pauses(PAUSES_S)
    with progress_bar("triggers") as advance:
        for number, priority in enumerate(wish.priorities):
            told = count(number * wish.triggers + 1)
            with tempfile.TemporaryDirectory(prefix="bench-line-") as name, journals_folder() as journals:
                run = _Run(Path(name), journals, wish.triggers, wish.rate_hz, wish.predict_ms, wish.workers, priority)
                figures = run.measure(lambda told=told: advance(next(told), wish.triggers * len(wish.priorities)))  # type: ignore[misc]
            rows.append(asdict(figures) | {"meets_goal": figures.meets_goal})
    goal = f"beyond inference p99 at most {GOAL_P99_MS:g} ms, max {GOAL_MAX_MS:g} ms, every trigger inspected"
    conditions = {
        "triggers a second": wish.rate_hz, "workers": wish.workers, "ms a tile": wish.predict_ms, "goal": goal,
    }  # fmt: skip
    return clerk.report(conditions, rows, {"pauses": asdict(pauses)})


@dataclass(frozen=True)
class _Run:
    folder: Path
    journals: Path
    triggers: int
    rate_hz: float
    predict_ms: float
    workers: int
    priority: int

    def measure(self, advance: Callable[[], None]) -> LineFigures:
        (self.folder / "config.toml").write_text(to_toml(self._settings()), encoding="utf-8")
        write_script(self.folder / "belt.json", BeltScript((InView(0, 2**62, 1, False),)))
        station, sender = Station(self.folder, self.folder / "config.toml"), EdgeSender(self.folder / "inputs")
        try:
            station.start()
            self._wait_until_ready(station)
            self._trigger_all(sender, advance)
            time.sleep(DEADLINE_MS / 1000)
            station.ask_to_stop()
            end_s = time.monotonic() + STOP_WITHIN_S
            while not station.has_ended and time.monotonic() < end_s:
                time.sleep(0.05)
        finally:
            station.end()
            sender.close()
        granted = "no right to real-time priority" not in (self.folder / "daemon.log").read_text(encoding="utf-8")
        return self._figures(station.records()[WARM_UP:], granted)

    def _settings(self) -> dict[str, Any]:
        bundle = write_scripted_bundle(self.folder / "bundle")
        outputs = {"ok": {"line": 1, "pulse_ms": 5}, "reject": {"line": 2, "pulse_ms": 5}}
        return {
            "station": {"name": "bench", "data_dir": "data"},
            "camera": {"driver": "belt", "script": "belt.json", "width_px": TILE_PX * self.workers, "rate_hz": 1000},
            "inspection": {
                "bundle": str(bundle), "backend": "scripted", "workers": self.workers,
                "scripted_predict_ms": self.predict_ms, "scripted_busy": True,
            },
            "line": {
                "trigger": "gpio", "deadline_ms": DEADLINE_MS, "ring_slots": 16,
                "realtime_priority": self.priority, "heartbeat_ms": 200,
            },
            "serial": {"driver": "recording", "journal": str(self.journals / "wire.jsonl"), "acknowledge": False},
            "gpio": {
                "driver": "recording", "journal": str(self.journals / "outputs.jsonl"), "feed": "inputs",
                "inputs": {"trigger": {"line": 3}}, "outputs": outputs,
            },
            "archive": {"keep_ok_every": 0, "free_mb_min": 0},
        }  # fmt: skip

    def _wait_until_ready(self, station: Station) -> None:
        end_s, journal = time.monotonic() + READY_WITHIN_S, self.journals / "wire.jsonl"
        while not journal.exists() or not any(state == "ready" for state in self._states(journal)):
            if time.monotonic() > end_s or station.has_ended:
                raise EdgeRuntimeError(f"the daemon did not become ready; its log ends:\n{station.log_tail()}")
            time.sleep(0.05)

    def _states(self, journal: Path) -> list[str]:
        return [message.state for _, message in _told(journal) if isinstance(message, Heartbeat)]

    def _trigger_all(self, sender: EdgeSender, advance: Callable[[], None]) -> None:
        """An edge at irregular times, its stamp taken right before it is sent; the first ones are not counted."""
        chance, due_s = random.Random(1), time.monotonic()
        for number in range(self.triggers + WARM_UP):
            due_s += chance.uniform(0.7, 1.3) / self.rate_hz
            time.sleep(max(0.0, due_s - time.monotonic()))
            now_ns = time.monotonic_ns()
            sender.send([FedEdge(Input.TRIGGER, now_ns), FedEdge(Input.TRIGGER, now_ns, active=False)])
            if number >= WARM_UP:
                advance()

    def _figures(self, records: Sequence[InspectionRecord], granted: bool) -> LineFigures:
        at_ns = {
            message.part_id: at for at, message in _told(self.journals / "wire.jsonl") if isinstance(message, Result)
        }
        inspected = [
            r for r in records if r.verdict.outcome is not Outcome.NOT_INSPECTED and r.trigger.part_id in at_ns
        ]
        total_ms = [(at_ns[r.trigger.part_id] - r.trigger.at_ns) / NS_PER_MS for r in inspected]
        tiles_ms = [r.stage_ms["tiles"] for r in inspected]
        return LineFigures(
            priority=self.priority,
            priority_granted=granted,
            triggers=self.triggers,
            answered=len(records),
            inspected=len(inspected),
            rate_hz=self.rate_hz,
            workers=self.workers,
            predict_ms=self.predict_ms,
            trigger_to_wire_ms=Spread.of(total_ms),
            beyond_inference_ms=Spread.of([a - b for a, b in zip(total_ms, tiles_ms, strict=True)]),
            beyond_compute_ms=Spread.of([each - self.predict_ms for each in total_ms]),
            hops_ms=_hops_ms(inspected, total_ms),
        )


def _hops_ms(records: Sequence[InspectionRecord], total_ms: Sequence[float]) -> dict[str, Spread]:
    """What each way took, in the order of the path."""
    hops = {name: Spread.of([record.stage_ms[name] for record in records]) for name in STATIONS}
    wire_ms = [whole - record.stage_ms["total"] for record, whole in zip(records, total_ms, strict=True)]
    return hops | {"wire": Spread.of(wire_ms)}


def _told(journal: Path) -> list[tuple[int, Message]]:
    """What was written to the serial line, each sentence with the time of its write."""
    decoder = Decoder(FROM_DEVICE)
    return [(write.at_ns, message) for write in written(journal) for message in decoder.feed(write.data)]
