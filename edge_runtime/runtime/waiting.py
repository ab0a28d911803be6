"""What the parent process waits for: descriptors, and the operating system's signals."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Callable, Mapping


class Poller:
    """`select.poll` that is told only what has changed since the last turn, mostly nothing."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._watched: Mapping[int, int] = {}

    def wait(self, wishes: Mapping[int, int], limit_ms: float) -> list[int]:
        """The descriptors on which something happened; `wishes`: descriptor -> poll events."""
        if wishes != self._watched:
            for fd in self._watched.keys() - wishes.keys():
                self._poll.unregister(fd)
            for fd, events in wishes.items():
                self._poll.register(fd, events)
            self._watched = wishes
        return [fd for fd, _ in self._poll.poll(limit_ms)]


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
