"""The parent process: one selector loop around line control. Nothing slow, nothing native but the port drivers."""

from __future__ import annotations

import logging
import select
from collections.abc import Callable
from functools import partial

from edge_runtime.clock import NS_PER_MS, Clock
from edge_runtime.processes import freeze_garbage
from edge_runtime.runtime.child_desk import ChildDesk
from edge_runtime.runtime.children import Role
from edge_runtime.runtime.frame_ring import FrameRing
from edge_runtime.runtime.health import Fault
from edge_runtime.runtime.line_control import LineControl
from edge_runtime.runtime.line_rules import LineRules
from edge_runtime.runtime.line_snapshot import line_snapshot
from edge_runtime.runtime.messages import Publish
from edge_runtime.runtime.signals import Signals
from edge_runtime.runtime.snapshot import Snapshot, to_json
from edge_runtime.runtime.stop_rules import StopRule
from edge_runtime.runtime.stopping import Stopping
from edge_runtime.runtime.supervisor import Supervisor
from edge_runtime.runtime.takeover import Takeover
from edge_runtime.runtime.waiting import Poller, SignalWake

log = logging.getLogger(__name__)
TICK_NS = 100 * NS_PER_MS
PUBLISH_EVERY_NS = 200 * NS_PER_MS

Source = tuple[int, Callable[[], None]]


class Line:
    """Runs until it is told to stop or a finite picture source ends. Owns ring, signals and supervisor."""

    def __init__(
        self,
        station: str,
        rules: LineRules,
        supervisor: Supervisor,
        ring: FrameRing,
        signals: Signals,
        clock: Clock,
        stop_rule: StopRule,
        takeover: Takeover | None = None,
    ) -> None:
        self._station = station
        self._rules = rules
        self._supervisor = supervisor
        self._signals = signals
        self._clock = clock
        self._takeover = takeover or Takeover(None, supervisor, "")
        self._children = ChildDesk(
            rules, supervisor, ring, signals, clock, stop_rule, self._takeover, self._tick_at_once
        )
        self._desk = self._children.desk
        self._stopping = Stopping(self._desk, supervisor)
        self._next_tick_ns = 0
        self._next_publish_ns = 0
        self._poller = Poller()
        self._wake = SignalWake()

    def run(self) -> int:
        """Serve the line until told to stop; 0 after a clean stop. The outputs are safe when this returns or raises."""
        self._catch_signals()
        try:
            self._signals.open_lines(self._now_ns())
            self._supervisor.start_all(self._now_ns())
            freeze_garbage()  # while the children load
            while not self._finished():
                self._turn()
            self._supervisor.dismiss([Role.GUARD])  # it makes sure of the outputs when this process fails instead
        finally:
            self._signals.close("failed", self._now_ns())
            self._supervisor.kill_all()
        log.info("stopped, outputs are safe")
        return 0

    # -- the loop -----------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._wait_and_serve()
        now_ns = self._now_ns()
        self._desk.state = self._supervisor.state
        self._desk.work()
        if self._control is not None and not self._stopping.is_asked:
            self._desk.do(self._control.ask_free_run())
        if now_ns >= self._next_tick_ns:
            self._tick(now_ns)
        self._desk.tell_condition()
        self._children.field.show()

    def _wait_and_serve(self) -> None:
        sources = self._sources()
        for fd in self._poller.wait({fd: events for fd, (events, _) in sources.items()}, self._wait_ms()):
            sources[fd][1]()

    def _wait_ms(self) -> float:
        now_ns = self._now_ns()
        wake_ns = min(self._next_tick_ns, self._desk.next_wake_ns(now_ns))
        return max(0.0, (wake_ns - now_ns) / NS_PER_MS)

    def _sources(self) -> dict[int, Source]:
        """What to wait for now: file descriptor -> (poll events, what to do)."""
        sources: dict[int, Source] = {self._wake.fileno(): (select.POLLIN, self._wake.drain)}
        for child in self._supervisor.children:
            if child.birth is not None:
                sources[child.birth.fileno()] = (select.POLLIN, partial(self._children.meet, child))
            elif child.running:
                sources[child.pidfd] = (select.POLLIN, partial(self._children.gone, child))
            if child.channel is not None:
                sources[child.channel.fileno()] = (select.POLLIN, partial(self._children.hear, child))
        return sources | self._signal_sources()

    def _signal_sources(self) -> dict[int, Source]:
        wishes = [(wire, wire.poll_wish()) for wire in self._signals.wires]
        return {wish[0]: (wish[1], partial(self._desk.hear, wire)) for wire, wish in wishes if wish is not None}

    def _tick(self, now_ns: int) -> None:
        more_to_start = self._supervisor.tick(now_ns)
        self._next_tick_ns = now_ns if more_to_start else now_ns + TICK_NS
        self._children.work(now_ns)
        self._supervisor.judge(self._control, self._signals, self._latched_faults(), now_ns)
        self._desk.state = self._supervisor.state
        self._desk.show()
        if now_ns >= self._next_publish_ns and self._supervisor.ready(Role.OFFICE):
            self._next_publish_ns = now_ns + PUBLISH_EVERY_NS
            self._supervisor.one(Role.OFFICE).tell(Publish(to_json(self._snapshot(now_ns))))

    def _tick_at_once(self) -> None:
        self._next_tick_ns = 0

    def _snapshot(self, now_ns: int) -> Snapshot:
        control = self._control or LineControl(self._rules)
        at, told, engines = self._clock.utc_now(), self._takeover.told, self._children.engines
        return line_snapshot(self._station, control, self._desk, self._supervisor, told, engines, at, now_ns)

    def _latched_faults(self) -> list[Fault]:
        """What stands until the controller resets."""
        latched = {Fault.REJECTS: bool(self._desk.stop_rule.reason), Fault.GATE: self._children.gate.is_closed}
        return [fault for fault, stands in latched.items() if stands]

    # -- stopping -----------------------------------------------------------------------------------------------

    def _catch_signals(self) -> None:
        def ask_to_stop() -> None:
            self._stopping.ask(self._now_ns())

        def ask_to_take_over() -> None:
            self._takeover.ask()
            self._tick_at_once()

        self._wake.catch(ask_to_stop, ask_to_take_over)

    def _finished(self) -> bool:
        """Whether the last turn is done: parts answered, records on disk, or the time for it is over."""
        control = self._control
        if not self._stopping.is_asked:
            if control is None or not self._pictures_are_over(control):
                return False
            log.info("no more pictures")
            self._stopping.ask(self._now_ns())
        return self._stopping.finished(control, self._now_ns())

    def _pictures_are_over(self, control: LineControl) -> bool:
        return self._rules.free_run and control.end_of_pictures and not control.parts_in_flight

    @property
    def _control(self) -> LineControl | None:
        return self._desk.control

    def _now_ns(self) -> int:
        return self._clock.monotonic_ns()
