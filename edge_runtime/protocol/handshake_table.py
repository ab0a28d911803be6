"""Which transitions of the handshake are legal: two small machines as data. `docs/handshake.md` is made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar


class TriggerState(str, Enum):
    """Whether a part may come."""

    OFFLINE = "offline"
    READY = "ready"
    BUSY = "busy"
    FAULT = "fault"


class TriggerEvent(str, Enum):
    """What happens to the trigger side. The first four are conditions of the box, told again as often as you like."""

    ABLE = "able"
    FULL = "full"
    BLIND = "blind"
    OFF = "off"
    TRIGGER = "trigger"
    RESET = "reset"


class ResultState(str, Enum):
    """What stands on the result lines."""

    EMPTY = "empty"
    SETUP = "setup"
    VALID = "valid"
    HOLD = "hold"
    TAKEN = "taken"
    LOST = "lost"


class ResultEvent(str, Enum):
    """What happens to the result side. PRESENT, SETTLED, HELD and RELEASED are its own doing, the rest comes to it."""

    PRESENT = "present"
    SETTLED = "settled"
    ACK = "ack"
    OTHER_ACK = "other ack"
    HELD = "held"
    RELEASED = "released"
    OVERFLOW = "overflow"
    INTERRUPTED = "interrupted"
    RESET = "reset"


S = TypeVar("S", TriggerState, ResultState)


@dataclass(frozen=True)
class Step(Generic[S]):
    """The state that follows; `irregular` names what the controller should not have done and is counted under it."""

    to: S
    irregular: str = ""


def _trigger_rows(state: TriggerState, on_trigger: Step[TriggerState]) -> dict[TriggerEvent, Step[TriggerState]]:
    """Conditions lead from everywhere to their state; a reset leaves it, for only the cause's end ends a fault."""
    return {
        TriggerEvent.ABLE: Step(TriggerState.READY),
        TriggerEvent.FULL: Step(TriggerState.BUSY),
        TriggerEvent.BLIND: Step(TriggerState.FAULT),
        TriggerEvent.OFF: Step(TriggerState.OFFLINE),
        TriggerEvent.TRIGGER: on_trigger,
        TriggerEvent.RESET: Step(state),
    }


_T, _R, _E = TriggerState, ResultState, ResultEvent
OVERRUN = "overrun"
TRIGGER_TABLE: Mapping[TriggerState, Mapping[TriggerEvent, Step[TriggerState]]] = {
    _T.OFFLINE: _trigger_rows(_T.OFFLINE, Step(_T.OFFLINE, OVERRUN)),
    _T.READY: _trigger_rows(_T.READY, Step(_T.READY)),
    _T.BUSY: _trigger_rows(_T.BUSY, Step(_T.BUSY, OVERRUN)),
    _T.FAULT: _trigger_rows(_T.FAULT, Step(_T.FAULT, OVERRUN)),
}
RESULT_TABLE: Mapping[ResultState, Mapping[ResultEvent, Step[ResultState]]] = {
    _R.EMPTY: {
        _E.PRESENT: Step(_R.SETUP),
        _E.ACK: Step(_R.EMPTY, "ack_without_result"),
        _E.OTHER_ACK: Step(_R.EMPTY, "ack_of_other_part"),
        _E.OVERFLOW: Step(_R.LOST, "result_lost"),
        _E.INTERRUPTED: Step(_R.EMPTY),
        _E.RESET: Step(_R.EMPTY),
    },
    _R.SETUP: {
        _E.SETTLED: Step(_R.VALID),
        _E.ACK: Step(_R.SETUP, "ack_too_early"),
        _E.OTHER_ACK: Step(_R.SETUP, "ack_of_other_part"),
        _E.OVERFLOW: Step(_R.LOST, "result_lost"),
        _E.INTERRUPTED: Step(_R.EMPTY),
        _E.RESET: Step(_R.EMPTY),
    },
    _R.VALID: {
        _E.ACK: Step(_R.HOLD),
        _E.OTHER_ACK: Step(_R.VALID, "ack_of_other_part"),
        _E.OVERFLOW: Step(_R.LOST, "result_lost"),
        _E.INTERRUPTED: Step(_R.LOST, "result_lost"),
        _E.RESET: Step(_R.HOLD),
    },
    _R.HOLD: {
        _E.HELD: Step(_R.TAKEN),
        _E.ACK: Step(_R.HOLD, "ack_repeated"),
        _E.OTHER_ACK: Step(_R.HOLD, "ack_of_other_part"),
        _E.OVERFLOW: Step(_R.LOST, "result_lost"),
        _E.INTERRUPTED: Step(_R.TAKEN),
        _E.RESET: Step(_R.HOLD),
    },
    _R.TAKEN: {
        _E.RELEASED: Step(_R.EMPTY),
        _E.ACK: Step(_R.TAKEN, "ack_repeated"),
        _E.OTHER_ACK: Step(_R.TAKEN, "ack_of_other_part"),
        _E.OVERFLOW: Step(_R.LOST, "result_lost"),
        _E.INTERRUPTED: Step(_R.TAKEN),
        _E.RESET: Step(_R.TAKEN),
    },
    _R.LOST: {
        _E.ACK: Step(_R.LOST, "ack_without_result"),
        _E.OTHER_ACK: Step(_R.LOST, "ack_of_other_part"),
        _E.OVERFLOW: Step(_R.LOST, "result_lost"),
        _E.INTERRUPTED: Step(_R.LOST),
        _E.RESET: Step(_R.TAKEN),
    },
}
IRREGULARITIES = tuple(
    sorted(
        {step.irregular for row in TRIGGER_TABLE.values() for step in row.values() if step.irregular}
        | {step.irregular for row in RESULT_TABLE.values() for step in row.values() if step.irregular}
    )
)
