"""The line's desk: what the controller asks, the books of line control and the wires, brought together."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from edge_runtime.clock import NS_PER_S, Clock
from edge_runtime.runtime.events import (
    ControllerEvent,
    PartSeen,
    RecipeAsked,
    RecipeQueried,
    ResetAsked,
    StatusAsked,
)
from edge_runtime.runtime.health import State
from edge_runtime.runtime.line_actions import Action, Announce, Counters, OpenGate, RecipeSelected
from edge_runtime.runtime.line_control import LineControl
from edge_runtime.runtime.recipes import NO_RECIPE
from edge_runtime.runtime.signals import Signals
from edge_runtime.runtime.stop_rules import StopRule
from edge_runtime.runtime.wire import Wire

log = logging.getLogger(__name__)


class Desk:
    """Acts on every event of the wires and tells them what line control decides; no process, ring or disk here.

    `carry_out` does the actions that need a child or the frame ring; `keep_recipe` has the selected recipe
    remembered. Set `state` before each `work`. One thread owns it.
    """

    def __init__(
        self,
        signals: Signals,
        stop_rule: StopRule,
        clock: Clock,
        carry_out: Callable[[Action, int], None],
        keep_recipe: Callable[[], None],
    ) -> None:
        self.control: LineControl | None = None
        self.state = State.STARTING
        self.is_stopping = False
        self.signals = signals
        self.stop_rule = stop_rule
        self._clock = clock
        self._carry_out = carry_out
        self._keep_recipe = keep_recipe
        self._last_refused: tuple[int, str] | None = None
        self._trigger_times_ns: deque[int] = deque(maxlen=6000)

    @property
    def counters(self) -> Counters:
        return self.control.counters if self.control is not None else Counters()

    @property
    def is_busy(self) -> bool:
        return self.control is not None and self.control.parts_in_flight > 0

    def triggers_per_minute(self, now_ns: int) -> int:
        return sum(now_ns - at_ns < 60 * NS_PER_S for at_ns in self._trigger_times_ns)

    def begin(self, control: LineControl) -> None:
        """Parts have ids from now on."""
        self.control = control
        selected = control.recipes.selected
        if selected is NO_RECIPE:
            numbers = ", ".join(str(number) for number in control.recipes.numbers)
            log.error("no recipe is selected: nothing is inspected until the controller selects one of %s", numbers)
        self.signals.begin_tracking(self._now_ns())
        self.signals.recipe_active(selected)

    # -- time ---------------------------------------------------------------------------------------------------

    def work(self) -> None:
        """Do what is due on the wires and in the books."""
        now_ns = self._now_ns()
        for event in self.signals.settled(now_ns):
            self.on_event(event)
        if self.control is not None:
            self.do(self.control.give_up(self.signals.undecided(now_ns), "at_ejector", now_ns))
            self.do(self.control.expire(now_ns))
        self.signals.work(self.state, now_ns)

    def next_wake_ns(self, now_ns: int) -> int:
        """When `work` has something to do next, apart from input."""
        expiry_ns = self.control.next_expiry_ns() if self.control is not None else None
        wake_ns = self.signals.next_wake_ns(now_ns)
        return wake_ns if expiry_ns is None else min(wake_ns, expiry_ns)

    def show(self) -> None:
        """Hold the levels; call it several times a second."""
        self.signals.levels(self.state, self.is_busy, bool(self.stop_rule.reason), self._now_ns())

    def tell_condition(self) -> None:
        """Whether a part may come; none may while the line is to be stopped."""
        has_room = self.control is not None and self.control.has_room and not self.stop_rule.reason
        self.signals.condition(self.state, has_room, self._now_ns())

    # -- the controller -----------------------------------------------------------------------------------------

    def hear(self, wire: Wire) -> None:
        for event in wire.hear(self._now_ns()):
            self.on_event(event)

    def on_event(self, event: ControllerEvent) -> None:
        """The one place that acts on what the controller asks, whichever wire it came by."""
        if isinstance(event, PartSeen):
            self._part_seen(event)
        elif isinstance(event, ResetAsked):
            self.stop_rule.reset()
            self._carry_out(OpenGate(), self._now_ns())
            self.signals.reset(event, self._now_ns())
        elif isinstance(event, StatusAsked):
            self.signals.status(self.state, self.counters)
        elif isinstance(event, RecipeQueried):
            self._recipe_queried(event)
        else:
            self._recipe_asked(event)

    def part_began(self, at_ns: int) -> None:
        """A part that came without a trigger, in free run."""
        self._trigger_times_ns.append(at_ns)

    def _part_seen(self, seen: PartSeen) -> None:
        if self.control is None:  # no ids yet; read all the same, or an old trigger would later pass for a new part
            self.signals.refused(seen)
            return
        if self.signals.ignores(seen):
            return
        now_ns = self._now_ns()
        self.tell_condition()
        self._trigger_times_ns.append(seen.at_ns)
        part_id, actions = self.control.trigger(seen.at_ns, now_ns, self._clock.utc_now(), seen.line_seqno)
        self.signals.accepted(seen, part_id)
        doubled = self.signals.track(part_id, seen)
        self.do(actions)
        self.do(self.control.give_up(doubled, "doubled_trigger", now_ns))
        if self.is_stopping:
            self.do(self.control.give_up_all("stopping", now_ns))

    def _recipe_queried(self, asked: RecipeQueried) -> None:
        if self.control is None:
            self.signals.recipe_refused(asked, "starting", self._now_ns())
        else:
            self.signals.recipe_active(self.control.recipes.selected)

    def _recipe_asked(self, asked: RecipeAsked) -> None:
        now_ns = self._now_ns()
        refusal, actions = self.control.recipe_asked(asked, now_ns) if self.control is not None else ("starting", [])
        if refusal:
            self._log_refusal(asked, refusal)
            self.signals.recipe_refused(asked, refusal, now_ns)
        self.do(actions)

    def _log_refusal(self, asked: RecipeAsked, refusal: str) -> None:
        """The first of a row of equal ones."""
        if (asked.number, asked.source) != self._last_refused:
            log.warning("recipe %d, asked by %s, is refused: %s", asked.number, asked.source, refusal)
        self._last_refused = (asked.number, asked.source)

    # -- what line control decides ------------------------------------------------------------------------------

    def do(self, actions: list[Action]) -> None:
        """Carry out what line control decided, in its order."""
        now_ns = self._now_ns()
        for action in actions:
            if isinstance(action, Announce):
                self.signals.announce(action, now_ns)
                self.stop_rule.concluded(action.verdict.outcome)
            elif isinstance(action, RecipeSelected):
                self._recipe_selected(action)
            else:
                self._carry_out(action, now_ns)

    def _recipe_selected(self, selected: RecipeSelected) -> None:
        """Kept first: whoever was told finds it again, even if this process is killed in between."""
        recipe = selected.recipe
        if selected.is_new:
            log.info("recipe %d (%s, %s) from the next part on", recipe.number, recipe.name, recipe.digest)
        self._keep_recipe()
        self.signals.recipe_active(recipe)

    def _now_ns(self) -> int:
        return self._clock.monotonic_ns()
