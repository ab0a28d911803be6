"""The moving line in real time: sends the belt's edges, plays controller and service manager, injects faults."""

from __future__ import annotations

import contextlib
import os
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edge_runtime.clock import NS_PER_MS, NS_PER_S, Clock
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.interfaces import Input
from edge_runtime.signal_io.edge_feed import FedEdge
from edge_runtime.simulation.belt import Level
from edge_runtime.simulation.cable import Cable
from edge_runtime.simulation.far_end import FarEnd
from edge_runtime.simulation.injector import Injector
from edge_runtime.simulation.plan import RunPlan
from edge_runtime.simulation.station import Station
from edge_runtime.simulation.truth import FOR_EVER_NS
from edge_runtime.simulation.wires import Wires

READY_WITHIN_S = 60.0
START_IN_S = 0.5
AFTER_S = 0.5
LONGEST_WAIT_MS = 20.0
ENCODER_BATCH_NS = 2 * NS_PER_MS
STOP_WITHIN_S = 25.0
REALTIME_PRIORITY = 20


@dataclass
class Seen:
    """What the machine did: which part each trigger was, by the edge's stamp or the number on the serial line.

    An edge may be stamped up to `stamp_slack_ns` after the machine made it. `latest_ns`: the longest that a part's edge
    reached its wire too late, because this process had to wait for a processor.
    """

    start_ns: int = 0
    stamp_slack_ns: int = 0
    latest_ns: int = 0
    edges: list[tuple[int, int]] = field(default_factory=list)
    part_by_seqno: dict[int, int] = field(default_factory=dict)
    triggered_ns: dict[int, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def part_at(self, stamp_ns: int) -> int | None:
        """The part whose edge was stamped so."""
        index = bisect_right(self.edges, (stamp_ns, FOR_EVER_NS)) - 1
        if index < 0 or stamp_ns - self.edges[index][0] > self.stamp_slack_ns:
            return None
        return self.edges[index][1]


class Machine:
    """Everything around the daemon, in one thread."""

    def __init__(
        self, plan: RunPlan, station: Station, cable: Cable, wires: Wires, clock: Clock, *,
        debounce_s: Mapping[Input, float],
        with_encoder: bool, serial_trigger: bool,
    ) -> None:  # fmt: skip
        self.far_end = FarEnd(cable, clock, plan.wish.seed)
        self.injector: Injector | None = None
        self.seen = Seen(stamp_slack_ns=wires.stamp_slack_ns)
        self._plan = plan
        self._station = station
        self._cable = cable
        self._wires = wires
        self._clock = clock
        self._levels = plan.belt.kernel_levels(debounce_s, with_encoder)
        self._upcoming = next(self._levels, None)
        self._serial_trigger = serial_trigger
        self._triggers = 0

    def wait_until_ready(self) -> None:
        """Start the daemon and listen until it inspects. Raises EdgeRuntimeError."""
        self._cable.plug()
        self._station.start()
        began_ns = self._clock.monotonic_ns()
        while not self.far_end.is_well_since(began_ns):
            self.far_end.listen(LONGEST_WAIT_MS)
            late = self._clock.monotonic_ns() - began_ns > READY_WITHIN_S * NS_PER_S
            if late or self._station.has_ended:
                raise EdgeRuntimeError(f"the daemon did not become ready; its log ends:\n{self._station.log_tail()}")

    def run(self, start_ns: int, on_progress: Callable[[float], None]) -> None:
        """Let the belt move from `start_ns` on until the last part is gone; `on_progress` gets the seconds done."""
        self.seen.start_ns = start_ns
        injector = Injector(self._plan, start_ns, self._station, self._cable, self.far_end, self._wires)
        self.injector = injector
        end_ns = start_ns + round((self._plan.end_s + AFTER_S) * NS_PER_S)
        while (now_ns := self._clock.monotonic_ns()) < end_ns:
            self._send_due(now_ns)
            injector.work(now_ns)
            self._keep_daemon(injector)
            self.far_end.listen(self._wait_ms(injector))
            on_progress((self._clock.monotonic_ns() - start_ns) / NS_PER_S)
        injector.give_up()
        self.seen.problems += injector.problems

    def stop(self) -> None:
        """End the daemon as a service manager does, and hear it out."""
        self._cable.plug()
        self._station.ask_to_stop()
        until_ns = self._clock.monotonic_ns() + round(STOP_WITHIN_S * NS_PER_S)
        while not self._station.has_ended and self._clock.monotonic_ns() < until_ns:
            self.far_end.listen(LONGEST_WAIT_MS)
        for _ in range(5):
            self.far_end.listen(LONGEST_WAIT_MS)
        if self._station.exit_code != 0:
            self.seen.problems.append(f"the daemon did not stop cleanly (exit code {self._station.exit_code})")
        self._station.end()

    # -- inside -------------------------------------------------------------------------------------------------

    def _at_ns(self, level: Level) -> int:
        return self.seen.start_ns + round(level.at_s * NS_PER_S)

    def _send_due(self, now_ns: int) -> None:
        """Send what has happened until now."""
        edges: list[FedEdge] = []
        while (upcoming := self._upcoming) is not None and (at_ns := self._at_ns(upcoming)) <= now_ns:
            if upcoming.input is Input.TRIGGER and upcoming.active:
                self.seen.latest_ns = max(self.seen.latest_ns, now_ns - at_ns)
                self._note_trigger(upcoming, at_ns)
            if not (self._serial_trigger and upcoming.input is Input.TRIGGER):
                edges.append(FedEdge(upcoming.input, at_ns, upcoming.active, upcoming.lost))
            self._upcoming = next(self._levels, None)
        self._wires.send(edges)

    def _note_trigger(self, level: Level, at_ns: int) -> None:
        """A part's front edge, or what looks like one, is at the photo-eye."""
        self.seen.triggered_ns.setdefault(level.part, at_ns)
        if self._serial_trigger:
            if not level.lost:
                self.far_end.trigger(self._triggers)
            self.seen.part_by_seqno[self._triggers] = level.part
            self._triggers += 1
        elif not level.lost:
            self.seen.edges.append((at_ns, level.part))

    def _keep_daemon(self, injector: Injector) -> None:
        if self._station.keep_running() and not injector.daemon_may_be_gone:
            self.seen.problems.append(f"the daemon ended by itself; its log ends:\n{self._station.log_tail(3)}")

    def _wait_ms(self, injector: Injector) -> float:
        now_ns = self._clock.monotonic_ns()
        wakes_ns = [now_ns + round(LONGEST_WAIT_MS * NS_PER_MS), injector.next_ns()]
        if self._wires.pending:
            wakes_ns.append(now_ns + NS_PER_MS)
        upcoming = self._upcoming
        if upcoming is not None:
            at_ns = self._at_ns(upcoming)
            is_eye = upcoming.input in (Input.TRIGGER, Input.EYE)
            wakes_ns.append(at_ns if is_eye else max(at_ns, now_ns + ENCODER_BATCH_NS))
        return max(0.0, (min(wakes_ns) - now_ns) / NS_PER_MS)


def put_machine_first() -> None:
    """A real belt waits for nobody: run before everything else where that is allowed."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(REALTIME_PRIORITY))
