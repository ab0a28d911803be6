"""The handshake as the line runs it: the box's condition, and the signals as levels in strobe order."""

from __future__ import annotations

from edge_runtime.interfaces import Output
from edge_runtime.protocol.handshake import HandshakeSignals
from edge_runtime.protocol.handshake_table import TriggerEvent
from edge_runtime.protocol.messages import PartResult
from edge_runtime.runtime.health import State
from edge_runtime.runtime.outputs import OutputLines
from edge_runtime.values import Outcome

_CONDITIONS = {State.STARTING: TriggerEvent.OFF, State.STOPPING: TriggerEvent.OFF, State.FAULT: TriggerEvent.BLIND}


def condition_of(state: State, has_room: bool) -> TriggerEvent:
    """What would become of a trigger now."""
    return _CONDITIONS.get(state, TriggerEvent.ABLE if has_room else TriggerEvent.FULL)


def show(signals: HandshakeSignals[PartResult], lines: OutputLines, presents: bool) -> None:
    """Drive what has changed; `presents`: results are levels, too, not pulses. Raises SignalError.

    `result_valid` falls before the data change and rises after they did. Without a result the data lines rest at
    "not good". Ready falls first of all.
    """
    lines.level(Output.READY, signals.ready)
    lines.level(Output.OVERRUN, signals.overrun)
    if not presents:
        return
    passed = signals.result is not None and signals.result.outcome is Outcome.PASS
    if not signals.result_valid:
        lines.level(Output.RESULT_VALID, False)
    lines.level(Output.OK, passed)
    lines.level(Output.REJECT, not passed)
    lines.level(Output.BUSY, signals.busy)
    lines.level(Output.FAULT, signals.fault)
    if signals.result_valid:
        lines.level(Output.RESULT_VALID, True)
