"""The controller's view of the box: whatever happens goes out on every wire, whatever is asked comes in as events."""

from __future__ import annotations

from edge_runtime.clock import NS_PER_MS
from edge_runtime.runtime.events import ControllerEvent, PartSeen, RecipeAsked, RecipeQueried, ResetAsked
from edge_runtime.runtime.field_wire import FieldWire
from edge_runtime.runtime.gpio_wire import GpioWire
from edge_runtime.runtime.health import INSPECTING_STATES, State
from edge_runtime.runtime.line_actions import Announce, Counters
from edge_runtime.runtime.recipes import RecipeFacts
from edge_runtime.runtime.serial_wire import SerialWire
from edge_runtime.runtime.snapshot import WireCounts
from edge_runtime.runtime.wire import Wire

NEVER_NS = 2**63 - 1


class Signals:
    """Digital lines, field bus and serial line, each optional, told in this order. One thread owns it."""

    def __init__(
        self, lines: GpioWire | None, serial: SerialWire | None, field: FieldWire | None, heartbeat_ms: float
    ) -> None:
        self.lines = lines
        self.serial = serial
        self.field = field
        self.wires: tuple[Wire, ...] = tuple(wire for wire in (lines, field, serial) if wire is not None)
        self._ejection = lines.ejection if lines is not None else None
        self._heartbeat_ns = round(heartbeat_ms * NS_PER_MS)
        self._next_beat_ns = 0
        self._beats = 0
        self._closed = False

    @property
    def unheard(self) -> bool:
        """Whether a connected controller has not acknowledged everything."""
        return any(wire.is_heard and wire.waiting > 0 for wire in self.wires)

    @property
    def unheeded(self) -> bool:
        """Whether a controller acknowledges so little that there is no room for results."""
        return any(wire.takes_no_results for wire in self.wires)

    @property
    def unacknowledged(self) -> int:
        """Results that wait for their acknowledgement, on all wires."""
        return sum(wire.waiting for wire in self.wires)

    def counts(self) -> WireCounts:
        machine = self.lines.handshake.machine if self.lines is not None else None
        return WireCounts(
            missed_edges=self.lines.missed_edges if self.lines is not None else 0,
            unannounced=sum(wire.unannounced for wire in self.wires),
            rejected=self.serial.rejected if self.serial is not None else {},
            irregular=dict(machine.irregular) if machine is not None else {},
            voided=machine.voided if machine is not None else 0,
        )

    # -- opening and closing ------------------------------------------------------------------------------------

    def open_lines(self, now_ns: int) -> None:
        """Outputs at their safe level before anything else happens."""
        if self.lines is not None:
            self.lines.open(now_ns)

    def close(self, reason: str, now_ns: int) -> None:
        """Make the outputs safe, say so, and let go for good. Only the first call counts. Never raises."""
        for wire in () if self._closed else self.wires:
            wire.close(reason, now_ns)
        self._closed = True

    # -- out ----------------------------------------------------------------------------------------------------

    def announce(self, announcement: Announce, now_ns: int) -> None:
        for wire in self.wires:
            wire.announce(announcement, now_ns)

    def condition(self, state: State, has_room: bool, now_ns: int) -> None:
        """Whether a part that came now would be inspected: say it before each trigger, and when it may have changed."""
        for wire in self.wires:
            wire.condition(state, has_room, now_ns)

    def accepted(self, seen: PartSeen, part_id: int) -> None:
        for wire in self.wires:
            wire.accepted(seen, part_id)

    def refused(self, seen: PartSeen) -> None:
        for wire in self.wires:
            wire.refused(seen)

    def reset(self, asked: ResetAsked, now_ns: int) -> None:
        for wire in self.wires:
            wire.reset(asked, now_ns)

    def recipe_active(self, recipe: RecipeFacts) -> None:
        for wire in self.wires:
            wire.recipe_active(recipe)

    def recipe_refused(self, asked: RecipeAsked | RecipeQueried, reason: str, now_ns: int) -> None:
        for wire in self.wires:
            wire.recipe_refused(asked, reason, now_ns)

    def status(self, state: State, counters: Counters) -> None:
        for wire in self.wires:
            wire.status(state, counters)

    def fault(self, code: str, raised: bool) -> None:
        for wire in self.wires:
            wire.fault(code, raised)

    def levels(self, state: State, busy: bool, stop: bool, now_ns: int) -> None:
        for wire in self.wires:
            wire.levels(state, busy, stop, now_ns)

    def work(self, state: State, now_ns: int) -> None:
        """Do what is due: reopen, eject, repeat, end pulses, beat."""
        if self._closed:
            return
        for wire in self.wires:
            wire.work(now_ns)
        if now_ns >= self._next_beat_ns:
            self._next_beat_ns = now_ns + self._heartbeat_ns
            self._beat(state, now_ns)
        for wire in self.wires:
            wire.flush(now_ns)

    def next_wake_ns(self, now_ns: int) -> int:
        """When `work` has something to do next, apart from input; never again once closed."""
        if self._closed:
            return NEVER_NS
        wakes = [self._next_beat_ns, *(wire.next_wake_ns(now_ns) for wire in self.wires)]
        return min(wake_ns for wake_ns in wakes if wake_ns is not None)

    def _beat(self, state: State, now_ns: int) -> None:
        for wire in self.wires:
            wire.beat(self._beats, state, state in INSPECTING_STATES, now_ns)
        self._beats += 1

    # -- in -----------------------------------------------------------------------------------------------------

    def settled(self, now_ns: int) -> list[ControllerEvent]:
        """What is asked by something that has stood still long enough."""
        return [event for wire in self.wires for event in wire.settled(now_ns)]

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
        return {} if self._ejection is None else self._ejection.counts(now_ns)
