"""A process that has its imports behind it and forks children for the line: a worker is ready in half the time.

Children forked from it share what it loaded. They are the line's own children, as if it had started them itself: each
is forked twice and adopted by the line. When the fork server is gone, children are started the long way.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from setproctitle import setproctitle

from edge_runtime.processes import adopt_orphans, die_with_parent
from edge_runtime.runtime.children import ChildSpec

log = logging.getLogger(__name__)
PRELOADED_WITHIN_MS = 10_000
FORKED_WITHIN_MS = 100  # it takes 5; no part gets its verdict meanwhile
ADOPTED_WITHIN_S = 5.0
MAX_REQUEST_BYTES = 256
PRELOADED = b"preloaded"

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


class ForkServer:
    """The line's end of it. One thread owns it."""

    def __init__(self, preload: Callable[[], None], body: Body) -> None:
        """Fork it: `preload` runs there once, `body` in each child, with the words ROLE CHANNEL_FD RING_FD.

        To be called while this process has one thread and nothing open that a child must not have.
        """
        adopt_orphans()
        self._end, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        line_pid = os.getpid()
        self._server = ForkedProcess(os.fork())
        if self._server.pid == 0:
            self._end.close()
            _serve_to_the_end(theirs, line_pid, preload, body)
        theirs.close()
        self._pidfd = os.pidfd_open(self._server.pid)
        self._within_ms = PRELOADED_WITHIN_MS
        self._is_preloaded = False
        self.is_alive = True

    def spawn(self, spec: ChildSpec, channel_fd: int, ring_fd: int) -> ForkedProcess:
        """A child with only these descriptors and the standard streams.

        Raises OSError when there is none; a fork server that does not answer within `FORKED_WITHIN_MS` is ended.
        """
        try:
            if not self._is_preloaded:
                self._hear()
                self._is_preloaded, self._within_ms = True, FORKED_WITHIN_MS
            request = f"{spec.role.value} {spec.index}".encode()
            socket.send_fds(self._end, [request], [channel_fd, ring_fd])
            pid = int(self._hear())
        except (OSError, ValueError) as exc:
            self._give_up(exc)
            raise OSError(f"the fork server is gone: {exc}") from exc
        if pid == 0:
            raise OSError("the fork server cannot fork: no memory or too many processes")
        return ForkedProcess(pid)

    def close(self) -> None:
        """End the fork server; its children live on. Its end may take a while: `bury_strangers` comes across it."""
        self._end.close()
        if self.is_alive:
            self.is_alive = False
            with suppress(ProcessLookupError):  # ended and buried long ago: another process may have its number
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            os.close(self._pidfd)

    def _hear(self) -> bytes:
        poller = select.poll()
        poller.register(self._end, select.POLLIN)
        if not poller.poll(self._within_ms):
            raise OSError(f"no answer within {self._within_ms} ms")
        return self._end.recv(MAX_REQUEST_BYTES)

    def _give_up(self, exc: Exception) -> None:
        log.error("the fork server is gone (%s): children take longer to start", exc)
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
        line.send(PRELOADED)
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
        request, fds, _, _ = socket.recv_fds(line, MAX_REQUEST_BYTES, 2)
        if not request:
            return None
        role, index = request.decode().split()
        pid = _fork_twice()
        if pid is None:
            line.close()
            _await_parent(line_pid)
            setproctitle(f"edge-runtime {role} {index}")
            return [role, *map(str, fds)]
        for fd in fds:
            os.close(fd)
        line.send(str(pid).encode())


def _fork_twice() -> int | None:
    """The process id of a child whose parent has ended, 0 where there is no memory for it; None in the child."""
    reading_fd, writing_fd = os.pipe()
    try:
        middle_pid = os.fork()
        if middle_pid == 0:
            _fork_and_tell(writing_fd)
            return None
        os.close(writing_fd)
        os.waitpid(middle_pid, 0)
        return int(os.read(reading_fd, MAX_REQUEST_BYTES) or b"0")
    except OSError:
        return 0
    finally:
        os.close(reading_fd)


def _fork_and_tell(writing_fd: int) -> None:
    """Returns in the child alone."""
    try:
        pid = os.fork()
    except OSError:
        os._exit(1)
    if pid:
        os.write(writing_fd, str(pid).encode())
        os._exit(0)
    os.close(writing_fd)


def _await_parent(line_pid: int) -> None:
    """Until the line has adopted this process; a line that is gone never does."""
    end_s = time.monotonic() + ADOPTED_WITHIN_S
    while os.getppid() != line_pid:
        if time.monotonic() > end_s:
            os._exit(1)
        time.sleep(0.0005)
