"""The line's two ways to speak: a serial link that survives its cable, and output lines with pulses."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from edge_runtime.clock import NS_PER_MS
from edge_runtime.errors import SignalError
from edge_runtime.interfaces import BytePort, DigitalLines, Edge, Input, Output
from edge_runtime.protocol.messages import FROM_CONTROLLER, Message, PartResult
from edge_runtime.protocol.outbox import Outbox
from edge_runtime.protocol.sentence import Decoder, encode
from edge_runtime.values import Outcome

log = logging.getLogger(__name__)
REOPEN_FIRST_NS = 50 * NS_PER_MS
REOPEN_MAX_NS = 1000 * NS_PER_MS
MAX_UNSENT_BYTES = 16 * 1024


class SerialLink:
    """Owns the serial port and the outbox. Nothing here blocks, and a lost port is reopened with back-off."""

    def __init__(self, port: BytePort, outbox: Outbox) -> None:
        self._port = port
        self._outbox = outbox
        self._decoder = Decoder(FROM_CONTROLLER)
        self._unsent = b""
        self._reopen_at_ns = 0
        self._backoff_ns = REOPEN_FIRST_NS
        self.is_open = False

    @property
    def unacknowledged(self) -> int:
        return self._outbox.unacknowledged

    @property
    def outbox_full(self) -> bool:
        return self._outbox.is_full

    @property
    def wants_to_write(self) -> bool:
        return self.is_open and bool(self._unsent)

    def fileno(self) -> int:
        return self._port.fileno()

    def next_wake_ns(self) -> int | None:
        """When `work` has something to do next, apart from input and a full kernel buffer."""
        if not self.is_open:
            return self._reopen_at_ns
        return None if self._unsent else self._outbox.next_due_ns()

    def open_if_due(self, now_ns: int) -> bool:
        """Open a closed port when its back-off is over; True when it has just been opened."""
        if self.is_open or now_ns < self._reopen_at_ns:
            return False
        try:
            self._port.open()
        except SignalError as exc:
            self._lost(exc, now_ns)
            return False
        log.info("serial port is open")
        self.is_open, self._backoff_ns, self._unsent = True, REOPEN_FIRST_NS, b""
        self._decoder = Decoder(FROM_CONTROLLER)
        self._outbox.reconnected(now_ns)
        return True

    def receive(self, now_ns: int) -> list[Message]:
        try:
            return self._decoder.feed(self._port.read())
        except SignalError as exc:
            self._lost(exc, now_ns)
            return []

    def put_or_fault(self, result: PartResult) -> int:
        """Queue a result until it is acknowledged. Raises OutboxFull."""
        return self._outbox.put_or_fault(result)

    def acknowledge(self, seq: int) -> None:
        self._outbox.acknowledge(seq)

    def say_or_drop(self, message: Message) -> None:
        """Queue a sentence that nobody acknowledges; dropped while the port is closed or stuck."""
        if self.is_open and len(self._unsent) < MAX_UNSENT_BYTES:
            self._unsent += encode(message)

    def work(self, now_ns: int) -> None:
        """Write what is due, as far as the kernel takes it; while it takes nothing, no repeats pile up."""
        if self.is_open and not self._unsent:
            self._unsent = b"".join(self._outbox.due(now_ns))
        if not self.wants_to_write:
            return
        try:
            self._unsent = self._unsent[self._port.write(self._unsent) :]
        except SignalError as exc:
            self._lost(exc, now_ns)

    def close(self) -> None:
        self._port.close()
        self.is_open = False

    def _lost(self, exc: SignalError, now_ns: int) -> None:
        if self.is_open or self._backoff_ns == REOPEN_FIRST_NS:
            log.warning("serial port is lost, trying again until it is back: %s", exc)
        self.close()
        self._reopen_at_ns = now_ns + self._backoff_ns
        self._backoff_ns = min(2 * self._backoff_ns, REOPEN_MAX_NS)


class OutputLines:
    """Owns the digital lines: a pulse per verdict, levels for busy, fault and heartbeat."""

    def __init__(self, lines: DigitalLines, pulse_ms: Mapping[Output, float]) -> None:
        self._lines = lines
        self._pulse_ns = {output: round(ms * NS_PER_MS) for output, ms in pulse_ms.items()}
        self._ends_ns: dict[Output, int] = {}
        self._levels: dict[Output, bool] = {}
        self._rest: dict[Output, bool] = {}

    def open(self) -> None:
        """Request the lines at their safe level: no pulse and no level from before is left. Raises SignalError."""
        self._ends_ns, self._levels, self._rest = {}, {}, {}
        self._lines.open()

    def fileno(self) -> int | None:
        return self._lines.fileno()

    def edges(self) -> list[Edge]:
        return self._lines.edges()

    def is_active(self, name: Input) -> bool:
        return self._lines.is_active(name)

    def next_wake_ns(self) -> int | None:
        return min(self._ends_ns.values(), default=None)

    def pulse(self, outcome: Outcome, now_ns: int) -> None:
        """Signal a verdict; NOT_INSPECTED acts as REJECT, and a reject takes back a permission still standing."""
        output = Output.OK if outcome is Outcome.PASS else Output.REJECT
        if output is Output.REJECT and self._ends_ns.pop(Output.OK, None) is not None:
            self._write(Output.OK, False)
        self._ends_ns[output] = now_ns + self._pulse_ns.get(output, 0)
        self._write(output, True)

    def level(self, output: Output, active: bool) -> None:
        """Hold an output at this level from now on, when a pulse drives it from the end of the pulse."""
        self._rest[output] = active
        if output not in self._ends_ns and self._levels.get(output) is not active:
            self._write(output, active)

    def work(self, now_ns: int) -> None:
        """End the pulses whose time is over. A reject rests active until it was told to rest otherwise."""
        for output in [o for o, end_ns in self._ends_ns.items() if end_ns <= now_ns]:
            del self._ends_ns[output]
            self._write(output, self._rest.get(output, output is Output.REJECT))

    def make_safe(self, outputs: Iterable[Output] = (Output.OK, Output.BUSY, Output.HEARTBEAT)) -> None:
        """Take back every permission at once; `close` then leaves all lines at their safe level."""
        for output in outputs:
            self._write(output, False)

    def close(self) -> None:
        self._lines.close()

    def _write(self, output: Output, active: bool) -> None:
        self._lines.write(output, active)
        self._levels[output] = active
