"""What the children say and how they end is acted on, and they are asked for what line control decides."""

from __future__ import annotations

import logging
from collections.abc import Callable

from edge_runtime.clock import Clock
from edge_runtime.runtime.changeover import Changeover
from edge_runtime.runtime.channel import ChannelClosed
from edge_runtime.runtime.children import Child, Role
from edge_runtime.runtime.desk import Desk
from edge_runtime.runtime.field_link import FieldLink
from edge_runtime.runtime.frame_ring import FrameRing
from edge_runtime.runtime.gate_keeper import GateKeeper
from edge_runtime.runtime.line_actions import Action, CancelFrame, OpenGate, StartFrame
from edge_runtime.runtime.line_control import LineControl
from edge_runtime.runtime.line_rules import LineRules
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
    Ready,
    ReporterTrouble,
    SlotRead,
    StorageTrouble,
)
from edge_runtime.runtime.office_link import OfficeLink
from edge_runtime.runtime.signals import Signals
from edge_runtime.runtime.stop_rules import StopRule
from edge_runtime.runtime.supervisor import Supervisor
from edge_runtime.runtime.takeover import Takeover

log = logging.getLogger(__name__)
MESSAGES_PER_TURN = 32
ALL_MESSAGES = 100_000


class ChildDesk:
    """Between the children and the desk of the wires, which it makes. One thread owns it; nothing blocks.

    `tick_at_once` is called when something should not wait for the line's next tick. `engines`: what runs the models,
    in words.
    """

    def __init__(
        self,
        rules: LineRules,
        supervisor: Supervisor,
        ring: FrameRing,
        signals: Signals,
        clock: Clock,
        stop_rule: StopRule,
        takeover: Takeover,
        tick_at_once: Callable[[], None],
    ) -> None:
        self.engines = ""
        self.desk = Desk(signals, stop_rule, clock, self._carry_out, self._keep_recipe)
        self._office = OfficeLink(supervisor)
        self.gate = GateKeeper(ring.gate, self._office)
        self.field = FieldLink(signals, self.desk, supervisor)
        self._changeover = Changeover(takeover, supervisor, self.desk, rules.recipes)
        self._rules = rules
        self._supervisor = supervisor
        self._ring = ring
        self._clock = clock
        self._takeover = takeover
        self._tick_at_once = tick_at_once

    def work(self, now_ns: int) -> None:
        """What is due several times a second: the office and the gate, a take-over, slots that are free again."""
        if self._control is not None:
            self._office.repeat_records_if_due(self._control)
            self._office.keep_recipe(self._control)
            self.gate.work(self._control.models_in_use)
        if not self.desk.is_stopping:
            self._changeover.work(now_ns)
        if self._control is not None:
            self._control.sweep()

    def meet(self, child: Child) -> None:
        """News of its birth."""
        if not child.meet(self._now_ns()):
            self.gone(child)

    def gone(self, child: Child) -> None:
        """It has ended: take what it still said, then do without it."""
        self.hear(child, message_limit=ALL_MESSAGES)
        if self._takeover.owns(child) and child.spec.role is not Role.PREPARER:
            self._takeover.refuse(f"{child.spec.name} has ended before it was ready")
        elif self._takeover.lost_preparer(child):
            self._takeover.refuse("the preparer has ended without an answer")
        working_on = self._ring.working_on(child.spec.index) if child.spec.role is Role.INSPECTION else None
        now_ns = self._now_ns()
        self._supervisor.gone(child, now_ns)
        self._tick_at_once()
        if self._control is None:
            return
        if child.spec.role is Role.CAPTURE:
            self.desk.do(self._control.camera_lost(now_ns))
        elif child.spec.role is Role.INSPECTION:
            self._ring.rest(child.spec.index)
            self.desk.do(self._control.worker_lost(child.spec.index, working_on, now_ns))
        elif child.spec.role is Role.OFFICE:
            self._control.office_lost()

    def hear(self, child: Child, message_limit: int = MESSAGES_PER_TURN) -> None:
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
            self.field.hear(message, now_ns)
        elif isinstance(message, ReporterTrouble):
            self._supervisor.reporter_trouble = message.reason
        elif self._control is not None:
            if isinstance(message, (Captured, NotCaptured, Left)):
                child.answered(now_ns)
            self.desk.do(self._follow(self._control, child, message, now_ns))

    def _follow(self, control: LineControl, child: Child, message: Message, now_ns: int) -> list[Action]:
        """What line control makes of a child's message about a part."""
        if isinstance(message, Captured):
            if message.part_id == 0 and self.desk.is_stopping:
                return control.not_captured(0, "stopping", False, now_ns)
            if message.part_id == 0:
                self.desk.part_began(now_ns)
            return control.captured(message, now_ns)
        if isinstance(message, NotCaptured):
            return control.not_captured(message.part_id, message.reason, message.end, now_ns)
        if isinstance(message, Inspected):
            if message.tile_counts.missed:
                self._tick_at_once()  # told and kept at once
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
        self.engines = message.engines or self.engines
        if self._takeover.owns(child):
            log.info("%s is ready to take over (process %d)", child.spec.name, child.pid)
            child.greet(self._now_ns())
            self._takeover.worker_ready(child, message)
            self._tick_at_once()
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
        self.field.child_ready()
        newcomers = [child]
        if child.spec.role is Role.OFFICE and self._control is None:
            self._begin(message)
            newcomers = [each for each in self._supervisor.children if each.ready]
        if child.spec.role is Role.OFFICE:
            self._office.office_ready(message.kept_recipe, message.kept_gate)
        for each in newcomers:
            self._welcome(each)
        self._tick_at_once()

    def _begin(self, office: Ready) -> None:
        """The office knows which ids are used and which recipe was selected: line control can begin."""
        first_part_id, kept = max(1, office.next_part_id), office.kept_recipe
        self.desk.begin(LineControl(self._rules, first_part_id, self._ring.working_on, kept))
        self.gate.begin(office.kept_gate)

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
            self.desk.do(self._control.worker_ready(child.spec.index))

    def _carry_out(self, action: Action, now_ns: int) -> None:
        """What line control decided about children and slots."""
        if isinstance(action, StartFrame):
            self._ring.start(action.request.slot, action.request.part_id)
            for index in action.workers:
                self._supervisor.worker(index).ask(action.request, now_ns)
        elif isinstance(action, CancelFrame):
            self._ring.cancel(action.slot)
        elif isinstance(action, OpenGate):
            self.gate.open()
        elif isinstance(action, Capture):
            self._supervisor.one(Role.CAPTURE).ask(action, now_ns)
        elif isinstance(action, Archive):
            assert self._control is not None
            self._office.archive(action, self._control)

    @property
    def _control(self) -> LineControl | None:
        return self.desk.control

    def _now_ns(self) -> int:
        return self._clock.monotonic_ns()
