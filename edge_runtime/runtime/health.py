"""The daemon's state table, its faults and the restart budget: pure, time is an argument."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum

from edge_runtime.clock import NS_PER_S

FIRST_BACKOFF_NS = NS_PER_S // 20
MAX_BACKOFF_NS = 5 * NS_PER_S


class State(str, Enum):
    """What the box is doing, in the words of the wire, the log and the page."""

    STARTING = "starting"
    READY = "ready"
    INSPECTING = "inspecting"
    DEGRADED = "degraded"
    FAULT = "fault"
    STOPPING = "stopping"


INSPECTING_STATES = frozenset({State.READY, State.INSPECTING, State.DEGRADED})

# Legal transitions; what is absent is an error.
TRANSITIONS: dict[State, frozenset[State]] = {
    State.STARTING: frozenset({State.READY, State.INSPECTING, State.DEGRADED, State.FAULT, State.STOPPING}),
    State.READY: frozenset({State.INSPECTING, State.DEGRADED, State.FAULT, State.STOPPING}),
    State.INSPECTING: frozenset({State.READY, State.DEGRADED, State.FAULT, State.STOPPING}),
    State.DEGRADED: frozenset({State.READY, State.INSPECTING, State.FAULT, State.STOPPING}),
    State.FAULT: frozenset({State.STARTING, State.READY, State.INSPECTING, State.DEGRADED, State.STOPPING}),
    State.STOPPING: frozenset(),
}


class Fault(str, Enum):
    """What can be wrong. The first group blinds the line (fault), the second hampers it (degraded)."""

    CAMERA = "camera"
    WORKERS = "workers"
    RECORDS = "records"
    GPIO = "gpio"
    ENCODER = "encoder"
    RECIPE = "recipe"

    WORKER = "worker"
    OFFICE = "office"
    STORAGE = "storage"
    SERIAL = "serial"
    ACKNOWLEDGE = "acknowledge"
    GUARD = "guard"
    FIELDBUS = "fieldbus"
    REJECTS = "rejects"
    GATE = "gate"


BLINDING = frozenset({Fault.CAMERA, Fault.WORKERS, Fault.RECORDS, Fault.GPIO, Fault.ENCODER, Fault.RECIPE})
RESTART_MAY_HELP = BLINDING - {Fault.RECIPE}


def next_state(current: State, started: bool, faults: frozenset[Fault], parts_in_flight: int) -> State:
    """The state that follows from what is true now; STOPPING is entered by `move` alone and never left."""
    if current is State.STOPPING:
        return current
    if not started:
        return State.FAULT if faults else State.STARTING
    if faults & BLINDING:
        return State.FAULT
    if faults:
        return State.DEGRADED
    return State.INSPECTING if parts_in_flight else State.READY


def move(current: State, wanted: State) -> State:
    """`wanted`, after checking that the table allows it. Raises ValueError for an illegal transition."""
    if wanted is not current and wanted not in TRANSITIONS[current]:
        raise ValueError(f"no way from {current.value} to {wanted.value}")
    return wanted


@dataclass(frozen=True)
class RestartAdvice:
    """When to start again; `spent`: the budget is used up, the slow pace rules."""

    at_ns: int
    spent: bool


class RestartBudget:
    """At most `restarts_max` quick restarts within `window_ns`; after that one every MAX_BACKOFF_NS.

    A child that had become ready is started again at once, so that a crash costs one part; one that does not even
    become ready waits longer each time.
    """

    def __init__(self, restarts_max: int, window_ns: int) -> None:
        self._restarts_max = restarts_max
        self._window_ns = window_ns
        self._deaths_ns: deque[int] = deque(maxlen=restarts_max + 1)
        self._failed_starts = 0

    def died(self, now_ns: int, was_ready: bool) -> RestartAdvice:
        self._deaths_ns.append(now_ns)
        self._failed_starts = 0 if was_ready else self._failed_starts + 1
        if self.spent(now_ns):
            return RestartAdvice(now_ns + MAX_BACKOFF_NS, spent=True)
        backoff_ns = FIRST_BACKOFF_NS * 2 ** min(self._failed_starts - 1, 10) if self._failed_starts else 0
        return RestartAdvice(now_ns + min(backoff_ns, MAX_BACKOFF_NS), spent=False)

    def spent(self, now_ns: int) -> bool:
        return self._recent(now_ns) > self._restarts_max

    def _recent(self, now_ns: int) -> int:
        return sum(now_ns - death_ns < self._window_ns for death_ns in self._deaths_ns)
