"""The handshake as the line runs it: the box's condition in, the signals as levels in strobe order out."""

from __future__ import annotations

from edge_runtime.interfaces import Input, Output
from edge_runtime.protocol.handshake import Handshake, HandshakeSignals
from edge_runtime.protocol.handshake_table import ResultState, TriggerEvent
from edge_runtime.protocol.messages import PartResult, SignalsChanged
from edge_runtime.runtime.health import State
from edge_runtime.runtime.outputs import OutputLines
from edge_runtime.values import Outcome

_CONDITIONS = {State.STARTING: TriggerEvent.OFF, State.STOPPING: TriggerEvent.OFF, State.FAULT: TriggerEvent.BLIND}


def condition_of(state: State, has_room: bool) -> TriggerEvent:
    """What would become of a trigger now."""
    return _CONDITIONS.get(state, TriggerEvent.ABLE if has_room else TriggerEvent.FULL)


class HandshakeLines:
    """The trigger side for every wire, and, when it was given a handshake, results as levels on the digital lines.

    One thread owns it; `show`, `opened` and `settle` raise SignalError.
    """

    def __init__(self, handshake: Handshake[PartResult] | None) -> None:
        self.presents = handshake is not None
        self.machine: Handshake[PartResult] = handshake if handshake is not None else Handshake()
        self._ack_was: bool | None = None

    @property
    def is_lost(self) -> bool:
        """Whether results were lost, so that only the controller's reset helps."""
        return self.machine.result_state is ResultState.LOST

    @property
    def trigger_side(self) -> SignalsChanged:
        signals = self.machine.signals
        return SignalsChanged(signals.ready, signals.busy, signals.overrun, signals.fault)

    def trigger(self, part_id: int | None) -> bool:
        """A trigger became this part, or none; False when it was an overrun."""
        return self.machine.trigger(part_id if self.presents else None)

    def reset(self, from_lines: bool, now_ns: int) -> None:
        """Only its own wire's reset makes results void: the controller on the lines keeps a list of open parts."""
        if from_lines:
            self.machine.reset(now_ns)
        else:
            self.machine.reset_overrun()

    def opened(self, lines: OutputLines, now_ns: int) -> None:
        """The lines are there: the acknowledge may stand already."""
        self.machine.acknowledge_level(lines.is_active(Input.ACK), now_ns, now_ns)

    def settle(self, lines: OutputLines, now_ns: int) -> None:
        """Call it now and then: a level counts whose edge was lost, or both sides would wait for ever."""
        active = lines.is_active(Input.ACK)
        if active is self._ack_was and active is not self.machine.ack_active:
            self.machine.acknowledge_level(active, now_ns, now_ns)
        self._ack_was = active

    def show(self, lines: OutputLines, now_ns: int) -> None:
        """Do what is due and drive what has changed."""
        self.machine.work(now_ns)
        signals = self.machine.signals
        lines.level(Output.READY, signals.ready)
        lines.level(Output.OVERRUN, signals.overrun)
        if self.presents:
            _show_result(signals, lines)


def _show_result(signals: HandshakeSignals[PartResult], lines: OutputLines) -> None:
    """`result_valid` falls before the data change and rises after they did. Without a result the data say not good."""
    passed = signals.result is not None and signals.result.outcome is Outcome.PASS
    if not signals.result_valid:
        lines.level(Output.RESULT_VALID, False)
    lines.level(Output.OK, passed)
    lines.level(Output.REJECT, not passed)
    lines.level(Output.BUSY, signals.busy)
    lines.level(Output.FAULT, signals.fault)
    if signals.result_valid:
        lines.level(Output.RESULT_VALID, True)
