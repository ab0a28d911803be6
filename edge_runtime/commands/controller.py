"""The other end of the wire: a line controller that triggers parts, collects verdicts and acknowledges them."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from dataclasses import dataclass, field

from edge_runtime.clock import NS_PER_MS, NS_PER_S, Clock
from edge_runtime.protocol.messages import (
    FROM_DEVICE,
    MAX_LINE_SEQNO,
    Acknowledge,
    Heartbeat,
    Result,
    TriggerRequest,
)
from edge_runtime.protocol.sentence import Decoder, encode
from edge_runtime.runtime.health import State

ABLE = frozenset({State.READY.value, State.INSPECTING.value, State.DEGRADED.value})
MAX_OPEN_TRIGGERS = 32


@dataclass
class Protocol:
    """What went over the wire: the first result of each trigger number, and its milliseconds from trigger to result."""

    results: dict[int, Result] = field(default_factory=dict)
    latency_ms: dict[int, float] = field(default_factory=dict)
    repeats: int = 0
    states: list[str] = field(default_factory=list)


class Controller:
    """Talks over one file descriptor, the master of a pty or an open serial port. One thread owns it."""

    def __init__(self, fd: int, clock: Clock) -> None:
        self.protocol = Protocol()
        self._fd = fd
        self._clock = clock
        self._decoder = Decoder(FROM_DEVICE)
        self._sent_ns: dict[int, int] = {}

    @property
    def state(self) -> str:
        """The daemon's state by its last heartbeat, "" before the first."""
        return self.protocol.states[-1] if self.protocol.states else ""

    def wait_until_able(self, timeout_s: float, gave_up: Callable[[], bool]) -> bool:
        """Listen until a heartbeat says that parts can be inspected; False when the time is over or `gave_up()`."""
        end_ns = self._clock.monotonic_ns() + round(timeout_s * NS_PER_S)
        while self._clock.monotonic_ns() < end_ns and not gave_up():
            self.listen(50.0)
            if self.state in ABLE:
                return True
        return False

    def run(self, parts: int, rate_hz: float, timeout_s: float, on_result: Callable[[Result], None]) -> bool:
        """Trigger `parts` parts at `rate_hz`, await their verdicts; False when some are missing after `timeout_s`."""
        start_ns, end_ns = self._clock.monotonic_ns(), self._clock.monotonic_ns() + round(timeout_s * NS_PER_S)
        sent = 0
        while len(self.protocol.results) < parts and self._clock.monotonic_ns() < end_ns:
            due_ns = start_ns + round(sent * NS_PER_S / rate_hz)
            wait_ms = max(0.0, (due_ns - self._clock.monotonic_ns()) / NS_PER_MS) if sent < parts else 100.0
            for result in self.listen(wait_ms):
                on_result(result)
            if sent < parts and self._clock.monotonic_ns() >= due_ns and self._open_triggers < MAX_OPEN_TRIGGERS:
                self.trigger(sent % (MAX_LINE_SEQNO + 1))
                sent += 1
        return len(self.protocol.results) >= parts

    def trigger(self, line_seqno: int) -> None:
        """Say that a part lies in front of the camera."""
        self._sent_ns[line_seqno] = self._clock.monotonic_ns()
        os.write(self._fd, encode(TriggerRequest(line_seqno)))

    def listen(self, timeout_ms: float) -> list[Result]:
        """Take what arrives within `timeout_ms`, acknowledge every result; the ones not seen before."""
        if not select.select([self._fd], [], [], timeout_ms / 1000)[0]:
            return []
        now_ns = self._clock.monotonic_ns()
        messages = self._decoder.feed(os.read(self._fd, 65536))
        self.protocol.states += [message.state for message in messages if isinstance(message, Heartbeat)]
        return [message for message in messages if isinstance(message, Result) and self._is_new(message, now_ns)]

    @property
    def _open_triggers(self) -> int:
        return len(self._sent_ns) - len(self.protocol.results)

    def _is_new(self, result: Result, now_ns: int) -> bool:
        os.write(self._fd, encode(Acknowledge(result.seq)))
        seqno = result.line_seqno
        if seqno is None or seqno in self.protocol.results:
            self.protocol.repeats += 1
            return False
        self.protocol.results[seqno] = result
        self.protocol.latency_ms[seqno] = (now_ns - self._sent_ns.get(seqno, now_ns)) / NS_PER_MS
        return True
