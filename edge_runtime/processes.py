"""What a process asks of the kernel and of its interpreter, once, at its start."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from queue import SimpleQueue

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def die_with_parent() -> None:
    """From now on the kernel kills this process, hung or not, when its parent is gone."""
    parent_pid = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent_pid == 1 or os.getppid() != parent_pid:
        raise SystemExit(0)


def adopt_orphans() -> None:
    """From now on a descendant whose parent has ended is a child of this process."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1)


class Undertaker:
    """Takes ended children out of the kernel's table in a thread of ordinary priority, which nobody waits for.

    The kernel then clears /proc of the process, and goes round in circles as long as somebody reads there. A real-time
    thread would keep that reader from the processor meanwhile, for seconds on a busy machine.
    """

    def __init__(self) -> None:
        self._ended: SimpleQueue[tuple[int, Callable[[], object]]] = SimpleQueue()
        self._pids: set[int] = set()
        threading.Thread(target=self._work, name="undertaker", daemon=True).start()

    def bury(self, pid: int, wait: Callable[[], object]) -> None:
        """`wait` takes the exit status of this child, which has ended."""
        if pid not in self._pids:
            self._pids.add(pid)
            self._ended.put((pid, wait))

    def _work(self) -> None:
        while True:
            pid, wait = self._ended.get()
            with suppress(ChildProcessError):
                wait()
            self._pids.discard(pid)


undertaker = cache(Undertaker)  # this process's only one, from the first death on


def bury_if_ended(pid: int, wait: Callable[[], int]) -> int | None:
    """The exit code of this child, negative for a signal's number; None: it lives. `wait` takes its exit status."""
    try:
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return wait()  # a Popen that was told to kill it found that it had ended, and knows
    if ended is None:
        return None
    undertaker().bury(pid, wait)
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def bury_strangers(own_pids: Collection[int]) -> None:
    """Have one adopted process that has ended buried, if there is one; none of `own_pids`."""
    with suppress(ChildProcessError):
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is not None and ended.si_pid not in own_pids:
            undertaker().bury(ended.si_pid, partial(os.waitpid, ended.si_pid, 0))


def parent_age_s() -> float:
    """Seconds since this process's parent was started."""
    fields = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()
    started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started_s


def bound_memory(data_bytes: int) -> None:
    """From now on an allocation beyond `data_bytes` of data raises MemoryError here, and no other process suffers."""
    hard_bytes = resource.getrlimit(resource.RLIMIT_DATA)[1]
    wanted = data_bytes if hard_bytes == resource.RLIM_INFINITY else min(data_bytes, hard_bytes)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard_bytes))


def freeze_garbage() -> None:
    """From now on the garbage collector looks at what is made later alone, not at all that was loaded at start.

    A full collection over the modules of a process takes some ten milliseconds, in the middle of a part.
    """
    gc.collect()
    gc.freeze()
