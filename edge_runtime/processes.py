"""What a process asks of the kernel and of its interpreter, once, at its start."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import time
from collections.abc import Collection
from pathlib import Path

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


def bury_strangers(own_pids: Collection[int]) -> None:
    """Take the exit status of one adopted process that has ended, if there is one; never of `own_pids`."""
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is not None and ended.si_pid not in own_pids:
            os.waitpid(ended.si_pid, os.WNOHANG)
    except ChildProcessError:
        return


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
