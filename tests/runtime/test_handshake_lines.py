"""The handshake on lines where edges get lost and inputs stand already."""

from __future__ import annotations

from edge_runtime.clock import NS_PER_MS, ManualClock
from edge_runtime.interfaces import Input, Output
from edge_runtime.protocol.handshake import Handshake, HandshakeRules
from edge_runtime.protocol.messages import PartResult
from edge_runtime.runtime.handshake_lines import HandshakeLines, condition_of
from edge_runtime.runtime.health import State
from edge_runtime.runtime.outputs import OutputLines
from edge_runtime.signal_io.edge_feed import EdgeSender, FedEdge
from edge_runtime.signal_io.recording import RecordingLines
from edge_runtime.values import Outcome


def result(part_id: int) -> PartResult:
    return PartResult(part_id, None, Outcome.PASS, 0, "", "")


class Box:
    """The lines side of the box, by hand."""

    def __init__(self, recording: RecordingLines) -> None:
        self.clock = ManualClock()
        self.recording = recording
        self.lines = OutputLines(recording, {})
        self.handshake = HandshakeLines(Handshake(HandshakeRules()))
        self.lines.open()
        self.handshake.opened(self.lines, 0)
        self.handshake.machine.condition(condition_of(State.READY, has_room=True))

    def turn(self) -> None:
        """100 ms later, as the line's tick comes."""
        self.clock.advance_ms(100)
        now_ns = self.clock.monotonic_ns()
        for edge in self.lines.edges():
            self.handshake.machine.acknowledge_level(edge.active, edge.at_ns, now_ns)
        self.handshake.settle(self.lines, now_ns)
        self.handshake.show(self.lines, now_ns)

    def put(self, part_id: int) -> None:
        self.handshake.machine.put_or_fault(result(part_id), self.clock.monotonic_ns())

    @property
    def is_valid(self) -> bool:
        return self.recording.levels[Output.RESULT_VALID]


def test_an_acknowledge_whose_edge_was_lost_counts_by_its_level(tmp_path):
    recording = RecordingLines(inputs=[Input.ACK], feed=tmp_path / "feed", clock=ManualClock())
    box, sender = Box(recording), EdgeSender(tmp_path / "feed")
    for part_id in (1, 2):
        box.put(part_id)
    box.turn()
    assert box.is_valid
    sender.send([FedEdge(Input.ACK, 200 * NS_PER_MS, active=True, lost=True)])
    box.turn()
    assert box.is_valid
    box.turn()
    assert not box.is_valid
    sender.send([FedEdge(Input.ACK, 400 * NS_PER_MS, active=False, lost=True)])
    box.turn()
    box.turn()
    assert box.is_valid
    assert box.handshake.machine.waiting == 1
    sender.close()
    recording.close()


def test_an_acknowledge_that_stands_when_the_lines_are_opened_takes_nothing():
    recording = RecordingLines(inputs=[Input.ACK], clock=ManualClock())
    recording.open()
    recording.inject_edge(Input.ACK)
    box = Box(recording)
    box.put(1)
    box.turn()
    box.turn()
    assert not box.is_valid
    recording.inject_edge(Input.ACK, at_ns=300 * NS_PER_MS, active=False)
    box.turn()
    assert box.is_valid
    recording.close()
