"""The serial line as a wire: what the controller's messages ask, and what it is told by messages."""

from __future__ import annotations

import select

from edge_runtime.protocol.field_kinds import sanitised
from edge_runtime.protocol.messages import (
    Acknowledge,
    AcknowledgePart,
    Down,
    FaultChanged,
    Heartbeat,
    Message,
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
)
from edge_runtime.runtime.events import (
    ControllerEvent,
    PartSeen,
    RecipeAsked,
    RecipeQueried,
    ResetAsked,
    StatusAsked,
    missing_between,
)
from edge_runtime.runtime.handshake_lines import HandshakeLines, condition_of
from edge_runtime.runtime.health import State
from edge_runtime.runtime.line_actions import Announce, Counters
from edge_runtime.runtime.recipes import RecipeFacts
from edge_runtime.runtime.serial_link import SerialLink
from edge_runtime.runtime.wire import PollWish, Wire
from edge_runtime.values import Outcome

SOURCE = "serial"


class SerialWire(Wire):
    """Owns the link. `takes_triggers`: whether a message may be a part's trigger."""

    def __init__(self, link: SerialLink, takes_triggers: bool) -> None:
        super().__init__()
        self._link = link
        self._takes_triggers = takes_triggers
        self._handshake = HandshakeLines(None)
        self._told: SignalsChanged | None = None
        self._last_requested: int | None = None
        self._last_accepted: TriggerAccepted | None = None

    @property
    def is_open(self) -> bool:
        return self._link.is_open

    @property
    def waiting(self) -> int:
        return self._link.unacknowledged

    @property
    def is_heard(self) -> bool:
        return self._link.is_open

    @property
    def takes_no_results(self) -> bool:
        return self._link.outbox_full

    @property
    def rejected(self) -> dict[str, int]:
        return self._link.rejected

    def poll_wish(self) -> PollWish | None:
        if not self._link.is_open:
            return None
        return self._link.fileno(), select.POLLIN | (select.POLLOUT if self._link.wants_to_write else 0)

    def next_wake_ns(self, now_ns: int) -> int | None:
        wakes = [self._link.next_wake_ns()]
        wakes += [self._link.next_idle_ns()] if self._told != self._handshake.trigger_side else []
        return min((wake_ns for wake_ns in wakes if wake_ns is not None), default=None)

    def close(self, reason: str, now_ns: int) -> None:
        self._link.close(Down(reason), now_ns)

    # -- in -----------------------------------------------------------------------------------------------------

    def hear(self, now_ns: int) -> list[ControllerEvent]:
        return [event for message in self._link.receive(now_ns) for event in self._heard(message, now_ns)]

    def _heard(self, message: Message, now_ns: int) -> list[ControllerEvent]:
        if isinstance(message, Acknowledge):
            self._link.acknowledge(message.seq)
        elif isinstance(message, AcknowledgePart):
            self._link.acknowledge_part(message.part_id)
        elif isinstance(message, StatusQuery):
            return [StatusAsked(SOURCE)]
        elif isinstance(message, ResetRequest):
            return [ResetAsked(SOURCE)]
        elif isinstance(message, (TriggerRequest, UnnumberedTrigger)):
            return self._trigger_request(message, now_ns)
        elif isinstance(message, RecipeRequest):
            return [RecipeAsked(message.number, SOURCE, now_ns)]
        elif isinstance(message, RecipeQuery):
            return [RecipeQueried(SOURCE)]
        return []

    def _trigger_request(self, request: TriggerRequest | UnnumberedTrigger, now_ns: int) -> list[ControllerEvent]:
        """A number that is repeated asks for the answer again, not for a second part."""
        if not self._takes_triggers:
            self._link.say_or_drop(Refused("no_serial_trigger"))
            return []
        if isinstance(request, UnnumberedTrigger):
            return [PartSeen(now_ns, None)]
        if request.line_seqno == self._last_requested:
            if self._last_accepted is not None and self._last_accepted.line_seqno == request.line_seqno:
                self._link.say_or_drop(self._last_accepted)
            return []
        lost = missing_between(self._last_requested, request.line_seqno)
        self._last_requested = request.line_seqno
        return [PartSeen(now_ns, request.line_seqno, lost_before=lost)]

    # -- out ----------------------------------------------------------------------------------------------------

    def announce(self, announcement: Announce, now_ns: int) -> None:
        result = PartResult.of(announcement.verdict, announcement.line_seqno, announcement.recipe.class_names)
        self._put_or_count(lambda: self._link.put_or_fault(result))
        self._link.work(now_ns)

    def condition(self, state: State, has_room: bool, now_ns: int) -> None:
        self._handshake.machine.condition(condition_of(state, has_room))

    def accepted(self, seen: PartSeen, part_id: int) -> None:
        """Say which part a numbered trigger has become, and when it came too early."""
        in_time = self._handshake.trigger(part_id)
        if seen.line_seqno is None:
            return
        self._last_accepted = TriggerAccepted(seen.line_seqno, part_id)
        self._link.say_or_drop(self._last_accepted)
        if not in_time:
            self._link.say_or_drop(Refused("overrun"))

    def refused(self, seen: PartSeen) -> None:
        self._last_requested = None
        self._handshake.trigger(None)
        if seen.line_seqno is not None:
            self._link.say_or_drop(Refused("starting"))

    def reset(self, asked: ResetAsked, now_ns: int) -> None:
        self._handshake.reset(False, now_ns)

    def recipe_active(self, recipe: RecipeFacts) -> None:
        self._link.say_or_drop(RecipeActive(recipe.number, sanitised(recipe.name), recipe.digest))

    def recipe_refused(self, asked: RecipeAsked | RecipeQueried, reason: str, now_ns: int) -> None:
        if asked.source == SOURCE:
            self._link.say_or_drop(Refused(reason))

    def status(self, state: State, counters: Counters) -> None:
        outcomes = counters.outcomes
        passed, rejected, missed = (outcomes[each] for each in (Outcome.PASS, Outcome.REJECT, Outcome.NOT_INSPECTED))
        self._link.say_or_drop(Status(state.value, counters.triggers, passed, rejected, missed, self.waiting))
        self._tell_trigger_side()

    def fault(self, code: str, raised: bool) -> None:
        self._link.say_or_drop(FaultChanged(code, raised))

    def beat(self, count: int, state: State, is_alive: bool, now_ns: int) -> None:
        self._link.say_or_drop(Heartbeat(count, state.value))

    def work(self, now_ns: int) -> None:
        """Reopen, and tell the trigger side once the wire is free."""
        if self._link.open_if_due(now_ns):
            self._told = None
        if self._link.is_idle(now_ns) and self._told != self._handshake.trigger_side:
            self._tell_trigger_side()

    def flush(self, now_ns: int) -> None:
        self._link.work(now_ns)

    def _tell_trigger_side(self) -> None:
        """Each change is told once the wire is free, so that of many only the last is."""
        self._told = self._handshake.trigger_side
        self._link.say_or_drop(self._told)
