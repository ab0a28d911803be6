"""The parent process: one selector loop around line control. Nothing slow, nothing native but the port drivers."""

from __future__ import annotations

import logging
import select
from collections.abc import Callable
from functools import partial

from edge_runtime.clock import NS_PER_MS, Clock
from edge_runtime.processes import freeze_garbage
from edge_runtime.runtime.changeover import Changeover
from edge_runtime.runtime.channel import ChannelClosed
from edge_runtime.runtime.children import Child, Role
from edge_runtime.runtime.desk import Desk
from edge_runtime.runtime.field_link import FieldLink
from edge_runtime.runtime.frame_ring import FrameRing
from edge_runtime.runtime.gate_keeper import GateKeeper
from edge_runtime.runtime.health import Fault
from edge_runtime.runtime.line_actions import Action, CancelFrame, OpenGate, StartFrame
from edge_runtime.runtime.line_control import LineControl
from edge_runtime.runtime.line_rules import LineRules
from edge_runtime.runtime.line_snapshot import line_snapshot
from edge_runtime.runtime.messages import (
    Archive,
    CameraTrouble,
    Capture,
    Captured,
    Committed,
    Failed,
    FieldCommands,
    FieldTrouble,
    Inspected,
    Left,
    Loaded,
    Message,
    MessageError,
    NotCaptured,
    Pong,
    Prepared,
    Publish,
    Ready,
    ReporterTrouble,
    SlotRead,
    StorageTrouble,
)
from edge_runtime.runtime.office_link import OfficeLink
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
MESSAGES_PER_TURN = 32
ALL_MESSAGES = 100_000

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
        self._ring = ring
        self._signals = signals
        self._clock = clock
        self._office = OfficeLink(supervisor)
        self._gate = GateKeeper(ring.gate, self._office)
        self._desk = Desk(signals, stop_rule, clock, self._carry_out, self._keep_recipe)
        self._takeover = takeover or Takeover(None, supervisor, "")
        self._field = FieldLink(signals, self._desk, supervisor)
        self._changeover = Changeover(self._takeover, supervisor, self._desk, rules.recipes)
        self._engines = ""
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
        self._field.show()

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
                sources[child.birth.fileno()] = (select.POLLIN, partial(self._meet, child))
            elif child.running:
                sources[child.pidfd] = (select.POLLIN, partial(self._gone, child))
            if child.channel is not None:
                sources[child.channel.fileno()] = (select.POLLIN, partial(self._hear, child))
        return sources | self._signal_sources()

    def _signal_sources(self) -> dict[int, Source]:
        wishes = [(wire, wire.poll_wish()) for wire in self._signals.wires]
        return {wish[0]: (wish[1], partial(self._desk.hear, wire)) for wire, wish in wishes if wish is not None}

    def _tick(self, now_ns: int) -> None:
        more_to_start = self._supervisor.tick(now_ns)
        self._next_tick_ns = now_ns if more_to_start else now_ns + TICK_NS
        if self._control is not None:
            self._office.repeat_records_if_due(self._control)
            self._office.keep_recipe(self._control)
            self._gate.work(self._control.models_in_use)
        if not self._stopping.is_asked:
            self._changeover.work(now_ns)
        if self._control is not None:
            self._control.sweep()
        self._supervisor.judge(self._control, self._signals, self._latched_faults(), now_ns)
        self._desk.state = self._supervisor.state
        self._desk.show()
        if now_ns >= self._next_publish_ns and self._supervisor.ready(Role.OFFICE):
            self._next_publish_ns = now_ns + PUBLISH_EVERY_NS
            self._supervisor.one(Role.OFFICE).tell(Publish(to_json(self._snapshot(now_ns))))

    def _snapshot(self, now_ns: int) -> Snapshot:
        control = self._control or LineControl(self._rules)
        at, told = self._clock.utc_now(), self._takeover.told
        return line_snapshot(self._station, control, self._desk, self._supervisor, told, self._engines, at, now_ns)

    def _latched_faults(self) -> list[Fault]:
        """What stands until the controller resets."""
        latched = {Fault.REJECTS: bool(self._desk.stop_rule.reason), Fault.GATE: self._gate.is_closed}
        return [fault for fault, stands in latched.items() if stands]

    # -- the children -------------------------------------------------------------------------------------------

    def _meet(self, child: Child) -> None:
        if not child.meet(self._now_ns()):
            self._gone(child)

    def _gone(self, child: Child) -> None:
        self._hear(child, message_limit=ALL_MESSAGES)
        if self._takeover.owns(child) and child.spec.role is not Role.PREPARER:
            self._takeover.refuse(f"{child.spec.name} has ended before it was ready")
        elif self._takeover.lost_preparer(child):
            self._takeover.refuse("the preparer has ended without an answer")
        working_on = self._ring.working_on(child.spec.index) if child.spec.role is Role.INSPECTION else None
        now_ns = self._now_ns()
        self._supervisor.gone(child, now_ns)
        self._next_tick_ns = now_ns
        if self._control is None:
            return
        if child.spec.role is Role.CAPTURE:
            self._desk.do(self._control.camera_lost(now_ns))
        elif child.spec.role is Role.INSPECTION:
            self._ring.rest(child.spec.index)
            self._desk.do(self._control.worker_lost(child.spec.index, working_on, now_ns))
        elif child.spec.role is Role.OFFICE:
            self._control.office_lost()

    def _hear(self, child: Child, message_limit: int = MESSAGES_PER_TURN) -> None:
        """Take what a child says, a bounded number of messages a turn; rubbish and a closed channel end it."""
        try:
            for _ in range(message_limit):
                message = child.channel.receive() if child.channel is not None else None
                if message is None:
                    return
                child.heard(self._now_ns())
                self._take(child, message)
        except ChannelClosed:
            child.hang_up(self._now_ns())
        except MessageError as exc:
            log.error("%s said nonsense; killing it: %s", child.spec.name, exc)
            child.kill()

    def _take(self, child: Child, message: Message) -> None:
        now_ns = self._now_ns()
        if isinstance(message, Ready):
            self._child_ready(child, message)
        elif isinstance(message, Pong):
            child.answered(now_ns)
        elif isinstance(message, Failed):
            log.error("%s: %s", child.spec.name, message.reason)
            if self._takeover.owns(child):
                self._takeover.refuse(message.reason)
        elif isinstance(message, Prepared):
            self._takeover.prepared(child, message, now_ns)
        elif isinstance(message, Loaded):
            child.answered(now_ns)
            self._takeover.loaded(message)
        elif isinstance(message, CameraTrouble):
            self._supervisor.camera_trouble = message.reason
        elif isinstance(message, StorageTrouble):
            self._supervisor.storage_trouble = message.reason
        elif isinstance(message, (FieldCommands, FieldTrouble)):
            self._field.hear(message, now_ns)
        elif isinstance(message, ReporterTrouble):
            self._supervisor.reporter_trouble = message.reason
        elif self._control is not None:
            if isinstance(message, (Captured, NotCaptured, Left)):
                child.answered(now_ns)
            self._desk.do(self._follow(self._control, child, message, now_ns))

    def _follow(self, control: LineControl, child: Child, message: Message, now_ns: int) -> list[Action]:
        """What line control makes of a child's message about a part."""
        if isinstance(message, Captured):
            if message.part_id == 0 and self._stopping.is_asked:
                return control.not_captured(0, "stopping", False, now_ns)
            if message.part_id == 0:
                self._desk.part_began(now_ns)
            return control.captured(message, now_ns)
        if isinstance(message, NotCaptured):
            return control.not_captured(message.part_id, message.reason, message.end, now_ns)
        if isinstance(message, Inspected):
            self._next_tick_ns = now_ns if message.tile_counts.missed else self._next_tick_ns  # told and kept at once
            return control.inspected(message, now_ns)
        if isinstance(message, Left):
            return control.left(child.spec.index, message.part_id)
        if isinstance(message, SlotRead):
            return control.slot_read(message.part_id)
        if isinstance(message, Committed):
            control.committed(message.part_ids)
            return []
        raise MessageError(f"a {message.kind} message is not for the line")

    def _child_ready(self, child: Child, message: Ready) -> None:
        if child.is_unwanted:
            return
        self._engines = message.engines or self._engines
        if self._takeover.owns(child):
            log.info("%s is ready to take over (process %d)", child.spec.name, child.pid)
            child.greet(self._now_ns())
            self._takeover.worker_ready(child, message)
            self._next_tick_ns = 0
            return
        if not message.digests.items() <= self._changeover.digests.items():
            log.error(
                "%s has loaded recipes with digests %s, not %s: a bundle or template was replaced; stop the daemon and "
                "start it again",
                child.spec.name,
                message.digests,
                self._changeover.digests,
            )
            child.kill()
            return
        log.info("%s is ready (process %d)", child.spec.name, child.pid)
        child.greet(self._now_ns())
        self._field.child_ready()
        newcomers = [child]
        if child.spec.role is Role.OFFICE and self._control is None:
            self._begin(message)
            newcomers = [each for each in self._supervisor.children if each.ready]
        if child.spec.role is Role.OFFICE:
            self._office.office_ready(message.kept_recipe, message.kept_gate)
        for each in newcomers:
            self._welcome(each)
        self._next_tick_ns = 0

    def _begin(self, office: Ready) -> None:
        """The office knows which ids are used and which recipe was selected: line control can begin."""
        first_part_id, kept = max(1, office.next_part_id), office.kept_recipe
        self._desk.begin(LineControl(self._rules, first_part_id, self._ring.working_on, kept))
        self._gate.begin(office.kept_gate)

    def _keep_recipe(self) -> None:
        if self._control is not None:
            self._office.keep_recipe(self._control)

    def _welcome(self, child: Child) -> None:
        """Line control exists and the child is ready: bring them together."""
        if self._control is None:
            return
        if child.spec.role is Role.CAPTURE:
            self._control.camera_ready = True
            self._takeover.capture_ready(self._now_ns())
        elif child.spec.role is Role.INSPECTION:
            self._desk.do(self._control.worker_ready(child.spec.index))

    def _carry_out(self, action: Action, now_ns: int) -> None:
        """What line control decided about children and slots."""
        if isinstance(action, StartFrame):
            self._ring.start(action.request.slot, action.request.part_id)
            for index in action.workers:
                self._supervisor.worker(index).ask(action.request, now_ns)
        elif isinstance(action, CancelFrame):
            self._ring.cancel(action.slot)
        elif isinstance(action, OpenGate):
            self._gate.open()
        elif isinstance(action, Capture):
            self._supervisor.one(Role.CAPTURE).ask(action, now_ns)
        elif isinstance(action, Archive):
            assert self._control is not None
            self._office.archive(action, self._control)

    # -- stopping -----------------------------------------------------------------------------------------------

    def _catch_signals(self) -> None:
        def ask_to_stop() -> None:
            self._stopping.ask(self._now_ns())

        def ask_to_take_over() -> None:
            self._takeover.ask()
            self._next_tick_ns = 0

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
