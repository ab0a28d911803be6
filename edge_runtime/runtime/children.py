"""Child processes as data: how each is started, what it was asked, when it counts as hung, when to start it again."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, runtime_checkable

from edge_runtime.clock import NS_PER_MS
from edge_runtime.processes import bury_if_ended
from edge_runtime.runtime.channel import Channel, ChannelClosed, ChannelFull
from edge_runtime.runtime.health import RestartBudget
from edge_runtime.runtime.messages import Message, Ping, Setup

log = logging.getLogger(__name__)
WORKERS_AT_MOST = 64  # those that will take over have the numbers after it, then the first ones again
END_WITHIN_NS = 500 * NS_PER_MS
MAX_SENDS_WAITING = 1000


class Role(str, Enum):
    """The kinds of child process."""

    CAPTURE = "capture"
    INSPECTION = "inspection"
    OFFICE = "office"
    GUARD = "guard"
    FIELDBUS = "fieldbus"
    REPORTER = "reporter"
    PREPARER = "preparer"


@dataclass(frozen=True)
class ChildSpec:
    """One row of the process table. `start_timeout_ms` is from spawn to Ready, `hang_timeout_ms` from ask to answer.

    An idle child is asked for a sign of life after `ping_every_ms`.
    """

    role: Role
    index: int
    start_timeout_ms: float
    hang_timeout_ms: float
    ping_every_ms: float = 1000.0

    @property
    def name(self) -> str:
        return f"{self.role.value}-{self.index % WORKERS_AT_MOST}" if self.role is Role.INSPECTION else self.role.value


class Process(Protocol):
    """A child as the kernel knows it: `wait` gives its exit code, negative for a signal's number."""

    @property
    def pid(self) -> int: ...

    def kill(self) -> None: ...

    def wait(self) -> int: ...


@runtime_checkable
class Birth(Protocol):
    """A child that is being made elsewhere.

    `fileno` is readable when `process` can be asked, once, which raises OSError where there will be none. `tend` is to
    be called several times a second.
    """

    def fileno(self) -> int: ...

    def process(self, now_ns: int) -> Process: ...

    def tend(self, now_ns: int) -> None: ...


Spawn = Callable[[ChildSpec, int], "Process | Birth"]


def spawn_child(module: str, ring_fd: int | None) -> Spawn:
    """A function that starts `python -m module ROLE CHANNEL_FD RING_FD` with only those descriptors open."""

    def spawn(spec: ChildSpec, channel_fd: int) -> subprocess.Popen[bytes]:
        fds = (channel_fd,) if ring_fd is None else (channel_fd, ring_fd)
        fd_words = [str(channel_fd), str(-1 if ring_fd is None else ring_fd)]
        command = [sys.executable, "-m", module, spec.role.value, *fd_words]
        return subprocess.Popen(command, pass_fds=fds, stdin=subprocess.DEVNULL)

    return spawn


class Child:
    """One child process and the line's end of its channel.

    The line asks (`ask`, answered by `answered`) or pings it when idle: a child that owes an answer for longer than
    its hang timeout is hung. It is gone when `pidfd` is readable, not before: until then it may still write into the
    slots it holds. One thread owns it.
    """

    def __init__(self, spec: ChildSpec, spawn: Spawn, settings_json: str, budget: RestartBudget) -> None:
        self.spec = spec
        self.budget = budget
        self.channel: Channel | None = None
        self.pidfd = -1
        self.birth: Birth | None = None
        self.ready = False
        self.was_ready = False
        self.restart_at_ns: int | None = None
        self._spawn = spawn
        self.settings_json = settings_json
        self.is_unwanted = False  # it becomes ready no more; what it had finished before its end counts
        self._process: Process | None = None
        self._owed: deque[Message] = deque()
        self._owed_since_ns = 0
        self._heard_ns = 0
        self._unsent: deque[Message] = deque()

    @property
    def running(self) -> bool:
        return self.pidfd >= 0 or self.birth is not None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def has_unsent(self) -> bool:
        return bool(self._unsent)

    def greet(self, now_ns: int) -> None:
        """The child says that it is ready."""
        self.ready, self.was_ready = True, True
        self.answered(now_ns)

    def start(self, now_ns: int) -> None:
        """Start the process; without memory or descriptors for it, its restart is planned."""
        self.ready, self.was_ready, self.restart_at_ns, self.is_unwanted = False, False, None, False
        try:
            self.channel = self._start_process()
        except OSError as exc:
            self._not_started(exc, now_ns)
            return
        self._owed.clear()
        self._unsent.clear()
        self._heard_ns = self._owed_since_ns = now_ns
        self.tell(Setup(self.settings_json, self.spec.index))

    def _start_process(self) -> Channel:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                made = self._spawn(self.spec, theirs.fileno())
                if isinstance(made, Birth):
                    self.birth = made
                else:
                    self._adopt(made)
            except OSError:
                self.kill()
                ours.close()
                raise
        return Channel(ours)

    def _adopt(self, process: Process) -> None:
        self._process = process
        self.pidfd = os.pidfd_open(process.pid)

    def meet(self, now_ns: int) -> bool:
        """News of its `birth`: it is there, or its start is planned anew. False for one that nobody wants any more."""
        assert self.birth is not None
        birth, self.birth = self.birth, None
        try:
            self._adopt(birth.process(now_ns))
        except OSError as exc:
            if self._process is not None:
                self._process.kill()
                self._process = None
            if not self.is_unwanted:
                self._not_started(exc, now_ns)
            return not self.is_unwanted
        if self.is_unwanted:
            self.kill()
        self.flush()
        return True

    def _not_started(self, exc: OSError, now_ns: int) -> None:
        log.error("%s cannot be started: %s", self.spec.name, exc)
        if self.channel is not None:
            self.channel.close()
        self.channel, self.restart_at_ns = None, self.budget.died(now_ns, was_ready=False).at_ns

    def tend(self, now_ns: int) -> None:
        """What is due several times a second."""
        if self.birth is not None:
            self.birth.tend(now_ns)
        self.flush()
        self.ping_if_idle(now_ns)

    def tell(self, message: Message) -> bool:
        """Send without blocking; a full channel queues a little. False when the message was not taken."""
        if self.channel is None or len(self._unsent) >= MAX_SENDS_WAITING:
            return False
        self._unsent.append(message)
        self.flush()
        return True

    def flush(self) -> None:
        """Try again to send what a full channel refused."""
        while self._unsent and self.channel is not None and self.birth is None:
            try:
                self.channel.send(self._unsent[0])
            except (ChannelFull, ChannelClosed):
                return
            self._unsent.popleft()

    def ask(self, message: Message, now_ns: int) -> bool:
        """Tell something that must be answered within the hang timeout. False when it was not taken."""
        if not self.tell(message):
            return False
        if not self._owed:
            self._owed_since_ns = now_ns
        self._owed.append(message)
        return True

    def answered(self, now_ns: int) -> None:
        """The oldest question is answered; the next one's time starts now."""
        if self._owed:
            self._owed.popleft()
        self._owed_since_ns = now_ns

    def heard(self, now_ns: int) -> None:
        self._heard_ns = now_ns

    def ping_if_idle(self, now_ns: int) -> None:
        if self.ready and not self._owed and now_ns - self._heard_ns >= self.spec.ping_every_ms * NS_PER_MS:
            self.ask(Ping(), now_ns)

    def overdue_ns(self) -> int | None:
        """When this child counts as hung (monotonic), None while it owes nothing."""
        if self.running and self.channel is None:
            return self._heard_ns + END_WITHIN_NS
        if not self.running or (self.ready and not self._owed):
            return None
        timeout_ms = self.spec.hang_timeout_ms if self.ready else self.spec.start_timeout_ms
        return self._owed_since_ns + round(timeout_ms * NS_PER_MS)

    def hang_up(self, now_ns: int) -> None:
        """The child closed its end: nothing more will come from it, so it may only take a moment to end."""
        if self.channel is not None:
            self.channel.close()
        self.channel, self.ready, self._heard_ns = None, False, now_ns

    def kill(self) -> None:
        """End it now, without waiting: a process stuck in a driver may take for ever to die."""
        self.is_unwanted = True
        if self._process is not None:
            self._process.kill()

    def reap(self, now_ns: int) -> str:
        """How it ended; waits for it unless `pidfd` is readable, or `meet` has met nobody. Plans the restart."""
        process, self._process = self._process, None
        code = None
        if process is not None and (code := bury_if_ended(process.pid, process.wait)) is None:
            code = process.wait()
        if self.channel is not None:
            self.channel.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
        self.channel, self.ready, self.pidfd = None, False, -1
        self.restart_at_ns = self.budget.died(now_ns, self.was_ready).at_ns
        if code is None:
            return "was not started"
        return f"ended with {_signal_name(-code)}" if code < 0 else f"exited with {code}"


def _signal_name(number: int) -> str:
    """A real-time signal has no name of its own."""
    return next((each.name for each in signal.Signals if each == number), f"signal {number}")
