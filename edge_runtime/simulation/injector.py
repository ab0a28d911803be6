"""Does to the daemon, its wires and its processes what the plan says, and notes when the line was well again."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from edge_runtime.clock import NS_PER_MS, NS_PER_S
from edge_runtime.simulation.cable import Cable
from edge_runtime.simulation.far_end import FarEnd
from edge_runtime.simulation.faults import Excuse, Injection
from edge_runtime.simulation.plan import RunPlan
from edge_runtime.simulation.station import Station
from edge_runtime.simulation.truth import FOR_EVER_NS, Window
from edge_runtime.simulation.wires import Wires

log = logging.getLogger(__name__)
NOTICED_AFTER_NS = 150 * NS_PER_MS
TOLD_WITHIN_NS = 20 * NS_PER_S
DISTURBANCES = ("noise", "cut_sentence", "lost_ack", "late_ack")
DAEMON_ENDS = frozenset({"daemon_kill", "daemon_stop", "daemon_freeze"})


@dataclass
class _Going:
    injection: Injection
    from_ns: int
    ends_ns: int
    has_ended: bool = False
    untold: bool = False


class Injector:
    """One thread owns it; `work` does what is due. `windows` and `problems` grow as faults are over."""

    def __init__(
        self, plan: RunPlan, start_ns: int, station: Station, cable: Cable, far_end: FarEnd, wires: Wires
    ) -> None:
        self.windows: list[Window] = []
        self.times: dict[str, int] = {}
        self.problems: list[str] = []
        self._own_parts = {injection: plan.own_parts(injection) for injection in plan.injections}
        self._start_ns = start_ns
        self._far_end = far_end
        self._waiting = list(plan.injections)
        self._going: list[_Going] = []
        self._pitch_ns = round(NS_PER_S / plan.wish.rate_hz)
        self._kills = 0
        disturb = far_end.disturbances
        self._begin: dict[str, Callable[[], object]] = {
            "cut_cable": cable.pull,
            "worker_kill": lambda: station.kill_child("inspection", self._kills),
            "capture_kill": lambda: station.kill_child("capture"),
            "office_kill": lambda: station.kill_child("office"),
            "gpio_lost": lambda: wires.lose_chip(500),
            "daemon_kill": lambda: station.signal(signal.SIGKILL),
            "daemon_stop": lambda: station.signal(signal.SIGTERM),
            "daemon_freeze": lambda: station.signal(signal.SIGSTOP),
        }
        self._end: dict[str, Callable[[], object]] = {"cut_cable": cable.plug}
        for name in DISTURBANCES:
            self._begin[name] = partial(disturb.update, {name: 1})
            self._end[name] = partial(disturb.subtract, {name: 1})

    @property
    def daemon_may_be_gone(self) -> bool:
        """Whether a fault that ends the daemon goes on."""
        return any(going.injection.kind.name in DAEMON_ENDS for going in self._going)

    def next_ns(self) -> int:
        """When something is due that is known of already."""
        ends = [going.ends_ns for going in self._going if not going.has_ended]
        return min([*ends, *(self._at_ns(self._waiting[0]) for _ in self._waiting[:1])], default=FOR_EVER_NS)

    def work(self, now_ns: int) -> None:
        """Begin and end what is due."""
        while self._waiting and self._at_ns(self._waiting[0]) <= now_ns:
            self._begin_one(self._waiting.pop(0), now_ns)
        for going in list(self._going):
            if now_ns >= going.ends_ns and not going.has_ended:
                going.has_ended = True
                self._end.get(going.injection.kind.name, _nothing)()
            if going.has_ended and self._is_over(going, now_ns):
                self._going.remove(going)
                self.problems += [f"the daemon never told of {going.injection.kind.name}"] if going.untold else []
                self._close(going, now_ns + self._pitch_ns)

    def give_up(self) -> None:
        """The run is over: what is not well now, never was again."""
        for going in self._going:
            if not (going.has_ended and self._is_over(going, FOR_EVER_NS)):
                self.problems.append(f"after {going.injection.kind.name} the line was not well again")
            self._close(going, FOR_EVER_NS)

    # -- inside -------------------------------------------------------------------------------------------------

    def _at_ns(self, injection: Injection) -> int:
        return self._start_ns + round(injection.at_s * NS_PER_S)

    def _begin_one(self, injection: Injection, now_ns: int) -> None:
        name = injection.kind.name
        self._kills += 1
        if self._begin.get(name, _nothing)() is False:
            return
        self.times[name] = self.times.get(name, 0) + 1
        self._going.append(_Going(injection, now_ns, max(now_ns, self._start_ns + round(injection.until_s * NS_PER_S))))

    def _is_over(self, going: _Going, now_ns: int) -> bool:
        """Whether the daemon has told of the fault, or would have long ago, and the line is well again."""
        kind = going.injection.kind
        if kind.of_belt:
            return True
        if kind.raises and not self._far_end.has_noticed(kind.raises, going.from_ns):
            if now_ns - going.ends_ns < TOLD_WITHIN_NS:
                return False
            going.untold = True
        return self._far_end.is_well_since(going.ends_ns + NOTICED_AFTER_NS)

    def _close(self, going: _Going, to_ns: int) -> None:
        kind = going.injection.kind
        if kind.excuse is Excuse.OWN_PART:
            self.windows += [Window(kind, going.from_ns, to_ns, number) for number in self._own_parts[going.injection]]
        else:
            self.windows.append(Window(kind, going.from_ns, to_ns))


def _nothing() -> None:
    pass
