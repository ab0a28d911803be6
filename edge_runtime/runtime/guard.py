"""Guard child: watches the line, and when it dies or falls silent makes the outputs safe and says so."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable

from edge_runtime.errors import SignalError
from edge_runtime.interfaces import BytePort, DigitalLines
from edge_runtime.runtime.channel import Channel, ChannelClosed
from edge_runtime.runtime.messages import Ping, Pong, Ready, Stop

log = logging.getLogger(__name__)
LAST_WORD_MS = 500.0
TRY_AGAIN_AFTER_S = tuple(0.02 * 2**n for n in range(9))


def serve(channel: Channel, serial: BytePort | None, lines: DigitalLines | None, down: bytes, silent_ms: float) -> None:
    """Wait for Stop (a clean end) or for the line's death (act). The ports are not opened before that.

    A line that says nothing for `silent_ms` holds its outputs at whatever they were: it is killed. `down` is how the
    controller is told, in its own protocol.
    """
    line_pid = os.getppid()
    try:
        channel.send_patiently(Ready())
        while not isinstance(message := channel.wait(silent_ms), Stop):
            if message is None:
                _kill_line(line_pid, silent_ms)
            elif isinstance(message, Ping):
                channel.send_patiently(Pong())
    except ChannelClosed:
        log.error("the line died without a goodbye; making the outputs safe")
        _make_safe_patiently(serial, lines, down)


def make_safe(serial: BytePort | None, lines: DigitalLines | None, down: bytes) -> bool:
    """Lines first: requesting them drives their safe levels. Then tell the controller. One failing stops no other."""
    lines_safe = lines is None or _try("output lines", lines.open, lines.close)
    told = serial is None or _try(
        "serial port", serial.open, lambda: serial.write(down), lambda: serial.drain(LAST_WORD_MS), serial.close
    )
    return lines_safe and told


def _kill_line(line_pid: int, silent_ms: float) -> None:
    log.error("the line has been silent for %.0f ms; killing it", silent_ms)
    if os.getppid() == line_pid:
        os.kill(line_pid, signal.SIGKILL)


def _make_safe_patiently(serial: BytePort | None, lines: DigitalLines | None, down: bytes) -> None:
    """The kernel may not yet have taken everything from the dead line, or a port may be away for a moment."""
    for pause_s in TRY_AGAIN_AFTER_S:
        if lines is not None and make_safe(None, lines, down):
            lines = None
        if serial is not None and make_safe(serial, None, down):
            serial = None
        if lines is None and serial is None:
            return
        time.sleep(pause_s)


def _try(what: str, *steps: Callable[[], object]) -> bool:
    try:
        for step in steps:
            step()
    except SignalError as exc:
        log.error("%s could not be made safe: %s", what, exc)
        return False
    log.info("%s: safe", what)
    return True
