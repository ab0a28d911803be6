"""What the parent process waits for: descriptors, and the operating system's signals."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Mapping

from edge_runtime.clock import NS_PER_MS, NS_PER_S

REST_NS = 4 * NS_PER_MS
WORK_PER_REST = 10  # times as long


class Rests:
    """Says when somebody who finds work at each turn, as in a flood of triggers, must rest a little all the same.

    From a real-time process that never waits Linux takes the processor for 50 ms at a time (`sched_rt_runtime_us`, or
    the deadline server for other tasks), longer than the guard time of a verdict.
    """

    def __init__(self) -> None:
        self._owed_ns = 0

    def waited(self, ns: int) -> None:
        self._owed_ns = max(0, self._owed_ns - ns)

    def is_due_after_work(self, ns: int) -> bool:
        """Whether to rest `REST_NS` now, after work of this length."""
        self._owed_ns += ns // WORK_PER_REST
        is_due = self._owed_ns >= REST_NS
        self._owed_ns = 0 if is_due else self._owed_ns
        return is_due


class Poller:
    """`select.poll` that is told only what has changed since the last turn, mostly nothing; rests when it must."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._watched: Mapping[int, int] = {}
        self._rests = Rests()
        self._woke_at_ns = time.monotonic_ns()

    def wait(self, wishes: Mapping[int, int], limit_ms: float) -> list[int]:
        """The descriptors on which something happened; `wishes`: descriptor -> poll events."""
        if wishes != self._watched:
            for fd in self._watched.keys() - wishes.keys():
                self._poll.unregister(fd)
            for fd, events in wishes.items():
                self._poll.register(fd, events)
            self._watched = wishes
        if self._rests.is_due_after_work(time.monotonic_ns() - self._woke_at_ns):
            time.sleep(REST_NS / NS_PER_S)
        began_ns = time.monotonic_ns()
        happened = self._poll.poll(limit_ms)
        self._woke_at_ns = time.monotonic_ns()
        self._rests.waited(self._woke_at_ns - began_ns)
        return [fd for fd, _ in happened]


class SignalWake:
    """Signals end a wait at once: each writes to a socket that the loop watches."""

    def __init__(self) -> None:
        self._wake, self._waker = socket.socketpair()

    def fileno(self) -> int:
        return self._wake.fileno()

    def catch(self, ask_to_stop: Callable[[], None], ask_to_take_over: Callable[[], None]) -> None:
        """From now on signals call these, in the main thread."""
        self._wake.setblocking(False)
        self._waker.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(signum, lambda *_: ask_to_stop())
        # A terminal that is closed ends the daemon; without one, the signal is a service manager's.
        on_hang_up = ask_to_stop if os.isatty(0) else ask_to_take_over
        signal.signal(signal.SIGHUP, lambda *_: on_hang_up())
        for signum in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):  # a terminal must not stop the line
            signal.signal(signum, signal.SIG_IGN)

    def drain(self) -> None:
        self._wake.recv(4096)
