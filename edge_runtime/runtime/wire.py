"""What every wire to the controller can be told and asked; each has its own way to say it, or none."""

from __future__ import annotations

import logging
from collections.abc import Callable

from edge_runtime.protocol.handshake import HandshakeFull
from edge_runtime.protocol.outbox import OutboxFull
from edge_runtime.runtime.events import ControllerEvent, PartSeen, RecipeAsked, RecipeQueried, ResetAsked
from edge_runtime.runtime.health import State
from edge_runtime.runtime.line_actions import Announce, Counters
from edge_runtime.runtime.recipes import RecipeFacts

log = logging.getLogger(__name__)
PollWish = tuple[int, int]


class Wire:
    """One way to the controller. A method that a wire does not override has nothing to say on it.

    Nothing blocks, and a lost wire is opened again by `work`. One thread owns it.
    """

    def __init__(self) -> None:
        self.unannounced = 0

    # -- what waits ---------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Results that are not acknowledged."""
        return 0

    @property
    def is_heard(self) -> bool:
        """Whether somebody who could acknowledge is connected."""
        return True

    @property
    def takes_no_results(self) -> bool:
        """Whether the controller acknowledges so little that there is no room for results."""
        return False

    def poll_wish(self) -> PollWish | None:
        """File descriptor to wait for and the events of `select.poll`; None for a wire without one."""
        return None

    def next_wake_ns(self, now_ns: int) -> int | None:
        """When `work` has something to do next, apart from input."""
        return None

    # -- in -----------------------------------------------------------------------------------------------------

    def hear(self, now_ns: int) -> list[ControllerEvent]:
        """What the controller asks, in order; call it when the descriptor of `poll_wish` is ready."""
        return []

    def settled(self, now_ns: int) -> list[ControllerEvent]:
        """What is asked by something that has stood still long enough."""
        return []

    # -- out ----------------------------------------------------------------------------------------------------

    def announce(self, announcement: Announce, now_ns: int) -> None:
        """A part's verdict."""

    def condition(self, state: State, has_room: bool, now_ns: int) -> None:
        """Whether a part that came now would be inspected."""

    def accepted(self, seen: PartSeen, part_id: int) -> None:
        """A trigger, by whichever wire, became this part."""

    def refused(self, seen: PartSeen) -> None:
        """A trigger came before parts have ids: its part stays rejected, and it may be sent again."""

    def reset(self, asked: ResetAsked, now_ns: int) -> None:
        """Take back the overrun; results become void only by their own wire's reset."""

    def recipe_active(self, recipe: RecipeFacts) -> None:
        """The recipe that the next part gets."""

    def recipe_refused(self, asked: RecipeAsked | RecipeQueried, reason: str, now_ns: int) -> None:
        """The recipe stays as it is."""

    def status(self, state: State, counters: Counters) -> None:
        """The answer to StatusAsked."""

    def fault(self, code: str, raised: bool) -> None:
        """A fault was raised or cleared."""

    def levels(self, state: State, busy: bool, stop: bool, now_ns: int) -> None:
        """What stands, for wires that have levels; called several times a second."""

    def beat(self, count: int, state: State, is_alive: bool, now_ns: int) -> None:
        """A heartbeat; it must be seen only while `is_alive`, where the wire cannot tell the state."""

    def work(self, now_ns: int) -> None:
        """Do what is due."""

    def flush(self, now_ns: int) -> None:
        """Hand over what was said meanwhile."""

    def close(self, reason: str, now_ns: int) -> None:
        """Make the outputs safe, say so, let go for good. Never raises."""

    def _put_or_count(self, put: Callable[[], object]) -> bool:
        """Whether a result found room; else it is lost on this wire alone, counted, and told the first time."""
        try:
            put()
        except (OutboxFull, HandshakeFull) as exc:
            if self.unannounced == 0:
                log.error("%s", exc)
            self.unannounced += 1
            return False
        return True
