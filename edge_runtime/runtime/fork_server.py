"""A process that has its imports behind it and forks children for the line: a worker is ready in half the time.

Children forked from it share what it loaded. They are the line's own children, as if it had started them itself: each
is forked twice and adopted by the line. When the fork server is gone, children are started the long way.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from setproctitle import setproctitle

from edge_runtime.clock import NS_PER_MS
from edge_runtime.processes import adopt_orphans, die_with_parent
from edge_runtime.runtime.children import ChildSpec

log = logging.getLogger(__name__)
PRELOADED_WITHIN_MS = 10_000
FORKED_WITHIN_MS = 1000  # it takes 5; nobody waits for it, and many may be asked for at once
ADOPTED_WITHIN_S = 5.0
MAX_REQUEST_BYTES = 256

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

    def __init__(self, server: ForkServer, answer: socket.socket) -> None:
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
        self._server.has_forked(now_ns)
        return ForkedProcess(int(told))

    def tend(self, now_ns: int) -> None:
        """Call it several times a second: a fork server that takes too long is ended, and `process` will raise."""
        self._asked_ns = now_ns if self._asked_ns is None else self._asked_ns
        self._server.end_if_silent(self._asked_ns, now_ns)


class ForkServer:
    """The line's end of it. One thread owns it; nothing waits for the other end."""

    def __init__(self, preload: Callable[[], None], body: Body) -> None:
        """Fork it: `preload` runs there once, `body` in each child, with the words ROLE CHANNEL_FD RING_FD.

        To be called while this process has one thread and nothing open that a child must not have.
        """
        adopt_orphans()
        self._end, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        line_pid = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            self._end.close()
            _serve_to_the_end(theirs, line_pid, preload, body)
        theirs.close()
        self._end.setblocking(False)
        self._pidfd = os.pidfd_open(self.pid)
        self._within_ms = PRELOADED_WITHIN_MS
        self._heard_ns = 0
        self.is_alive = True

    def spawn(self, spec: ChildSpec, channel_fd: int, ring_fd: int) -> Forking:
        """Ask for a child with only these descriptors and the standard streams.

        Raises OSError, after a line in the log, when there is no fork server any more, or it has left too much unread;
        also when this process has no descriptor left, which is not the fork server's end.
        """
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

    def has_forked(self, now_ns: int) -> None:
        """All imports are behind it: from now on a child comes fast, also one that was asked for long ago."""
        self._within_ms = FORKED_WITHIN_MS
        self._heard_ns = now_ns

    def end_if_silent(self, asked_ns: int, now_ns: int) -> None:
        """A child asked for at `asked_ns` is not there yet."""
        if self.is_alive and now_ns - max(asked_ns, self._heard_ns) > self._within_ms * NS_PER_MS:
            self._give_up(f"no answer within {self._within_ms} ms")

    def close(self) -> None:
        """End the fork server; its children live on. Its end may take a while: `bury_strangers` comes across it."""
        self._end.close()
        if self.is_alive:
            self.is_alive = False
            with suppress(ProcessLookupError):  # ended and buried long ago: another process may have its number
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            os.close(self._pidfd)

    def _give_up(self, reason: str) -> None:
        log.error("the fork server is gone (%s): children take longer to start", reason)
        self.close()


# -- the other end ----------------------------------------------------------------------------------------------


def _serve_to_the_end(line: socket.socket, line_pid: int, preload: Callable[[], None], body: Body) -> NoReturn:
    """Whatever happens here, nothing of the line's own program may run on in this process."""
    code = 1
    try:
        die_with_parent()
        _close_all_but(line.fileno())
        setproctitle("edge-runtime fork-server")
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
            signal.signal(signum, signal.SIG_IGN)
        preload()
        gc.freeze()  # a collection would write into pages that the children share
        work = _serve(line, line_pid)
        code = 0 if work is None else body(work)
    except OSError:  # the line is gone
        code = 0
    finally:
        logging.shutdown()
        os._exit(code)


def _close_all_but(fd: int) -> None:
    """Keep standard output and error; standard input leads nowhere."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.closerange(3, fd)
    os.closerange(fd + 1, os.sysconf("SC_OPEN_MAX"))


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
