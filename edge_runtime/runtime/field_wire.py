"""The field bus as a wire, the line's end of it: what the registers show, and what masters ask."""

from __future__ import annotations

from edge_runtime.protocol.handshake import Handshake, HandshakeRules
from edge_runtime.protocol.modbus_image import FieldResult, FieldState
from edge_runtime.protocol.modbus_map import COMMANDS, WORD_MAX
from edge_runtime.runtime.events import (
    ControllerEvent,
    PartSeen,
    RecipeAsked,
    RecipeQueried,
    ResetAsked,
    missing_between,
)
from edge_runtime.runtime.handshake_lines import condition_of
from edge_runtime.runtime.health import State
from edge_runtime.runtime.line_actions import Announce, Counters
from edge_runtime.runtime.messages import FieldCommands
from edge_runtime.runtime.recipes import RecipeFacts
from edge_runtime.runtime.wire import Wire
from edge_runtime.values import Outcome

SOURCE = "modbus"
IN_ONE_WRITE = ("acknowledge", "reset", "select_recipe", "trigger")  # a part triggered with them comes after them


def result_id_of(part_id: int) -> int:
    """1 to 65535: the next part's id follows, also after the daemon was started again."""
    return part_id % WORD_MAX + 1


class FieldWire(Wire):
    """Everything a master may see or ask, whether or not a field bus process is there. One thread owns it.

    Results wait in a `Handshake` and are shown one at a time until the master acknowledges their id; a new process is
    simply shown the same again. Without `acknowledge_required` a result stands until the next one comes. Commands act
    when their number changes, so a repeated write does nothing.
    """

    def __init__(self, takes_triggers: bool, acknowledge_required: bool, max_results: int) -> None:
        super().__init__()
        self.has_news = True
        self.trouble = ""
        self._takes_no_results = False  # results were lost because nobody acknowledges; only a reset helps
        self._takes_triggers = takes_triggers
        self._acknowledge_required = acknowledge_required
        self._handshake: Handshake[FieldResult] = Handshake(HandshakeRules(max_results))
        self._newest: FieldResult | None = None  # without acknowledgements
        self._last = dict.fromkeys(COMMANDS, 0)
        self._accepted = (0, 0)
        self._recipe = (0, 0)  # number and digest
        self._beats = 0
        self._stop = False
        self._closed = False

    @property
    def waiting(self) -> int:
        return self._handshake.waiting

    @property
    def takes_no_results(self) -> bool:
        return self._takes_no_results

    # -- what happens on the line -------------------------------------------------------------------------------

    def recipe_active(self, recipe: RecipeFacts) -> None:
        self._recipe, self.has_news = (recipe.number, int(recipe.digest or "0", 16)), True

    def recipe_refused(self, asked: RecipeAsked | RecipeQueried, reason: str, now_ns: int) -> None:
        """The same number may be written again."""
        if asked.source == SOURCE and reason == "starting":
            self._last["select_recipe"] = 0

    def levels(self, state: State, busy: bool, stop: bool, now_ns: int) -> None:
        if stop is not self._stop:
            self._stop, self.has_news = stop, True

    def beat(self, count: int, state: State, is_alive: bool, now_ns: int) -> None:
        self._beats, self.has_news = count + 1, True

    def condition(self, state: State, has_room: bool, now_ns: int) -> None:
        before = self._handshake.signals
        self._handshake.condition(condition_of(state, has_room))
        self.has_news |= self._handshake.signals != before

    def reset(self, asked: ResetAsked, now_ns: int) -> None:
        """This wire's own reset was obeyed when it was read; by another's the results here stand."""
        if asked.source != SOURCE:
            self._handshake.reset_overrun()
            self.has_news = True

    def accepted(self, seen: PartSeen, part_id: int) -> None:
        self._handshake.trigger(part_id if self._acknowledge_required else None)
        if seen.line_seqno is not None:
            self._accepted = (seen.line_seqno, part_id)
        self.has_news = True

    def refused(self, seen: PartSeen) -> None:
        self._handshake.trigger(None)
        self._last["trigger"] = 0
        self.has_news = True

    def announce(self, announcement: Announce, now_ns: int) -> None:
        """A part's verdict; one that finds no room is lost, counted, and was never PASS for a master."""
        result = FieldResult.of(announcement.verdict, announcement.line_seqno, announcement.recipe.mm_per_px)
        if self._acknowledge_required:
            self._put(result, now_ns)
        else:
            self._newest = result
        self.has_news = True

    def close(self, reason: str, now_ns: int) -> None:
        """Masters see a box that is down."""
        self._closed = self.has_news = True

    # -- what masters ask ---------------------------------------------------------------------------------------

    def obey(self, message: FieldCommands, now_ns: int) -> list[ControllerEvent]:
        """What the line must act on, what concerns a part last; acknowledgements are taken here."""
        events: list[ControllerEvent] = []
        for command in sorted(message.commands, key=lambda command: IN_ONE_WRITE.index(command.name)):
            is_new = command.value not in (0, self._last[command.name])
            if command.name == "acknowledge":
                self._acknowledge(command.value, is_new, now_ns)
            elif is_new and command.name == "trigger":
                lost = self._missing_before(command.value)
                events.append(PartSeen(min(message.at_ns, now_ns), command.value, lost_before=lost))
            elif is_new and command.name == "reset":
                self._reset(now_ns)
                events.append(ResetAsked(SOURCE))
            elif is_new and command.name == "select_recipe":
                events.append(RecipeAsked(command.value, SOURCE, min(message.at_ns, now_ns)))
            if command.value or command.name != "trigger":  # two parts have two numbers, whatever came between
                self._last[command.name] = command.value
        self.has_news = True
        return events

    # -- what masters see ---------------------------------------------------------------------------------------

    def news(self, state: State, counters: Counters) -> FieldState | None:
        """What the registers are to show, when that has changed since the last call."""
        if not self.has_news:
            return None
        self.has_news = False
        return self.image(state, counters)

    def image(self, state: State, counters: Counters) -> FieldState:
        """Everything the registers show, now."""
        if self._closed:
            return FieldState()
        signals, result = self._handshake.signals, self._shown
        return FieldState(
            state=state.value,
            heartbeat=self._beats % (WORD_MAX + 1),
            ready=signals.ready and not self._stop,
            busy=signals.busy,
            fault=signals.fault,
            overrun=signals.overrun,
            stop=self._stop,
            takes_triggers=self._takes_triggers,
            accepted_seqno=self._accepted[0],
            accepted_part_id=self._accepted[1],
            recipe_number=self._recipe[0],
            recipe_digest=self._recipe[1],
            waiting=min(self._handshake.waiting, WORD_MAX),
            counters=self._counters(counters),
            result_id=result_id_of(result.part_id) if result is not None else 0,
            result=result,
            commands=tuple(self._last[name] for name in COMMANDS),
        )

    # -- inside -------------------------------------------------------------------------------------------------

    def _counters(self, counters: Counters) -> tuple[int, ...]:
        outcomes = counters.outcomes
        lost = self.unannounced + self._handshake.voided
        return (counters.triggers, *(outcomes[each] for each in Outcome), counters.late, lost)

    def _missing_before(self, line_seqno: int) -> int:
        """Trigger numbers left out; after 65535 comes 1 here, for 0 means none."""
        last = self._last["trigger"]
        return max(0, missing_between(last or None, line_seqno) - (line_seqno < last))

    def _put(self, result: FieldResult, now_ns: int) -> None:
        if not self._put_or_count(lambda: self._handshake.put_or_fault(result, now_ns)):
            self._takes_no_results = True
        self._handshake.work(now_ns)

    def _acknowledge(self, result_id: int, is_new: bool, now_ns: int) -> None:
        """The shown result's id takes it; another one is an irregularity, counted when it is not a mere repetition."""
        shown = self._shown
        if shown is not None and result_id_of(shown.part_id) == result_id:
            self._handshake.acknowledge_id(shown.part_id, now_ns)
        elif is_new:
            self._handshake.acknowledge_id(0, now_ns)
        self._handshake.work(now_ns)

    def _reset(self, now_ns: int) -> None:
        self._handshake.reset(now_ns)
        self._handshake.work(now_ns)
        self._newest = None
        self._takes_no_results = False

    @property
    def _shown(self) -> FieldResult | None:
        if not self._acknowledge_required:
            return self._newest
        signals = self._handshake.signals
        return signals.result if signals.result_valid else None
