"""Output lines with pulses and levels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edge_runtime.clock import NS_PER_MS
from edge_runtime.interfaces import DigitalLines, Edge, Input, Output
from edge_runtime.values import Outcome

_TAKEN_BACK = (Output.RESULT_VALID, Output.READY, Output.OK, Output.BUSY, Output.HEARTBEAT)  # in strobe order


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
        if output is Output.REJECT:
            self.take_back_ok()
        self._ends_ns[output] = now_ns + self._pulse_ns.get(output, 0)
        self._write(output, True)

    def take_back_ok(self) -> None:
        """End a permission that is still standing."""
        if self._ends_ns.pop(Output.OK, None) is not None:
            self._write(Output.OK, False)

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

    def make_safe(self, outputs: Iterable[Output] = _TAKEN_BACK) -> None:
        """Take back every permission at once; `close` then leaves all lines at their safe level."""
        for output in outputs:
            self._write(output, False)

    def close(self) -> None:
        self._lines.close()

    def _write(self, output: Output, active: bool) -> None:
        self._lines.write(output, active)
        self._levels[output] = active
