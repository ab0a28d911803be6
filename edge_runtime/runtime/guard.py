"""Guard child: watches the line, and when it dies without a goodbye makes the outputs safe and says so."""

from __future__ import annotations

import logging
from collections.abc import Callable

from edge_runtime.errors import SignalError
from edge_runtime.interfaces import BytePort, DigitalLines
from edge_runtime.protocol.messages import Down
from edge_runtime.protocol.sentence import encode
from edge_runtime.runtime.channel import Channel, ChannelClosed
from edge_runtime.runtime.messages import Ping, Pong, Ready, Stop

log = logging.getLogger(__name__)


def serve(channel: Channel, serial: BytePort | None, lines: DigitalLines | None) -> None:
    """Wait for Stop (a clean end) or for the line's death (act). The ports are not opened before that."""
    channel.send_patiently(Ready())
    try:
        while not isinstance(message := channel.wait(None), Stop):
            if isinstance(message, Ping):
                channel.send_patiently(Pong())
    except ChannelClosed:
        log.error("the line died without a goodbye; making the outputs safe")
        make_safe(serial, lines)


def make_safe(serial: BytePort | None, lines: DigitalLines | None) -> bool:
    """Lines first: requesting them drives their safe levels. Then tell the controller. One failing stops no other."""
    lines_safe = lines is None or _try("output lines", lines.open, lines.close)
    told = serial is None or _try(
        "serial port", serial.open, lambda: serial.write(encode(Down("line_died"))), serial.close
    )
    return lines_safe and told


def _try(what: str, *steps: Callable[[], object]) -> bool:
    try:
        for step in steps:
            step()
    except SignalError as exc:
        log.error("%s could not be made safe: %s", what, exc)
        return False
    log.info("%s: safe", what)
    return True
