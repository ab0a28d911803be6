"""What every child process does first, and how it leaves."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable

from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.runtime.channel import Channel, ChannelClosed
from edge_runtime.runtime.messages import Failed, Setup

log = logging.getLogger(__name__)
_PR_SET_PDEATHSIG = 1
EXIT_TROUBLE = 1
SETUP_WITHIN_MS = 10_000


class OrphanedError(Exception):
    """The line is gone or never spoke: nothing is left to do."""


def run_child(channel: Channel, serve: Callable[[Channel, Setup], None], *, dies_with_line: bool = True) -> int:
    """Receive the Setup, `serve`, and return the exit code.

    The line decides when a child ends: SIGINT and SIGTERM, which a terminal or a service manager sends to the whole
    group, are ignored. With `dies_with_line` the kernel kills the child, hung or not, when the line is gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if dies_with_line:
        _die_with_parent()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # native libraries print on stdout
    try:
        serve(channel, _setup(channel))
        return 0
    except (ChannelClosed, OrphanedError):
        return 0
    except EdgeRuntimeError as exc:
        return _give_up(channel, str(exc))
    except Exception as exc:
        log.exception("unexpected error")
        return _give_up(channel, f"{type(exc).__name__}: {exc}")


def _setup(channel: Channel) -> Setup:
    message = channel.wait(SETUP_WITHIN_MS)
    if not isinstance(message, Setup):
        raise OrphanedError(f"the line sent {message} instead of a setup")
    return message


def _give_up(channel: Channel, reason: str) -> int:
    try:
        channel.send(Failed(reason[:2000]))
    except Exception:
        log.exception("the line could not be told: %s", reason)
    return EXIT_TROUBLE


def _die_with_parent() -> None:
    parent_pid = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent_pid == 1 or os.getppid() != parent_pid:
        raise SystemExit(0)
