"""A process that has its imports behind it and forks children for the line: a worker is ready in half the time.

Children forked from it share what it loaded. They are the line's own children, as if it had started them itself: each
is forked twice and adopted by the line. When the fork server is gone, children are started the long way until the next
one is ready.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from setproctitle import setproctitle

from edge_runtime.clock import NS_PER_MS, NS_PER_S
from edge_runtime.processes import adopt_orphans, bury_if_ended, die_with_parent

if TYPE_CHECKING:
    from edge_runtime.runtime.children import ChildSpec

log = logging.getLogger(__name__)
PRELOADED_WITHIN_MS = 10_000
FORKED_WITHIN_MS = 1000  # it takes 5; nobody waits for it, and many may be asked for at once
ADOPTED_WITHIN_S = 5.0
MAX_REQUEST_BYTES = 256
PRELOADED = b"preloaded"
NEXT_AFTER_NS = NS_PER_S  # children that have died with it are started first
NEXT_AFTER_AT_MOST_NS = 60 * NS_PER_S  # its imports take 0.4 s of a core each time

Body = Callable[[list[str]], int]


class ForkedProcess:
    """A process that the fork server has made; its parent is this one, which must wait for it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def kill(self) -> None:
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Its exit code, negative for a signal's number."""
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code


class Forking:
    """A process that the fork server was asked for. It says itself that it is there; its line's end is `fileno`."""

    def __init__(self, server: _Running, answer: socket.socket) -> None:
        self._server = server
        self._answer = answer
        self._asked_ns: int | None = None

    def fileno(self) -> int:
        return self._answer.fileno()

    def process(self, now_ns: int) -> ForkedProcess:
        """To be asked once, when `fileno` is readable. Raises OSError when there is none and never will be."""
        with self._answer:
            told = self._answer.recv(MAX_REQUEST_BYTES)
        if not told:
            raise OSError("the fork server is gone, or has no memory for a process")
        self._server.heard(now_ns)
        return ForkedProcess(int(told))

    def tend(self, now_ns: int) -> None:
        """Call it several times a second: a fork server that takes too long is ended, and `process` will raise."""
        self._asked_ns = now_ns if self._asked_ns is None else self._asked_ns
        self._server.end_if_silent(self._asked_ns, now_ns)


class ForkServer:
    """The line's end of it: one process at a time, the next one started some time after its end.

    One thread owns it; nothing waits for the other end.
    """

    def __init__(self, command: Sequence[str]) -> None:
        """Start `command LINE_FD`, a program that calls `serve`."""
        adopt_orphans()
        self._command = command
        self._wait_ns = NEXT_AFTER_NS
        self._next_at_ns = 0
        self._started_ns = time.monotonic_ns()
        self._running = self._start(self._started_ns)
        if self._running is not None:
            self._running.takes_requests = True  # the first children come during its imports, which all of them need

    @property
    def pid(self) -> int:
        """0 while there is none."""
        return self._running.process.pid if self._running is not None else 0

    @property
    def is_ready(self) -> bool:
        """Whether a child may be asked for."""
        return self._running is not None and self._running.takes_requests

    def spawn(self, spec: ChildSpec, channel_fd: int, ring_fd: int) -> Forking:
        """Ask for a child with only these descriptors and the standard streams, when `is_ready`.

        Raises OSError, after a line in the log, when there is no fork server any more, or it has left too much unread;
        also when this process has no descriptor left, which is not the fork server's end.
        """
        assert self._running is not None
        return self._running.spawn(spec, channel_fd, ring_fd)

    def tend(self, now_ns: int) -> None:
        """Call it several times a second: one that has ended is buried, the next one started when it is time.

        The wait is doubled each time, until one has lived for longer than the longest.
        """
        if self._running is not None and self._running.has_ended(now_ns):
            self._running = None
            has_lived = now_ns - self._started_ns > NEXT_AFTER_AT_MOST_NS
            self._plan_next(now_ns, NEXT_AFTER_NS if has_lived else self._wait_ns)
        if self._running is None and now_ns >= self._next_at_ns:
            self._started_ns = now_ns
            self._running = self._start(now_ns)

    def _start(self, now_ns: int) -> _Running | None:
        try:
            return _Running(self._command)
        except OSError as exc:
            log.error("the fork server cannot be started: %s", exc)
            self._plan_next(now_ns, self._wait_ns)
            return None

    def _plan_next(self, now_ns: int, wait_ns: int) -> None:
        log.info("the next fork server is started in %d s", wait_ns // NS_PER_S)
        self._next_at_ns = now_ns + wait_ns
        self._wait_ns = min(2 * wait_ns, NEXT_AFTER_AT_MOST_NS)


class _Running:
    """One process of it. `takes_requests`: from its word that all imports are behind it, unless set before."""

    def __init__(self, command: Sequence[str]) -> None:
        self.takes_requests = False
        self._within_ms = PRELOADED_WITHIN_MS
        self._heard_ns = 0
        self._end, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                words = [*command, str(theirs.fileno())]
                self.process = subprocess.Popen(words, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL)
            except OSError:
                self._end.close()
                raise
        self._end.setblocking(False)

    def spawn(self, spec: ChildSpec, channel_fd: int, ring_fd: int) -> Forking:
        try:
            answer, theirs = socket.socketpair()
        except OSError as exc:
            log.error("the fork server cannot be asked for %s: %s", spec.name, exc)
            raise
        with theirs:
            try:
                request = f"{spec.role.value} {spec.index}".encode()
                socket.send_fds(self._end, [request], [channel_fd, ring_fd, theirs.fileno()])
            except OSError as exc:
                answer.close()
                self._give_up(str(exc))
                raise
        return Forking(self, answer)

    def heard(self, now_ns: int) -> None:
        """All imports are behind it: from now on a child comes fast, also one that was asked for long ago."""
        self._within_ms = FORKED_WITHIN_MS
        self._heard_ns = now_ns

    def end_if_silent(self, asked_ns: int, now_ns: int) -> None:
        """A child asked for at `asked_ns` is not there yet."""
        if now_ns - max(asked_ns, self._heard_ns) > self._within_ms * NS_PER_MS:
            self._give_up(f"no answer within {self._within_ms} ms")

    def has_ended(self, now_ns: int) -> bool:
        """Whether its process is no more: then it is buried, and nothing of it is left here. Its children live on."""
        code = bury_if_ended(self.process.pid, self.process.wait)
        if code is not None:
            self._let_go(f"exit code {code}")
            return True
        with suppress(OSError):  # it has said nothing, or has been given up
            if self._end.recv(MAX_REQUEST_BYTES) == PRELOADED:
                self._preloaded(now_ns)
        return False

    def _preloaded(self, now_ns: int) -> None:
        if not self.takes_requests:
            log.info("the next fork server is ready (process %d)", self.process.pid)
        self.takes_requests = True
        self.heard(now_ns)

    def _give_up(self, reason: str) -> None:
        """End it; a process stuck in the kernel may take for ever to die."""
        if self._let_go(reason):
            self.process.kill()

    def _let_go(self, reason: str) -> bool:
        """Ask it for nothing any more; False where that has been so before."""
        if self._end.fileno() < 0:
            return False
        log.error("the fork server is gone (%s): children take longer to start", reason)
        self._end.close()
        self.takes_requests = False
        return True


# -- the other end ----------------------------------------------------------------------------------------------


def serve(line_fd: int, preload: Callable[[], None], body: Body) -> NoReturn:
    """Fork for the line until it closes its end; each child runs `body` with the words ROLE CHANNEL_FD RING_FD."""
    die_with_parent()
    line_pid = os.getppid()
    setproctitle("edge-runtime fork-server")
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(signum, signal.SIG_IGN)
    preload()
    gc.freeze()  # a collection would write into pages that the children share
    code = 1
    try:
        line = socket.socket(fileno=line_fd)
        line.send(PRELOADED)
        work = _serve(line, line_pid)
        code = 0 if work is None else body(work)
    except OSError:  # the line is gone
        code = 0
    finally:
        logging.shutdown()
        os._exit(code)


def _serve(line: socket.socket, line_pid: int) -> list[str] | None:
    """Fork for the line until it closes its end: None. In a child: the words that say what it is."""
    while True:
        request, fds, _, _ = socket.recv_fds(line, MAX_REQUEST_BYTES, 3)
        if not request:
            return None
        role, index = request.decode().split()
        *passed_fds, answer_fd = fds
        if _fork_twice():
            line.close()
            _await_parent(line_pid)
            setproctitle(f"edge-runtime {role} {index}")
            os.write(answer_fd, str(os.getpid()).encode())
            os.close(answer_fd)
            return [role, *map(str, passed_fds)]
        for fd in fds:
            os.close(fd)


def _fork_twice() -> bool:
    """True in a child whose parent has ended; False here, also where there was no memory for one."""
    try:
        middle_pid = os.fork()
    except OSError:
        return False
    if middle_pid:
        os.waitpid(middle_pid, 0)
        return False
    try:
        if os.fork():
            os._exit(0)
    except OSError:
        os._exit(1)
    return True


def _await_parent(line_pid: int) -> None:
    """Until the line has adopted this process; a line that is gone never does."""
    end_s = time.monotonic() + ADOPTED_WITHIN_S
    while os.getppid() != line_pid:
        if time.monotonic() > end_s:
            os._exit(1)
        time.sleep(0.0005)
