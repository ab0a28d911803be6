"""The handshake between box and controller, as `handshake_table` allows it: whether a part may come, and results one
at a time, in the order of their triggers, each until it is acknowledged. Pure: no line, register or clock inside.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from edge_runtime.errors import SignalError
from edge_runtime.protocol.handshake_table import (
    IRREGULARITIES,
    RESULT_TABLE,
    TRIGGER_TABLE,
    ResultEvent,
    ResultState,
    TriggerEvent,
    TriggerState,
)


class PartData(Protocol):
    """What is told about a part; the handshake looks at its id alone."""

    @property
    def part_id(self) -> int: ...


R = TypeVar("R", bound=PartData)


class HandshakeFull(SignalError):
    """The controller no longer acknowledges; the result was not taken, and none is presented until a reset."""


@dataclass(frozen=True)
class HandshakeRules:
    """Bounds and times. With zero times results follow each other without a gap, for wires that carry ids.

    Data stand `setup_ns` before `result_valid` and as long after it; between two results it is off for at least
    `off_ns`, so that the controller sees the edge. At most `max_results` results wait.
    """

    max_results: int = 256
    setup_ns: int = 0
    off_ns: int = 0

    def __post_init__(self) -> None:
        if self.max_results < 1 or self.setup_ns < 0 or self.off_ns < 0:
            raise ValueError(f"handshake out of range: {self}")


@dataclass(frozen=True)
class HandshakeSignals(Generic[R]):
    """Everything the controller sees, as it stands now.

    `busy` and `fault`: no part may come, for the moment or until the box can inspect and tell again. `result` is the
    data and counts only while `result_valid` stands: write a falling `result_valid` before the data, a rising one
    after them.
    """

    ready: bool
    busy: bool
    fault: bool
    overrun: bool
    result_valid: bool
    result: R | None


class Handshake(Generic[R]):
    """Both machines and the results that wait. One thread owns it; nothing blocks, time is an argument.

    Acknowledge by id (`acknowledge_id`: another id is ignored, counted) or by level (`acknowledge_level`: the rising
    edge takes the presented result, the next waits for the release). Call `work` after each event and at
    `next_wake_ns`, then show `signals`. `irregular` counts what the controller should not have done.
    """

    def __init__(self, rules: HandshakeRules = HandshakeRules()) -> None:
        self.trigger_state = TriggerState.OFFLINE
        self.result_state = ResultState.EMPTY
        self.overrun = False
        self.irregular: Counter[str] = Counter(dict.fromkeys(IRREGULARITIES, 0))
        self.voided = 0
        self._rules = rules
        self._condition = TriggerEvent.OFF
        self._open: dict[int, R | None] = {}  # by part, in the order of the triggers; None: no verdict yet
        self._void_up_to = 0
        self._last_part = 0
        self._shown: R | None = None
        self.ack_active = False
        self._since_ns = 0
        self._off_since_ns: int | None = None

    @property
    def signals(self) -> HandshakeSignals[R]:
        state = self.trigger_state
        return HandshakeSignals(
            ready=state is TriggerState.READY,
            busy=state is TriggerState.BUSY,
            fault=state in (TriggerState.OFFLINE, TriggerState.FAULT),
            overrun=self.overrun,
            result_valid=self.result_state is ResultState.VALID,
            result=self._shown,
        )

    @property
    def waiting(self) -> int:
        """Results that are not acknowledged, the presented one included."""
        return sum(result is not None for result in self._open.values())

    # -- trigger side -------------------------------------------------------------------------------------------

    def condition(self, condition: TriggerEvent) -> None:
        """Say what the box can do now: ABLE, FULL, BLIND or OFF. Call it before `trigger`, too."""
        self._condition = condition
        self._trigger_step(TriggerEvent.BLIND if self.result_state is ResultState.LOST else condition)

    def trigger(self, part_id: int | None) -> bool:
        """A trigger came and became this part (None: none, the box is starting). False when it was an overrun."""
        if part_id is not None:
            self._last_part = max(self._last_part, part_id)
            self._open[part_id] = None
        return not self._trigger_step(TriggerEvent.TRIGGER)

    def reset_overrun(self) -> None:
        """Another wire asked for a reset: this wire's controller still keeps its list of open parts."""
        self.overrun = False

    def reset(self, now_ns: int) -> None:
        """Begin anew: no overrun, and parts triggered until now get no result any more; they are rejected."""
        self.overrun = False
        self._trigger_step(TriggerEvent.RESET)
        self._void()
        self._result_step(ResultEvent.RESET, now_ns)
        self.condition(self._condition)

    # -- result side --------------------------------------------------------------------------------------------

    def put_or_fault(self, result: R, now_ns: int) -> None:
        """Take a part's result; it is presented after those of all parts triggered earlier. Raises HandshakeFull."""
        if result.part_id <= self._void_up_to:
            self.voided += 1
            return
        self._last_part = max(self._last_part, result.part_id)
        if self.result_state is not ResultState.LOST and self.waiting < self._rules.max_results:
            self._open[result.part_id] = result
            return
        self._lose(ResultEvent.OVERFLOW, now_ns)
        raise HandshakeFull(
            f"part {result.part_id}: results wait for the controller's acknowledgement, none is presented any more; "
            "check that it acknowledges, let it reject all open parts and reset"
        )

    def acknowledge_id(self, part_id: int, now_ns: int) -> bool:
        """The controller has read this part's result; False when another or none is presented."""
        is_shown = self._shown is not None and self._shown.part_id == part_id
        event = ResultEvent.ACK if is_shown else ResultEvent.OTHER_ACK
        return self._acknowledge(event, now_ns)

    def acknowledge_level(self, active: bool, at_ns: int, now_ns: int) -> bool:
        """The ack line has this level since `at_ns`; True when its rise takes the presented result."""
        is_rising = active and not self.ack_active
        self.ack_active = active
        if not is_rising:
            return False
        if self.result_state is ResultState.VALID and at_ns < self._since_ns:
            self.irregular["ack_too_early"] += 1  # it rose before it could know of this result
            return False
        return self._acknowledge(ResultEvent.ACK, now_ns)

    def interrupted(self, now_ns: int) -> None:
        """The wire was lost. Whether a result that stood on it was read is unknown: then only a reset helps."""
        if self.result_state is ResultState.VALID:
            self._lose(ResultEvent.INTERRUPTED, now_ns)
        else:
            self._result_step(ResultEvent.INTERRUPTED, now_ns)

    # -- time ---------------------------------------------------------------------------------------------------

    def work(self, now_ns: int) -> None:
        """Do what is due: at most one result is presented and one released in a call."""
        for _ in ResultState:
            event, due_ns = self._next()
            if event is None or due_ns > now_ns:
                return
            self._result_step(event, now_ns)

    def next_wake_ns(self) -> int | None:
        """When `work` next has something to do; None: not before the next event."""
        event, due_ns = self._next()
        return None if event is None else due_ns

    # -- inside -------------------------------------------------------------------------------------------------

    def _next(self) -> tuple[ResultEvent | None, int]:
        """The result side's own next doing, and when."""
        settled_ns = self._since_ns + self._rules.setup_ns
        if self.result_state is ResultState.SETUP:
            return ResultEvent.SETTLED, max(settled_ns, self._rested_ns)
        if self.result_state is ResultState.HOLD:
            return ResultEvent.HELD, settled_ns
        if self.ack_active:
            return None, 0
        if self.result_state is ResultState.TAKEN:
            return ResultEvent.RELEASED, self._since_ns
        is_due = self.result_state is ResultState.EMPTY and next(iter(self._open.values()), None) is not None
        return (ResultEvent.PRESENT, self._since_ns) if is_due else (None, 0)

    @property
    def _rested_ns(self) -> int:
        return 0 if self._off_since_ns is None else self._off_since_ns + self._rules.off_ns

    def _acknowledge(self, event: ResultEvent, now_ns: int) -> bool:
        was = self.result_state
        self._result_step(event, now_ns)
        if (was, self.result_state) != (ResultState.VALID, ResultState.HOLD):
            return False
        assert self._shown is not None
        del self._open[self._shown.part_id]
        return True

    def _lose(self, event: ResultEvent, now_ns: int) -> None:
        """From here on an order of results would be a wrong one."""
        self._void()
        self._result_step(event, now_ns)
        self.condition(self._condition)

    def _void(self) -> None:
        self.voided += self.waiting
        self._open.clear()
        self._void_up_to = self._last_part

    def _trigger_step(self, event: TriggerEvent) -> str:
        step = TRIGGER_TABLE[self.trigger_state][event]
        self.trigger_state = step.to
        if step.irregular:
            self.irregular[step.irregular] += 1
            self.overrun = True
        return step.irregular

    def _result_step(self, event: ResultEvent, now_ns: int) -> None:
        """Follow the table; KeyError, a mistake in this file, for an event that is absent in this state."""
        step = RESULT_TABLE[self.result_state][event]
        if step.irregular:
            self.irregular[step.irregular] += 1
        if step.to is self.result_state:
            return
        if self.result_state is ResultState.VALID:
            self._off_since_ns = now_ns
        self.result_state, self._since_ns = step.to, now_ns
        if step.to is ResultState.SETUP:
            self._shown = next(iter(self._open.values()))
        elif step.to not in (ResultState.VALID, ResultState.HOLD):
            self._shown = None
