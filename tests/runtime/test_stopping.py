"""The way out ends without whoever hangs, but not before the office has saved what it was given; real processes."""

from __future__ import annotations

import select
import subprocess
from collections.abc import Callable, Iterator

import pytest

from edge_runtime.clock import ManualClock
from edge_runtime.runtime.children import Child, ChildSpec, Role
from edge_runtime.runtime.desk import Desk
from edge_runtime.runtime.health import RestartBudget
from edge_runtime.runtime.service_notify import ServiceNotifier
from edge_runtime.runtime.signals import Signals
from edge_runtime.runtime.stop_rules import StopLimits, StopRule
from edge_runtime.runtime.stopping import Stopping
from edge_runtime.runtime.supervisor import Supervisor


class Exit:
    """A line without wires or parts that was just told to stop, and its children, each of which hangs."""

    def __init__(self, *roles: Role) -> None:
        self._clock = ManualClock()
        specs = [ChildSpec(role, 0, 60_000, 60_000) for role in roles]
        budget = RestartBudget(1, 1)
        self.children = [Child(spec, lambda *_: subprocess.Popen(["sleep", "60"]), "", budget) for spec in specs]
        supervisor = Supervisor(self.children, ServiceNotifier({}))
        supervisor.start_all(0)
        signals = Signals(None, None, None, 100)
        desk = Desk(signals, StopRule(StopLimits()), self._clock, lambda *_: None, lambda: None)
        self._stopping = Stopping(desk, supervisor)
        self._stopping.ask(0)
        self.is_finished_after(0)

    def is_finished_after(self, ms: float) -> bool:
        self._clock.advance_ms(ms)
        return self._stopping.finished(None, self._clock.monotonic_ns())

    def end(self) -> None:
        for child in self.children:
            if child.running:
                child.kill()
                select.select([child.pidfd], [], [])
                child.reap(0)


@pytest.fixture
def leave() -> Iterator[Callable[..., Exit]]:
    made: list[Exit] = []

    def make(*roles: Role) -> Exit:
        made.append(Exit(*roles))
        return made[-1]

    yield make
    for each in made:
        each.end()


def test_whoever_hangs_is_left_after_a_moment(leave):
    line = leave(Role.CAPTURE, Role.INSPECTION, Role.GUARD)
    assert not line.is_finished_after(2600)
    assert line.is_finished_after(1)


def test_an_office_that_still_saves_pictures_is_waited_for(leave):
    line = leave(Role.OFFICE, Role.CAPTURE)
    assert not line.is_finished_after(19_000)
    line.end()
    assert line.is_finished_after(0)


def test_an_office_that_hangs_is_left_at_last(leave):
    line = leave(Role.OFFICE)
    assert line.is_finished_after(20_001)
