"""A take-over step by step, with real processes that the test speaks for, and a clock of our own."""

import os
import subprocess

import pytest

from edge_runtime.clock import ManualClock
from edge_runtime.runtime.channel import Channel
from edge_runtime.runtime.children import WORKERS_AT_MOST, Child, ChildSpec, Role
from edge_runtime.runtime.health import RestartBudget
from edge_runtime.runtime.messages import Loaded, NewRecipes, Prepared, Ready, Setup
from edge_runtime.runtime.recipes import RecipeFacts
from edge_runtime.runtime.service_notify import ServiceNotifier
from edge_runtime.runtime.supervisor import Supervisor
from edge_runtime.runtime.takeover import Takeover, TakeoverPlan

WITHIN_MS = 5000
OLD, NEW = '{"settings": "old"}', '{"settings": "new"}'
RECIPE = RecipeFacts(1, "one", "model/2", "0badcafe")
DIGESTS = {1: RECIPE.digest}


class InVain:
    """The birth of a child that the fork server does not live to make."""

    def fileno(self) -> int:
        return -1

    def process(self, now_ns: int) -> "subprocess.Popen[bytes]":
        raise OSError("the fork server is gone")

    def tend(self, now_ns: int) -> None:
        pass


class Station:
    """A line's capture and one worker, and what a take-over adds to them."""

    def __init__(self) -> None:
        self.clock = ManualClock(start_ns=5_000_000_000)
        self.far_ends: list[Channel] = []  # the first is capture's
        self.made: list[Child] = []
        self.forks_in_vain = False
        in_service = [self.child(Role.CAPTURE, 0), self.child(Role.INSPECTION, 0)]
        self.supervisor = Supervisor(in_service, ServiceNotifier({}))
        self.supervisor.start_all(self.now_ns)
        for each in in_service:
            each.greet(self.now_ns)
        plan = TakeoverPlan(lambda _: self.child(Role.PREPARER, 0), self.workers, WITHIN_MS)
        self.takeover = Takeover(plan, self.supervisor, OLD)

    @property
    def now_ns(self) -> int:
        return self.clock.monotonic_ns()

    @property
    def capture(self) -> Child:
        return self.supervisor.one(Role.CAPTURE)

    @property
    def newcomers(self) -> list[Child]:
        return [each for each in self.made if each.spec.index >= WORKERS_AT_MOST]

    def child(self, role: Role, index: int) -> Child:
        spec = ChildSpec(role, index, start_timeout_ms=60_000, hang_timeout_ms=60_000)
        self.made.append(Child(spec, self.spawn, OLD, RestartBudget(3, 1)))
        return self.made[-1]

    def workers(self, settings: str, first_index: int) -> list[Child]:
        assert settings == NEW
        return [self.child(Role.INSPECTION, first_index + each) for each in range(2)]

    def spawn(self, spec: ChildSpec, channel_fd: int) -> "subprocess.Popen[bytes] | InVain":
        if self.forks_in_vain:
            return InVain()
        self.far_ends.append(Channel.from_fd(os.dup(channel_fd)))
        return subprocess.Popen(["sleep", "60"])

    def work(self, after_ms: float = 0, in_service: bool = True) -> str:
        """One tick; what is told then."""
        self.clock.advance_ms(after_ms)
        self.takeover.work(in_service, self.now_ns)
        return self.takeover.told

    def prepare(self) -> int:
        """As far as the new workers; the number under which capture is asked to load."""
        self.takeover.ask()
        self.work()
        self.takeover.prepared(self.supervisor.one(Role.PREPARER), Prepared(NEW, (RECIPE,), 0), self.now_ns)
        return self.asked_to_load()

    def asked_to_load(self) -> int:
        while not isinstance(message := self.far_ends[0].wait(5000), NewRecipes):
            assert isinstance(message, Setup)
        return message.load_no

    def bury(self, *children: Child) -> None:
        for child in children:
            child.kill()
            self.supervisor.gone(child, self.now_ns) if child in self.supervisor.children else child.reap(self.now_ns)


@pytest.fixture
def here():
    station = Station()
    yield station
    station.bury(*[child for child in station.made if child.running])
    for each in station.far_ends:
        each.close()


def test_it_is_told_what_it_waits_for_until_all_are_ready(here):
    assert here.work() == ""
    here.takeover.ask()
    assert here.work() == "waiting for the settings to be read"
    here.takeover.prepared(here.supervisor.one(Role.PREPARER), Prepared(NEW, (RECIPE,), 0), here.now_ns)
    assert here.work() == "waiting for 2 of 2 new workers and the templates"
    here.takeover.loaded(Loaded(here.asked_to_load(), DIGESTS))
    first, second = here.newcomers
    here.takeover.worker_ready(first, Ready(DIGESTS))
    assert here.takeover.complete(here.now_ns) is None
    assert here.work(after_ms=300) == "waiting for 1 of 2 new workers"
    here.takeover.worker_ready(second, Ready(DIGESTS))
    new = here.takeover.complete(here.now_ns)
    assert (new.prepared.settings, new.workers, here.takeover.told) == (NEW, [first, second], "taken over in 300 ms")
    assert here.work(after_ms=WITHIN_MS + 1) == "taken over in 300 ms"


def test_what_capture_was_asked_for_by_an_earlier_attempt_or_process_counts_for_nothing(here):
    stale = here.prepare()
    here.takeover.refuse("of a test")
    here.bury(*[child for child in here.supervisor.children if child not in (here.capture, here.made[1])])
    here.takeover.ask()
    here.work()
    here.takeover.loaded(Loaded(stale, DIGESTS))
    here.takeover.loaded(Loaded(stale, {}, "a template that was damaged then"))
    assert here.work() == "waiting for the settings to be read"
    again = here.prepare()
    for worker in here.newcomers[-2:]:
        here.takeover.worker_ready(worker, Ready(DIGESTS))
    here.takeover.loaded(Loaded(stale, DIGESTS))
    here.takeover.loaded(Loaded(stale, {}, "a template that was damaged then"))
    assert here.takeover.complete(here.now_ns) is None
    here.takeover.loaded(Loaded(again, DIGESTS))
    here.takeover.capture_ready(here.now_ns)  # it came back anew
    assert here.takeover.complete(here.now_ns) is None
    anew = here.asked_to_load()
    here.takeover.loaded(Loaded(anew, DIGESTS))
    assert here.takeover.complete(here.now_ns).load_no == anew > again > stale


def test_nothing_is_taken_over_while_capture_is_away_though_it_had_loaded(here):
    here.takeover.loaded(Loaded(here.prepare(), DIGESTS))
    for worker in here.newcomers:
        here.takeover.worker_ready(worker, Ready(DIGESTS))
    here.bury(here.capture)
    assert here.takeover.complete(here.now_ns) is None
    assert here.work() == "waiting for the camera"


@pytest.mark.parametrize("missing", ["the settings to be read", "1 of 2 new workers", "the camera"])
def test_one_that_takes_too_long_is_refused_and_says_what_it_waited_for(here, missing):
    if missing == "the settings to be read":
        here.takeover.ask()
    else:
        here.takeover.loaded(Loaded(here.prepare(), DIGESTS))
        for worker in here.newcomers[: 1 if "workers" in missing else 2]:
            here.takeover.worker_ready(worker, Ready(DIGESTS))
    if missing == "the camera":
        here.bury(here.capture)
    assert here.work() == f"waiting for {missing}"
    assert here.work(after_ms=WITHIN_MS) == f"waiting for {missing}"
    assert here.work(after_ms=1) == f"refused: not ready within 5 s, waiting for {missing}"
    assert here.takeover.complete(here.now_ns) is None
    assert all(child.is_unwanted for child in here.newcomers)


def test_one_that_is_ready_at_last_is_taken_over_though_its_time_is_over(here):
    here.takeover.loaded(Loaded(here.prepare(), DIGESTS))
    for worker in here.newcomers:
        here.takeover.worker_ready(worker, Ready(DIGESTS))
    assert not here.work(after_ms=WITHIN_MS + 1).startswith("refused")
    assert here.takeover.complete(here.now_ns).workers == here.newcomers
    assert here.takeover.told == "taken over in 5001 ms"


def test_one_that_cannot_begin_is_told_and_refused_in_time_and_asked_again_begins(here):
    here.takeover.ask()
    assert here.work(in_service=False) == "waiting for the line to be in service"
    told = here.work(after_ms=WITHIN_MS + 1, in_service=False)
    assert told == "refused: not ready within 5 s, waiting for the line to be in service"
    here.prepare()
    here.takeover.refuse("of a test")
    here.takeover.ask()
    assert here.work() == "waiting for the processes of the last take-over to end"
    told = here.work(after_ms=WITHIN_MS + 1)
    assert told == "refused: not ready within 5 s, waiting for the processes of the last take-over to end"
    assert here.work() == told
    here.bury(*here.newcomers, here.supervisor.one(Role.PREPARER))
    here.takeover.ask()
    assert here.work() == "waiting for the settings to be read"


def test_asked_again_meanwhile_the_next_one_has_a_time_of_its_own(here):
    here.prepare()
    here.takeover.ask()
    assert here.work(after_ms=WITHIN_MS + 1).startswith("refused: not ready")
    here.bury(*here.newcomers, here.supervisor.one(Role.PREPARER))
    assert here.work(after_ms=1) == "waiting for the settings to be read"
    assert here.work(after_ms=WITHIN_MS - 1) == "waiting for the settings to be read"


@pytest.mark.parametrize("state", ["waits to be started", "is being forked", "loads its model"])
def test_a_worker_that_is_replaced_before_it_is_ready_never_comes_back_and_hinders_no_other(here, state):
    old = here.made[1]
    here.bury(old)
    here.forks_in_vain = state == "is being forked"
    if state != "waits to be started":
        here.supervisor.tick(here.now_ns)
    here.forks_in_vain = False
    here.prepare()
    here.bury(here.supervisor.one(Role.PREPARER))
    here.supervisor.replace_workers(here.newcomers)
    assert old.is_unwanted or not old.running
    if old.birth is not None:
        assert not old.meet(here.now_ns)
    if old in here.supervisor.children:
        here.supervisor.gone(old, here.now_ns)
    here.clock.advance_ms(30_000)
    here.supervisor.tick(here.now_ns)
    assert (old.running, here.supervisor.has_passing) == (False, False)
    assert here.supervisor.children == [here.capture, *here.newcomers]


def test_a_new_worker_that_is_killed_before_its_birth_fails_counts_as_no_restart(here, caplog):
    here.forks_in_vain = True
    here.prepare()
    first, *others = [*here.newcomers, here.supervisor.one(Role.PREPARER)]
    first.kill()
    assert not first.meet(here.now_ns)
    here.takeover.refuse(f"{first.spec.name} has ended before it was ready")
    here.supervisor.gone(first, here.now_ns)
    for child in others:
        assert not child.meet(here.now_ns)
        here.supervisor.gone(child, here.now_ns)
    assert (here.supervisor.restarts.total(), here.supervisor.has_passing) == (0, False)
    assert "starting it again" not in caplog.text
