"""The controller's view of the box: verdicts, faults and heartbeats out; triggers and acknowledgements in."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from edge_runtime.clock import NS_PER_MS
from edge_runtime.errors import SignalError
from edge_runtime.interfaces import Edge, Input, Output
from edge_runtime.protocol.handshake import Handshake, HandshakeFull
from edge_runtime.protocol.messages import (
    Acknowledge,
    AcknowledgePart,
    Down,
    FaultChanged,
    Heartbeat,
    PartResult,
    RecipeActive,
    RecipeQuery,
    RecipeRequest,
    Refused,
    ResetRequest,
    SignalsChanged,
    Status,
    StatusQuery,
    TriggerAccepted,
    TriggerRequest,
    UnnumberedTrigger,
    sanitised,
)
from edge_runtime.protocol.modbus_image import FieldState
from edge_runtime.protocol.outbox import OutboxFull
from edge_runtime.runtime.ejection import Ejection
from edge_runtime.runtime.events import (
    ControllerEvent,
    PartSeen,
    RecipeAsked,
    RecipeQueried,
    ResetAsked,
    missing_between,
)
from edge_runtime.runtime.fieldlink import FieldLink, RecipeShown
from edge_runtime.runtime.handshake_lines import HandshakeLines, condition_of
from edge_runtime.runtime.health import State
from edge_runtime.runtime.line_control import Announce, Counters
from edge_runtime.runtime.outputs import OutputLines
from edge_runtime.runtime.recipe_inputs import RecipeInputs
from edge_runtime.runtime.recipes import RecipeFacts
from edge_runtime.runtime.serial_link import SerialLink
from edge_runtime.runtime.snapshot import WireCounts
from edge_runtime.values import Outcome

log = logging.getLogger(__name__)
GPIO = "gpio"
GPIO_RETRY_NS = 1000 * NS_PER_MS
NEVER_NS = 2**63 - 1
ENCODER_CHANNELS = (Input.ENCODER_A, Input.ENCODER_B)
ALIVE = frozenset({State.READY, State.INSPECTING, State.DEGRADED})


class Signals:
    """Serial link and output lines, each optional, behind one set of words. One thread owns it; nothing blocks."""

    def __init__(
        self,
        serial: SerialLink | None,
        lines: OutputLines | None,
        heartbeat_ms: float,
        serial_triggers: bool,
        field: FieldLink | None = None,
        ejection: Ejection | None = None,
        recipe_inputs: RecipeInputs | None = None,
        handshake: Handshake[PartResult] | None = None,
    ) -> None:
        """Without `ejection` a verdict's pulse comes with the verdict; with it, when the part is at the ejector.

        With a `handshake` verdicts are no pulses but levels that wait for the acknowledge.
        """
        self.serial = serial
        self.field = field
        self.lines = lines
        self.lines_open = False
        self._closed = False
        self._handshake = HandshakeLines(handshake)
        self._signals_told: SignalsChanged | None = None
        self.missed_edges = 0
        self.unannounced = 0
        self._heartbeat_ns = round(heartbeat_ms * NS_PER_MS)
        self._serial_triggers = serial_triggers
        self._recipe_inputs = recipe_inputs
        self._next_beat_ns = 0
        self._beats = 0
        self._lines_retry_ns = 0
        self._ejection = ejection
        self._rests_rejecting = True
        self._last_seqnos: dict[Input, int] = {}
        self._last_requested: int | None = None
        self._last_accepted: TriggerAccepted | None = None

    @property
    def unheard(self) -> bool:
        """Whether a connected controller has not acknowledged everything."""
        if self.field is not None and self.field.waiting > 0:
            return True
        if self.lines_open and self._handshake.machine.waiting > 0:
            return True
        return self.serial is not None and self.serial.is_open and self.serial.unacknowledged > 0

    @property
    def unheeded(self) -> bool:
        """Whether the controller acknowledges so little that there is no room for results."""
        is_full = self.serial is not None and self.serial.outbox_full
        return is_full or self._handshake.is_lost

    @property
    def unacknowledged(self) -> int:
        """Results that wait for their acknowledgement, on all wires."""
        on_field = self.field.waiting if self.field is not None else 0
        on_serial = self.serial.unacknowledged if self.serial is not None else 0
        return on_field + on_serial + self._handshake.machine.waiting

    def counts(self) -> WireCounts:
        rejected = self.serial.rejected if self.serial is not None else {}
        irregular, voided = dict(self._handshake.machine.irregular), self._handshake.machine.voided
        return WireCounts(self.missed_edges, self.unannounced, dict(rejected), irregular, voided)

    # -- opening and closing ------------------------------------------------------------------------------------

    def open_lines(self, now_ns: int) -> None:
        """Request the digital lines at their safe level, or try again a second later."""
        if self.lines is None or self.lines_open or now_ns < self._lines_retry_ns:
            return
        try:
            self.lines.open()
            self.lines_open, self._last_seqnos = True, {}
            if self._recipe_inputs is not None:
                self._recipe_inputs.opened(now_ns)
            log.info("output lines are held at their safe level")
            self._handshake.opened(self.lines, now_ns)
            self._resume_tracking(now_ns)
        except SignalError as exc:
            self._lines_lost(exc, now_ns)

    def close(self, reason: str, now_ns: int) -> None:
        """Make the outputs safe, say so, and let go for good. Only the first call counts. Never raises."""
        if self._closed:
            return
        self._closed = True
        if self.lines is not None:
            self._drive(lambda lines: lines.make_safe(), now_ns)
            self._drive(lambda lines: lines.close(), now_ns)
            self.lines_open = False
        if self.serial is not None:
            self.serial.close(Down(reason), now_ns)
        if self.field is not None:
            self.field.close()

    # -- out ----------------------------------------------------------------------------------------------------

    def announce(self, announcement: Announce, now_ns: int) -> None:
        """Tell the controller a verdict, lines first. A full outbox loses the sentence, counted, never the pulse."""
        verdict = announcement.verdict
        result = PartResult.of(verdict, announcement.line_seqno, announcement.recipe.class_names)
        if self._handshake.presents:
            self._put_or_count(lambda: self._handshake.machine.put_or_fault(result, now_ns))
            self._show_handshake(now_ns)
        elif self._ejection is None:
            self._drive(lambda lines: lines.pulse(verdict.outcome, now_ns), now_ns)
        if self._ejection is not None:
            self._ejection.conclude(verdict.part_id, verdict.outcome)
        if self.field is not None:
            self.field.announce(verdict, announcement.line_seqno, now_ns, announcement.recipe.mm_per_px)
        if self.serial is not None:
            serial = self.serial
            self._put_or_count(lambda: serial.put_or_fault(result))
            serial.work(now_ns)

    def condition(self, state: State, has_room: bool, now_ns: int) -> None:
        """Whether a part that came now would be inspected: say it before each trigger, and when it may have changed."""
        self._handshake.machine.condition(condition_of(state, has_room))
        self._show_handshake(now_ns)
        if self.field is not None:
            self.field.condition(state, has_room)

    def field_state(self, state: State, counters: Counters) -> FieldState | None:
        """What the field bus is to show, when that has changed since the last call."""
        if self.field is None or not self.field.has_news:
            return None
        self.field.has_news = False
        return self.field.state(state, self._beats, counters)

    def fault(self, code: str, raised: bool) -> None:
        if self.serial is not None:
            self.serial.say_or_drop(FaultChanged(code, raised))

    def levels(self, state: State, busy: bool, stop: bool, now_ns: int) -> None:
        """Hold the levels; a box that cannot inspect rejects at rest, too.

        One that tracks its parts goes on passing those that it has seen and passed before a fault.
        """
        blind = state in (State.FAULT, State.STARTING, State.STOPPING)
        self._rests_rejecting = blind if self._ejection is None else state in (State.STARTING, State.STOPPING)
        if self._handshake.presents:
            self._drive(lambda lines: self._handshake.settle(lines, now_ns), now_ns)
        else:
            self._drive(lambda lines: lines.level(Output.BUSY, busy), now_ns)
            self._drive(lambda lines: lines.level(Output.FAULT, blind), now_ns)
        self._drive(lambda lines: lines.level(Output.STOP, stop), now_ns)
        if self.field is not None:
            self.field.stop(stop)
        self._rest(now_ns)

    def work(self, state: State, now_ns: int) -> None:
        """Do what is due: reopen, repeat, end pulses, beat."""
        if self._closed:
            return
        self.open_lines(now_ns)
        self._eject(now_ns)
        self._drive(lambda lines: lines.work(now_ns), now_ns)
        if self._ejection is not None:
            self._rest(now_ns)
        self._show_handshake(now_ns)
        if self.serial is not None:
            if self.serial.open_if_due(now_ns):
                self._signals_told = None
            if self.serial.is_idle(now_ns) and self._signals_told != self._handshake.trigger_side:
                self._tell_trigger_side(self.serial)
        if now_ns >= self._next_beat_ns:
            self._next_beat_ns = now_ns + self._heartbeat_ns
            self._beat(state, now_ns)
        if self.serial is not None:
            self.serial.work(now_ns)

    def next_wake_ns(self, now_ns: int) -> int:
        """When `work` has something to do next, apart from input; never again once closed."""
        if self._closed:
            return NEVER_NS
        wakes: list[int | None] = [self._next_beat_ns]
        if self.serial is not None:
            wakes += [self.serial.next_wake_ns()]
            wakes += [self.serial.next_idle_ns()] if self._signals_told != self._handshake.trigger_side else []
        if self.lines is not None and self.lines_open:
            wakes += [self.lines.next_wake_ns(), self._handshake.machine.next_wake_ns()]
        wakes += [self._ejection.next_wake_ns(now_ns)] if self._ejection is not None else []
        wakes += [self._recipe_inputs.next_wake_ns()] if self._recipe_inputs is not None and self.lines_open else []
        return min(wake_ns for wake_ns in wakes if wake_ns is not None)

    # -- the parts on their way to the ejector ------------------------------------------------------------------

    def begin_tracking(self, now_ns: int) -> None:
        """From now on every trigger is taken."""
        if self._ejection is not None:
            self._ejection.begin(now_ns)

    def ignores(self, seen: PartSeen) -> bool:
        """Whether a trigger is by rule no part of its own."""
        return self._ejection is not None and self._ejection.ignores(seen)

    def track(self, part_id: int, seen: PartSeen) -> tuple[int, ...]:
        """A part sets out for the ejector; the parts that cannot be told apart from it."""
        return () if self._ejection is None else self._ejection.see(part_id, seen)

    def undecided(self, now_ns: int) -> list[int]:
        """Parts that are at the ejector and have no verdict."""
        return [] if self._ejection is None else self._ejection.undecided(now_ns)

    @property
    def encoder_is_silent(self) -> bool:
        return self._ejection is not None and self._ejection.encoder_is_silent

    def tracking(self, now_ns: int) -> dict[str, float]:
        """What the way to the ejector saw, for the Snapshot."""
        if self._ejection is None:
            return {}
        encoder = self._ejection.encoder
        belt = {} if encoder is None else {"pulses_per_s": round(encoder.speed_per_s(now_ns), 1)}
        return {**self._ejection.counts(), **belt}

    # -- in -----------------------------------------------------------------------------------------------------

    def edges(self, now_ns: int) -> list[ControllerEvent]:
        """What the input lines ask, in the kernel's order; numbers missing between edges are counted."""
        if self.lines is None or not self.lines_open:
            return []
        try:
            return [event for edge in self.lines.edges() for event in self._edge(edge, self.lines, now_ns)]
        except SignalError as exc:
            self._lines_lost(exc, now_ns)
            return []

    def settled(self, now_ns: int) -> list[ControllerEvent]:
        """What is asked by input lines that have stood still long enough."""
        if self.lines is None or not self.lines_open or self._recipe_inputs is None:
            return []
        try:
            return [*self._recipe_inputs.settled(now_ns, self.lines.is_active)]
        except SignalError as exc:
            self._lines_lost(exc, now_ns)
            return []

    def sentences(self, state: State, counters: Counters, now_ns: int) -> list[ControllerEvent]:
        """Read the serial link: what the line must act on is returned, everything else is answered here."""
        seen: list[ControllerEvent] = []
        if self.serial is None:
            return seen
        for message in self.serial.receive(now_ns):
            if isinstance(message, Acknowledge):
                self.serial.acknowledge(message.seq)
            elif isinstance(message, AcknowledgePart):
                self.serial.acknowledge_part(message.part_id)
            elif isinstance(message, StatusQuery):
                self.serial.say_or_drop(self._status(state, counters))
                self._tell_trigger_side(self.serial)
            elif isinstance(message, ResetRequest):
                seen.append(ResetAsked("serial"))
            elif isinstance(message, (TriggerRequest, UnnumberedTrigger)):
                seen += self._trigger_request(message, now_ns)
            elif isinstance(message, RecipeRequest):
                seen.append(RecipeAsked(message.number, "serial", now_ns))
            elif isinstance(message, RecipeQuery):
                seen.append(RecipeQueried("serial"))
        return seen

    def accepted(self, seen: PartSeen, part_id: int) -> None:
        """Tell the controller which part its trigger has become, and when it came too early."""
        in_time = self._handshake.trigger(part_id)
        if seen.line_seqno is None or self.serial is None:
            return
        self._last_accepted = TriggerAccepted(seen.line_seqno, part_id)
        self.serial.say_or_drop(self._last_accepted)
        if not in_time:
            self.serial.say_or_drop(Refused("overrun"))

    def reset(self, asked: ResetAsked, now_ns: int) -> None:
        """Take back the overrun; results on the lines become void only by the lines' own reset."""
        self._handshake.reset(asked.source == GPIO, now_ns)

    def refuse(self, seen: PartSeen) -> None:
        """The part cannot be taken: it stays rejected, and its trigger may be sent again."""
        self._last_requested = None
        self._handshake.trigger(None)
        if seen.line_seqno is not None and self.serial is not None:
            self.serial.say_or_drop(Refused("starting"))

    def recipe_active(self, recipe: RecipeFacts) -> None:
        """Tell the controller which recipe the next part gets."""
        if self.field is not None:
            self.field.recipe(RecipeShown(recipe.number, int(recipe.digest or "0", 16)))
        if self.serial is not None:
            self.serial.say_or_drop(RecipeActive(recipe.number, sanitised(recipe.name), recipe.digest))

    def refuse_recipe(self, asked: RecipeAsked | RecipeQueried, reason: str, now_ns: int) -> None:
        """The recipe stays as it is. A code that stands on input lines is read again until it can be obeyed."""
        if asked.source == "serial" and self.serial is not None:
            self.serial.say_or_drop(Refused(reason))
        if asked.source == "gpio" and reason == "starting" and self._recipe_inputs is not None:
            self._recipe_inputs.opened(now_ns)
        if asked.source == "modbus" and reason == "starting" and self.field is not None:
            self.field.recipe_refused()

    # -- inside -------------------------------------------------------------------------------------------------

    def _edge(self, edge: Edge, lines: OutputLines, now_ns: int) -> list[ControllerEvent]:
        lost = max(0, edge.seqno - self._last_seqnos.get(edge.name, 0) - 1)
        self.missed_edges += lost
        self._last_seqnos[edge.name] = edge.seqno
        if edge.name in ENCODER_CHANNELS and self._ejection is not None:
            self._ejection.feed(edge, lost)
        if edge.name is Input.EYE and self._ejection is not None:
            self._ejection.arrive(edge.at_ns)
        if edge.name is Input.TRIGGER and edge.active:
            return [PartSeen(edge.at_ns, None, self._position(edge.at_ns), lost)]
        if edge.name is Input.RESET and edge.active:
            return [ResetAsked(GPIO)]
        if edge.name is Input.ACK:
            self._handshake.machine.acknowledge_level(edge.active, edge.at_ns, now_ns)
        return [*self._recipe_inputs.edge(edge, lines.is_active)] if self._recipe_inputs is not None else []

    def _put_or_count(self, put: Callable[[], object]) -> None:
        try:
            put()
        except (OutboxFull, HandshakeFull) as exc:
            if self.unannounced == 0:
                log.error("%s", exc)
            self.unannounced += 1

    def _show_handshake(self, now_ns: int) -> None:
        self._drive(lambda lines: self._handshake.show(lines, now_ns), now_ns)

    def _tell_trigger_side(self, serial: SerialLink) -> None:
        """Each change is told once the wire is free, so that of many only the last is."""
        self._signals_told = self._handshake.trigger_side
        serial.say_or_drop(self._signals_told)

    def _trigger_request(self, request: TriggerRequest | UnnumberedTrigger, now_ns: int) -> list[ControllerEvent]:
        assert self.serial is not None
        if not self._serial_triggers:
            self.serial.say_or_drop(Refused("no_serial_trigger"))
            return []
        if isinstance(request, UnnumberedTrigger):
            return [PartSeen(now_ns, None, self._position(now_ns))]
        if request.line_seqno == self._last_requested:
            if self._last_accepted is not None and self._last_accepted.line_seqno == request.line_seqno:
                self.serial.say_or_drop(self._last_accepted)
            return []
        lost = missing_between(self._last_requested, request.line_seqno)
        self._last_requested = request.line_seqno
        return [PartSeen(now_ns, request.line_seqno, self._position(now_ns), lost)]

    def _position(self, at_ns: int) -> int | None:
        return None if self._ejection is None else self._ejection.position(at_ns)

    def _eject(self, now_ns: int) -> None:
        for fire in [] if self._ejection is None else self._ejection.advance(now_ns):
            self._drive(partial(_pulse, fire.outcome, now_ns), now_ns)

    def _rest(self, now_ns: int) -> None:
        """Between two parts the ejector works only where an unseen part may be."""
        if self._handshake.presents:
            return
        rejecting = self._rests_rejecting or (self._ejection is not None and self._ejection.is_blind(now_ns))
        self._drive(lambda lines: lines.level(Output.REJECT, rejecting), now_ns)

    def _resume_tracking(self, now_ns: int) -> None:
        """The lines are back: edges may have been missed, and the encoder's levels are what they are."""
        if self._ejection is None or self.lines is None:
            return
        if self._ejection.encoder is not None:
            self._ejection.encoder.settle(*(self.lines.is_active(channel) for channel in ENCODER_CHANNELS))
        if self._ejection.tracker is not None:
            self._ejection.begin(now_ns)

    def _status(self, state: State, counters: Counters) -> Status:
        outcomes = counters.outcomes
        return Status(
            state.value,
            counters.triggers,
            outcomes[Outcome.PASS],
            outcomes[Outcome.REJECT],
            outcomes[Outcome.NOT_INSPECTED],
            self.serial.unacknowledged if self.serial else 0,
        )

    def _beat(self, state: State, now_ns: int) -> None:
        if self.serial is not None:
            self.serial.say_or_drop(Heartbeat(self._beats, state.value))
        self._beats += 1
        if self.field is not None:
            self.field.has_news = True
        beating = state in ALIVE and self._beats % 2 == 0
        self._drive(lambda lines: lines.level(Output.HEARTBEAT, beating), now_ns)

    def _drive(self, action: Callable[[OutputLines], None], now_ns: int) -> None:
        if self.lines is None or not self.lines_open:
            return
        try:
            action(self.lines)
        except SignalError as exc:
            self._lines_lost(exc, now_ns)

    def _lines_lost(self, exc: SignalError, now_ns: int) -> None:
        if self.lines_open or self._lines_retry_ns == 0:
            log.error("output lines are lost, trying again each second: %s", exc)
        if self.lines_open:
            self._handshake.machine.interrupted(now_ns)
        self.lines_open = False
        self._lines_retry_ns = now_ns + GPIO_RETRY_NS
        if self.lines is not None:
            self.lines.close()


def _pulse(outcome: Outcome, now_ns: int, lines: OutputLines) -> None:
    lines.pulse(outcome, now_ns)
