"""A child that hangs, dies or floods its channel is found out, with real processes and a clock of our own."""

import os
import select
import signal
import subprocess

import pytest

from edge_runtime.clock import NS_PER_MS, ManualClock
from edge_runtime.runtime.channel import Channel
from edge_runtime.runtime.children import END_WITHIN_NS, MAX_SENDS_WAITING, Child, ChildSpec, Role, spawn_child
from edge_runtime.runtime.health import MAX_BACKOFF_NS, RestartBudget
from edge_runtime.runtime.messages import Capture, Failed, Ping, Setup, SlotRead
from edge_runtime.runtime.service_notify import ServiceNotifier
from edge_runtime.runtime.supervisor import Supervisor

SPEC = ChildSpec(Role.INSPECTION, 3, start_timeout_ms=1000, hang_timeout_ms=200)
SETTINGS = '{"station": "one"}'
START_NS, HANG_NS = 1_000_000_000, 200_000_000
PING_EVERY_MS = ChildSpec(Role.OFFICE, 0, 0, 0).ping_every_ms


class Station:
    """A child that is a real process of our choice; the test speaks for it through `far_end`."""

    def __init__(self, command: list[str], restarts_max: int = 3) -> None:
        self.clock = ManualClock(start_ns=5_000_000_000)
        self.command = command
        self.far_end: Channel | None = None
        self.child = Child(SPEC, self._spawn, SETTINGS, RestartBudget(restarts_max, 60_000_000_000))

    @property
    def now_ns(self) -> int:
        return self.clock.monotonic_ns()

    def _spawn(self, spec: ChildSpec, channel_fd: int) -> "subprocess.Popen[bytes]":
        self.close_far_end()
        self.far_end = Channel.from_fd(os.dup(channel_fd))
        return subprocess.Popen(self.command)

    def start(self, ready: bool = True) -> None:
        self.child.start(self.now_ns)
        assert self.far_end.wait(5000) == Setup(SETTINGS, SPEC.index)
        if ready:
            self.child.greet(self.now_ns)

    def wait_until_gone(self) -> None:
        poller = select.poll()
        poller.register(self.child.pidfd, select.POLLIN)
        assert poller.poll(5000), "the process does not end"

    def reap(self) -> str:
        self.wait_until_gone()
        return self.child.reap(self.now_ns)

    def close_far_end(self) -> None:
        if self.far_end is not None:
            self.far_end.close()

    def end(self) -> None:
        self.close_far_end()
        if self.child.running:
            self.child.kill()
            self.reap()


@pytest.fixture
def station():
    made = []

    def make(*command: str, restarts_max: int = 3) -> Station:
        made.append(Station(list(command) or ["sleep", "60"], restarts_max))
        return made[-1]

    yield make
    for each in made:
        each.end()


def ask(station: Station, part_id: int) -> Capture:
    question = Capture(0, part_id, None, 100, 1)
    assert station.child.ask(question, station.now_ns)
    return question


def test_the_setup_is_the_first_thing_a_child_hears(station):
    here = station()
    here.child.start(here.now_ns)
    here.child.tell(SlotRead(1))
    assert [here.far_end.wait(5000), here.far_end.wait(5000)] == [Setup(SETTINGS, 3), SlotRead(1)]
    assert here.child.spec.name == "inspection-3"


def test_a_child_that_never_becomes_ready_is_overdue_after_its_start_time(station):
    here = station()
    here.start(ready=False)
    assert here.child.overdue_ns() == here.now_ns + START_NS
    here.clock.advance_ms(999)
    here.child.greet(here.now_ns)
    assert here.child.overdue_ns() is None
    assert here.child.ready


def test_a_child_that_does_not_answer_is_overdue_after_exactly_the_hang_time(station):
    here = station()
    here.start()
    asked_ns = here.now_ns
    ask(here, 1)
    here.clock.advance_ms(150)
    ask(here, 2)
    assert here.child.overdue_ns() == asked_ns + HANG_NS


def test_each_answer_starts_the_time_of_the_next_question(station):
    here = station()
    here.start()
    ask(here, 1)
    ask(here, 2)
    here.clock.advance_ms(150)
    here.child.answered(here.now_ns)
    assert here.child.overdue_ns() == here.now_ns + HANG_NS
    here.child.answered(here.now_ns)
    assert here.child.overdue_ns() is None


def test_an_idle_child_is_pinged_and_a_silent_one_then_hangs(station):
    here = station()
    here.start()
    here.clock.advance_ms(PING_EVERY_MS - 1)
    here.child.ping_if_idle(here.now_ns)
    assert here.far_end.receive() is None
    here.clock.advance_ms(1)
    here.child.ping_if_idle(here.now_ns)
    here.child.ping_if_idle(here.now_ns)
    assert [here.far_end.receive(), here.far_end.receive()] == [Ping(), None]
    assert here.child.overdue_ns() == here.now_ns + HANG_NS


def test_a_child_that_speaks_is_not_pinged(station):
    here = station()
    here.start()
    here.clock.advance_ms(PING_EVERY_MS)
    here.child.heard(here.now_ns)
    here.child.ping_if_idle(here.now_ns)
    assert here.far_end.receive() is None


def test_a_child_that_closes_its_channel_has_a_moment_to_end_and_is_not_gone_before(station):
    here = station()
    here.start()
    here.child.hang_up(here.now_ns)
    assert here.child.running
    assert here.now_ns < here.child.overdue_ns() <= here.now_ns + START_NS
    assert not here.child.tell(Ping())


@pytest.mark.parametrize("asked", [False, True])
def test_a_child_that_has_finished_as_asked_is_ended_without_a_complaint(station, caplog, asked):
    here = station()
    here.start()
    supervisor = Supervisor([here.child], ServiceNotifier({}))
    if asked:
        supervisor.dismiss([SPEC.role])
    here.child.hang_up(here.now_ns)
    here.clock.advance_ms(END_WITHIN_NS // NS_PER_MS)
    supervisor.tick(here.now_ns)
    assert here.reap() == "ended with SIGKILL"
    assert ("has not answered in time" in caplog.text) is not asked


def test_a_killed_child_is_gone_when_its_descriptor_says_so(station):
    here = station()
    here.start()
    assert select.select([here.child.pidfd], [], [], 0) == ([], [], [])
    here.child.kill()
    assert here.reap() == "ended with SIGKILL"
    assert (here.child.running, here.child.ready, here.child.channel, here.child.pid) == (False, False, None, 0)
    assert here.child.overdue_ns() is None


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (signal.SIGSEGV, "ended with SIGSEGV"),
        (signal.SIGABRT, "ended with SIGABRT"),
        (signal.SIGRTMIN + 3, f"ended with signal {signal.SIGRTMIN + 3}"),
    ],
)
def test_it_is_known_which_signal_ended_a_child(station, number, text):
    here = station()
    here.start()
    os.kill(here.child.pid, number)
    assert here.reap() == text


@pytest.mark.parametrize("code", [0, 3])
def test_it_is_known_with_what_code_a_child_exited(station, code):
    here = station("sh", "-c", f"exit {code}")
    here.start(ready=False)
    assert here.reap() == f"exited with {code}"


def test_a_child_that_worked_is_due_again_at_once_and_starts_with_nothing_owed(station):
    here = station()
    here.start()
    ask(here, 1)
    here.child.kill()
    here.reap()
    assert here.child.restart_at_ns == here.now_ns
    here.start()
    assert here.child.restart_at_ns is None
    assert here.child.overdue_ns() is None
    assert here.far_end.receive() is None


def test_one_that_used_up_its_restarts_is_due_again_later(station):
    here = station("true", restarts_max=1)
    for _ in range(2):
        here.start(ready=False)
        here.reap()
    assert here.child.restart_at_ns == here.now_ns + MAX_BACKOFF_NS


def test_a_child_that_does_not_read_takes_a_bounded_number_of_messages_and_loses_none_of_them(station):
    here = station()
    here.start()
    told = []
    long = "x" * 10_000
    while here.child.tell(message := Failed(f"{len(told)} {long}")):
        told.append(message)
        assert len(told) < 100_000
    assert here.child.has_unsent
    assert not here.child.ask(Ping(), here.now_ns)
    assert here.child.overdue_ns() is None
    heard = []
    while len(heard) < len(told):
        while (message := here.far_end.receive()) is not None:
            heard.append(message)
        here.child.flush()
    assert heard == told
    assert len(told) >= MAX_SENDS_WAITING
    assert not here.child.has_unsent


ECHO = """
import sys
from edge_runtime.runtime.channel import Channel
from edge_runtime.runtime.messages import Failed
role, channel_fd, ring_fd = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
channel = Channel.from_fd(channel_fd)
channel.send_patiently(Failed(f"{role} {ring_fd} {channel.wait(None).settings}"))
"""


def test_a_real_child_gets_its_role_its_descriptors_and_its_setup(tmp_path, monkeypatch):
    (tmp_path / "echo_child.py").write_text(ECHO)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", os.getcwd())]))
    spec = ChildSpec(Role.OFFICE, 0, 1000, 200)
    child = Child(spec, spawn_child("echo_child", None), SETTINGS, RestartBudget(1, 1))
    child.start(0)
    assert child.channel.wait(20_000) == Failed(f"office -1 {SETTINGS}")
    poller = select.poll()
    poller.register(child.pidfd, select.POLLIN)
    assert poller.poll(20_000)
    assert child.reap(0) == "exited with 0"
