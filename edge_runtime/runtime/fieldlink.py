"""The line's end of a field bus: what the registers show, results until they are acknowledged, what masters ask."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from edge_runtime.protocol.handshake import Handshake, HandshakeFull, HandshakeRules
from edge_runtime.protocol.modbus_image import FieldResult, FieldState
from edge_runtime.protocol.modbus_map import COMMANDS, WORD_MAX
from edge_runtime.runtime.events import ControllerEvent, PartSeen, RecipeAsked, ResetAsked, missing_between
from edge_runtime.runtime.handshake_lines import condition_of
from edge_runtime.runtime.health import State
from edge_runtime.runtime.line_control import Counters
from edge_runtime.runtime.messages import FieldCommands
from edge_runtime.values import Outcome, Verdict

log = logging.getLogger(__name__)
SOURCE = "modbus"
IN_ONE_WRITE = ("acknowledge", "reset", "select_recipe", "trigger")  # a part triggered with them comes after them


@dataclass(frozen=True)
class RecipeShown:
    """The recipe of the next part, as the registers name it."""

    number: int
    digest: int


def result_id_of(part_id: int) -> int:
    """1 to 65535: the next part's id follows, also after the daemon was started again."""
    return part_id % WORD_MAX + 1


class FieldLink:
    """Everything a master may see or ask, whether or not a field bus process is there. One thread owns it.

    Results wait in a `Handshake` and are shown one at a time until the master acknowledges their id; a new process is
    simply shown the same again. Without `acknowledge_required` a result stands until the next one comes. Commands act
    when their number changes, so a repeated write does nothing.
    """

    def __init__(self, takes_triggers: bool, acknowledge_required: bool, max_results: int) -> None:
        self.has_news = True
        self.trouble = ""
        self.takes_no_results = False  # results were lost because nobody acknowledges; only a reset helps
        self._takes_triggers = takes_triggers
        self._acknowledge_required = acknowledge_required
        self._handshake: Handshake[FieldResult] = Handshake(HandshakeRules(max_results))
        self._newest: FieldResult | None = None  # without acknowledgements
        self._last = dict.fromkeys(COMMANDS, 0)
        self._accepted = (0, 0)
        self._recipe = RecipeShown(0, 0)
        self._stop = False
        self._lost_results = 0
        self._closed = False

    @property
    def waiting(self) -> int:
        return self._handshake.waiting

    # -- what happens on the line -------------------------------------------------------------------------------

    def recipe(self, shown: RecipeShown) -> None:
        """From the next part on."""
        self._recipe, self.has_news = shown, True

    def recipe_refused(self) -> None:
        """The same number may be written again."""
        self._last["select_recipe"] = 0

    def stop(self, demanded: bool) -> None:
        if demanded is not self._stop:
            self._stop, self.has_news = demanded, True

    def condition(self, state: State, has_room: bool) -> None:
        """Whether a trigger would be inspected now."""
        before = self._handshake.signals
        self._handshake.condition(condition_of(state, has_room))
        self.has_news |= self._handshake.signals != before

    def reset_by_other(self) -> None:
        """Another wire asked for a reset: this wire's results stand."""
        self._handshake.reset_overrun()
        self.has_news = True

    def triggered(self, part_id: int | None, line_seqno: int | None) -> None:
        """A trigger, by whichever wire, became this part; None: it was refused and may be sent again."""
        self._handshake.trigger(part_id if self._acknowledge_required else None)
        if part_id is None:
            self._last["trigger"] = 0
        elif line_seqno is not None:
            self._accepted = (line_seqno, part_id)
        self.has_news = True

    def announce(self, verdict: Verdict, line_seqno: int | None, now_ns: int, mm_per_px: float | None = None) -> None:
        """A part's verdict; one that finds no room is lost, counted, and was never PASS for a master.

        `mm_per_px` is that of the part's recipe; None: defects are told in pixels.
        """
        result = FieldResult.of(verdict, line_seqno, mm_per_px)
        if self._acknowledge_required:
            self._put(result, now_ns)
        else:
            self._newest = result
        self.has_news = True

    def close(self) -> None:
        """For good: masters see a box that is down."""
        self._closed = self.has_news = True

    # -- what masters ask ---------------------------------------------------------------------------------------

    def hear(self, message: FieldCommands, now_ns: int) -> list[ControllerEvent]:
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

    def state(self, state: State, beats: int, counters: Counters) -> FieldState:
        """Everything the registers show, now."""
        if self._closed:
            return FieldState()
        signals, result = self._handshake.signals, self._shown
        return FieldState(
            state=state.value,
            heartbeat=beats % (WORD_MAX + 1),
            ready=signals.ready and not self._stop,
            busy=signals.busy,
            fault=signals.fault,
            overrun=signals.overrun,
            stop=self._stop,
            takes_triggers=self._takes_triggers,
            accepted_seqno=self._accepted[0],
            accepted_part_id=self._accepted[1],
            recipe_number=self._recipe.number,
            recipe_digest=self._recipe.digest,
            waiting=min(self._handshake.waiting, WORD_MAX),
            counters=self._counters(counters),
            result_id=result_id_of(result.part_id) if result is not None else 0,
            result=result,
            commands=tuple(self._last[name] for name in COMMANDS),
        )

    # -- inside -------------------------------------------------------------------------------------------------

    def _counters(self, counters: Counters) -> tuple[int, ...]:
        outcomes = counters.outcomes
        lost = self._lost_results + self._handshake.voided
        return (counters.triggers, *(outcomes[each] for each in Outcome), counters.late, lost)

    def _missing_before(self, line_seqno: int) -> int:
        """Trigger numbers left out; after 65535 comes 1 here, for 0 means none."""
        last = self._last["trigger"]
        return max(0, missing_between(last or None, line_seqno) - (line_seqno < last))

    def _put(self, result: FieldResult, now_ns: int) -> None:
        try:
            self._handshake.put_or_fault(result, now_ns)
        except HandshakeFull as exc:
            self._lost_results += 1
            if not self.takes_no_results:
                log.error("modbus: %s", exc)
            self.takes_no_results = True
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
        self.takes_no_results = False

    @property
    def _shown(self) -> FieldResult | None:
        if not self._acknowledge_required:
            return self._newest
        signals = self._handshake.signals
        return signals.result if signals.result_valid else None
