"""What every child process does first, and how it leaves."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable

from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.processes import die_with_parent
from edge_runtime.runtime.channel import Channel, ChannelClosed
from edge_runtime.runtime.messages import Failed, Setup

log = logging.getLogger(__name__)
EXIT_TROUBLE = 1
SETUP_WITHIN_MS = 10_000


class OrphanedError(Exception):
    """The line is gone or never spoke: nothing is left to do."""


def run_child(channel: Channel, serve: Callable[[Channel, Setup], None], *, dies_with_line: bool = True) -> int:
    """Receive the Setup, `serve`, and return the exit code.

    The line decides when a child ends: what a terminal or a service manager sends to the whole group is ignored.
    With `dies_with_line` the kernel kills the child, hung or not, when the line is gone.
    """
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(signum, signal.SIG_IGN)
    if dies_with_line:
        die_with_parent()
    else:  # its last work begins when the line is dead, and systemd's watchdog sends this to the whole group
        signal.signal(signal.SIGABRT, signal.SIG_IGN)
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
