"""The digital lines as a wire: pulses or levels for verdicts, the ejector, edges as events."""

from __future__ import annotations

import logging
import select
from collections.abc import Callable

from edge_runtime.clock import NS_PER_MS
from edge_runtime.errors import SignalError
from edge_runtime.interfaces import ENCODER_CHANNELS, Edge, Input, Output
from edge_runtime.protocol.handshake import Handshake
from edge_runtime.protocol.messages import PartResult
from edge_runtime.runtime.ejection import Ejection
from edge_runtime.runtime.events import ControllerEvent, PartSeen, RecipeAsked, RecipeQueried, ResetAsked
from edge_runtime.runtime.handshake_lines import HandshakeLines, condition_of
from edge_runtime.runtime.health import INSPECTING_STATES, State
from edge_runtime.runtime.line_actions import Announce
from edge_runtime.runtime.outputs import OutputLines
from edge_runtime.runtime.recipe_inputs import RecipeInputs
from edge_runtime.runtime.tracking import Fire
from edge_runtime.runtime.wire import PollWish, Wire

log = logging.getLogger(__name__)
SOURCE = "gpio"
RETRY_NS = 1000 * NS_PER_MS


class GpioWire(Wire):
    """Owns the lines, the way to the ejector and the handshake on lines.

    Without `ejection` a verdict's pulse comes with the verdict; with it, when the part is at the ejector. With a
    `handshake` verdicts are no pulses but levels that wait for the acknowledge.
    """

    def __init__(
        self,
        lines: OutputLines,
        ejection: Ejection | None = None,
        recipe_inputs: RecipeInputs | None = None,
        handshake: Handshake[PartResult] | None = None,
    ) -> None:
        super().__init__()
        self.is_open = False
        self.missed_edges = 0
        self.ejection = ejection
        self.handshake = HandshakeLines(handshake)
        self._lines = lines
        self._recipe_inputs = recipe_inputs
        self._closed = False
        self._rests_rejecting = True
        self._retry_ns = 0
        self._last_seqnos: dict[Input, int] = {}

    @property
    def waiting(self) -> int:
        return self.handshake.machine.waiting

    @property
    def is_heard(self) -> bool:
        return self.is_open

    @property
    def takes_no_results(self) -> bool:
        return self.handshake.is_lost

    def poll_wish(self) -> PollWish | None:
        fd = self._lines.fileno() if self.is_open else None
        return None if fd is None else (fd, select.POLLIN)

    def next_wake_ns(self, now_ns: int) -> int | None:
        ejector_ns = self.ejection.next_wake_ns(now_ns) if self.ejection is not None else None
        if not self.is_open:
            return ejector_ns
        inputs_ns = self._recipe_inputs.next_wake_ns() if self._recipe_inputs is not None else None
        wakes = [ejector_ns, inputs_ns, self._lines.next_wake_ns(), self.handshake.machine.next_wake_ns()]
        return min((wake_ns for wake_ns in wakes if wake_ns is not None), default=None)

    # -- opening and closing ------------------------------------------------------------------------------------

    def open(self, now_ns: int) -> None:
        """Request the lines at their safe level, or try again a second later."""
        if self.is_open or self._closed or now_ns < self._retry_ns:
            return
        try:
            self._lines.open()
            self.is_open, self._last_seqnos = True, {}
            log.info("output lines are held at their safe level")
            if self._recipe_inputs is not None:
                self._recipe_inputs.opened(now_ns)
            self.handshake.opened(self._lines, now_ns)
            self._resume_tracking(now_ns)
        except SignalError as exc:
            self._lost(exc, now_ns)

    def close(self, reason: str, now_ns: int) -> None:
        self._closed = True
        self._drive(lambda lines: lines.make_safe(), now_ns)
        self._drive(lambda lines: lines.close(), now_ns)
        self.is_open = False

    # -- in -----------------------------------------------------------------------------------------------------

    def hear(self, now_ns: int) -> list[ControllerEvent]:
        """In the kernel's order, after what has stood long enough; numbers missing between edges are counted."""
        events = self.settled(now_ns)
        if not self.is_open:
            return events
        try:
            for edge in self._lines.edges():
                events += self._edge(edge, now_ns)
        except SignalError as exc:
            self._lost(exc, now_ns)
        return events

    def settled(self, now_ns: int) -> list[ControllerEvent]:
        if not self.is_open or self._recipe_inputs is None:
            return []
        try:
            return [*self._recipe_inputs.settled(now_ns, self._lines.is_active)]
        except SignalError as exc:
            self._lost(exc, now_ns)
            return []

    # -- out ----------------------------------------------------------------------------------------------------

    def announce(self, announcement: Announce, now_ns: int) -> None:
        verdict = announcement.verdict
        if self.handshake.presents:
            result = PartResult.of(verdict, announcement.line_seqno, announcement.recipe.class_names)
            self._put_or_count(lambda: self.handshake.machine.put_or_fault(result, now_ns))
            self._show(now_ns)
        elif self.ejection is None:
            self._drive(lambda lines: lines.pulse(verdict.outcome, now_ns), now_ns)
        if self.ejection is not None:
            self.ejection.conclude(verdict.part_id, verdict.outcome)

    def condition(self, state: State, has_room: bool, now_ns: int) -> None:
        self.handshake.machine.condition(condition_of(state, has_room))
        self._show(now_ns)

    def accepted(self, seen: PartSeen, part_id: int) -> None:
        self.handshake.trigger(part_id)

    def refused(self, seen: PartSeen) -> None:
        self.handshake.trigger(None)

    def reset(self, asked: ResetAsked, now_ns: int) -> None:
        self.handshake.reset(asked.source == SOURCE, now_ns)

    def recipe_refused(self, asked: RecipeAsked | RecipeQueried, reason: str, now_ns: int) -> None:
        """A code that stands on input lines is read again until it can be obeyed."""
        if asked.source == SOURCE and reason == "starting" and self._recipe_inputs is not None:
            self._recipe_inputs.opened(now_ns)

    def levels(self, state: State, busy: bool, stop: bool, now_ns: int) -> None:
        """A box that cannot inspect rejects at rest; one that tracks goes on passing parts seen and passed before."""
        blind = state not in INSPECTING_STATES
        self._rests_rejecting = blind if self.ejection is None else state in (State.STARTING, State.STOPPING)
        if self.handshake.presents:
            self._drive(lambda lines: self.handshake.settle(lines, now_ns), now_ns)
        else:
            self._drive(lambda lines: lines.level(Output.BUSY, busy), now_ns)
            self._drive(lambda lines: lines.level(Output.FAULT, blind), now_ns)
        self._drive(lambda lines: lines.level(Output.STOP, stop), now_ns)
        self._rest(now_ns)

    def beat(self, count: int, state: State, is_alive: bool, now_ns: int) -> None:
        self._drive(lambda lines: lines.level(Output.HEARTBEAT, is_alive and count % 2 == 1), now_ns)

    def work(self, now_ns: int) -> None:
        """Reopen, eject, end pulses, present results."""
        self.open(now_ns)
        for fire in self.ejection.advance(now_ns) if self.ejection is not None else ():
            self._eject(fire, now_ns)
        self._drive(lambda lines: lines.work(now_ns), now_ns)
        if self.ejection is not None:
            self._rest(now_ns)
        self._show(now_ns)

    # -- inside -------------------------------------------------------------------------------------------------

    def _edge(self, edge: Edge, now_ns: int) -> list[ControllerEvent]:
        lost = max(0, edge.seqno - self._last_seqnos.get(edge.name, 0) - 1)
        self.missed_edges += lost
        self._last_seqnos[edge.name] = edge.seqno
        if self.ejection is not None:
            self._feed(self.ejection, edge, lost)
        if edge.name is Input.TRIGGER and edge.active:
            position = self.ejection.position(edge.at_ns) if self.ejection is not None else None
            return [PartSeen(edge.at_ns, None, position, lost)]
        if edge.name is Input.RESET and edge.active:
            return [ResetAsked(SOURCE)]
        if edge.name is Input.ACK:
            self.handshake.machine.acknowledge_level(edge.active, edge.at_ns, now_ns)
        return [*self._recipe_inputs.edge(edge, self._lines.is_active)] if self._recipe_inputs is not None else []

    def _feed(self, ejection: Ejection, edge: Edge, lost: int) -> None:
        if edge.name in ENCODER_CHANNELS:
            ejection.feed(edge, lost)
        elif edge.name is Input.EYE:
            ejection.arrive(edge.at_ns)

    def _show(self, now_ns: int) -> None:
        self._drive(lambda lines: self.handshake.show(lines, now_ns), now_ns)

    def _eject(self, fire: Fire, now_ns: int) -> None:
        self._drive(lambda lines: lines.pulse(fire.outcome, now_ns), now_ns)

    def _rest(self, now_ns: int) -> None:
        """Between two parts the ejector works only where an unseen part may be, which gets no other's permission."""
        if self.handshake.presents:
            return
        is_blind = self.ejection is not None and self.ejection.is_blind(now_ns)
        if is_blind:
            self._drive(lambda lines: lines.take_back_ok(), now_ns)
        self._drive(lambda lines: lines.level(Output.REJECT, self._rests_rejecting or is_blind), now_ns)

    def _resume_tracking(self, now_ns: int) -> None:
        """The lines are back: edges may have been missed, and the encoder's levels are what they are."""
        if self.ejection is None:
            return
        if self.ejection.encoder is not None:
            self.ejection.encoder.settle(*(self._lines.is_active(channel) for channel in ENCODER_CHANNELS))
        if self.ejection.tracker is not None:
            self.ejection.begin(now_ns)

    def _drive(self, action: Callable[[OutputLines], None], now_ns: int) -> None:
        if not self.is_open:
            return
        try:
            action(self._lines)
        except SignalError as exc:
            self._lost(exc, now_ns)

    def _lost(self, exc: SignalError, now_ns: int) -> None:
        if self.is_open or self._retry_ns == 0:
            log.error("output lines are lost, trying again each second: %s", exc)
        if self.is_open:
            self.handshake.machine.interrupted(now_ns)
        self.is_open = False
        self._retry_ns = now_ns + RETRY_NS
        self._lines.close()
