"""The wires of the whole daemon: a controller's own words over a cable that is pulled, and the handshake on lines."""

from __future__ import annotations

import re
import signal
import time
from typing import Any

import pytest

from edge_runtime.clock import SystemClock
from edge_runtime.interfaces import Input, Output
from edge_runtime.protocol.messages import Acknowledge, Heartbeat, Message, Result, TriggerAccepted, TriggerRequest
from edge_runtime.signal_io.edge_feed import EdgeSender, FedEdge
from edge_runtime.values import Outcome

CLEAN, DEFECT = 60, 101
WORDS = r"""
[serial.ascii]
result = 'R{seq};{part_id:06d};{line_seqno};{outcome:P/R/N}\r\n'
heartbeat = 'H{count};{state}\r\n'
accepted = 'Y{line_seqno};{part_id}\r\n'
trigger = 'T{line_seqno}\r'
"""
OUTCOMES = {"P": Outcome.PASS, "R": Outcome.REJECT, "N": Outcome.NOT_INSPECTED}
LINES = """
[gpio.outputs.ready]
line = 5
[gpio.outputs.result_valid]
line = 6
[gpio.outputs.overrun]
line = 7
[gpio.inputs.trigger]
line = 10
[gpio.inputs.ack]
line = 11
[gpio.inputs.reset]
line = 12
"""


class Ear:
    """Understands `WORDS`; a line that was cut by the cable is none."""

    def __init__(self) -> None:
        self._partial = b""
        self.last_line = b""

    def feed(self, data: bytes) -> list[Message]:
        *lines, self._partial = (self._partial + data).split(b"\r\n")
        self.last_line = lines[-1] if lines else self.last_line
        return [message for line in lines if (message := self._message(line.decode("latin-1"))) is not None]

    def _message(self, line: str) -> Message | None:
        if match := re.search(r"R(\d+);(\d{6});(\d+);([PRN])$", line):
            seq, part_id, seqno, outcome = match.groups()
            return Result(int(seq), int(part_id), int(seqno), OUTCOMES[outcome], 0, "", "")
        if match := re.search(r"H(\d+);(\w+)$", line):
            return Heartbeat(int(match[1]), match[2])
        if match := re.search(r"Y(\d+);(\d+)$", line):
            return TriggerAccepted(int(match[1]), int(match[2]))
        return None


def in_own_words(message: Message) -> bytes:
    if isinstance(message, TriggerRequest):
        return b"T%d\r" % message.line_seqno
    assert isinstance(message, Acknowledge)
    return b"A%d\r" % message.seq


def accepted(station: Any) -> int:
    return len({m.line_seqno for m in station.heard if isinstance(m, TriggerAccepted)})


@pytest.mark.parametrize("more", [WORDS + r"ack = 'A{seq}\r'", WORDS], ids=["acknowledged", "sent once"])
def test_unplugged_and_back_no_verdict_is_lost_in_the_controllers_own_words(start_station: Any, more: str) -> None:
    pictures = {"1": CLEAN, "2": DEFECT}
    station = start_station(pictures, more=more, serial_more='protocol = "ascii"', predict_ms=150)
    station.decoder, station.encode = Ear(), in_own_words
    station.acknowledging = "ack =" in more
    station.wait_until_ready()
    for first in (0, 3, 6):
        for seqno in range(first, first + 3):
            station.trigger(seqno)
        station.until(lambda count=first + 3: accepted(station) == count)
        station.cable.pull()
        time.sleep(0.3 if first else 1.0)  # all verdicts, or some of them, are decided meanwhile
        station.cable.plug()
        station.decoder = Ear()
        station.until(lambda count=first + 3: len({r.part_id for r in station.results}) == count)
    assert station.stop() == 0
    told = {r.line_seqno: r.outcome for r in station.results}
    assert told == {r.line_seqno: r.verdict.outcome for r in station.records()}
    assert sorted(told) == list(range(9))
    assert Outcome.NOT_INSPECTED not in told.values()


def test_the_guards_last_word_is_in_the_controllers_own_words(start_station: Any) -> None:
    words = WORDS + r"down = 'DOWN {reason}\r\n'"
    station = start_station({"1": CLEAN}, more=words, serial_more='protocol = "ascii"')
    station.decoder = Ear()
    station.wait_until_ready()
    station.process.send_signal(signal.SIGKILL)
    station.until(lambda: station.decoder.last_line == b"DOWN line_died")


class Controller:
    """Its outputs are the daemon's inputs, and the other way round."""

    def __init__(self, station: Any) -> None:
        self.station = station
        self.sender = EdgeSender(station.folder / "feed")

    def set(self, name: Input, active: bool) -> None:
        self.sender.send([FedEdge(name, SystemClock().monotonic_ns(), active)])
        self.station.until(self._is_sent)

    def _is_sent(self) -> bool:
        self.sender.send()
        return self.sender.pending == 0

    def pulse(self, name: Input) -> None:
        self.set(name, True)
        self.set(name, False)

    def see(self, output: Output, active: bool) -> None:
        self.station.until(lambda: self.station.output_levels.get(output) is active)

    def take(self) -> bool:
        """One result, by the book; whether it is good."""
        self.see(Output.RESULT_VALID, True)
        levels = self.station.output_levels
        assert levels[Output.OK] is not levels[Output.REJECT]
        self.set(Input.ACK, True)
        self.see(Output.RESULT_VALID, False)
        self.set(Input.ACK, False)
        return levels[Output.OK]


@pytest.fixture
def start_on_lines(start_station: Any, tmp_path: Any) -> Any:
    controllers: list[Controller] = []

    def start(pictures: dict[str, int], **changes: Any) -> tuple[Any, Controller]:
        gpio_more = f'verdicts = "handshake"\nfeed = "{tmp_path / "station-0" / "feed"}"'
        station = start_station(pictures, more=LINES, trigger="gpio", gpio_more=gpio_more, **changes)
        station.wait_until_ready()
        controllers.append(Controller(station))
        return station, controllers[-1]

    yield start
    for controller in controllers:
        controller.sender.close()


def test_results_on_lines_are_taken_one_by_one_in_the_order_of_their_triggers(start_on_lines: Any) -> None:
    station, controller = start_on_lines({"1": CLEAN, "2": DEFECT})
    controller.see(Output.READY, True)
    for _ in range(4):
        controller.pulse(Input.TRIGGER)
    station.until(lambda: len(station.results) == 4)
    good = [controller.take() for _ in range(4)]
    assert good == [r.outcome is Outcome.PASS for r in sorted(station.results, key=lambda r: r.part_id)]
    assert good.count(True) == 2
    assert station.stop() == 0


def test_an_overrun_stands_until_the_reset_and_a_killed_daemon_leaves_no_result_standing(start_on_lines: Any) -> None:
    station, controller = start_on_lines({"1": CLEAN}, predict_ms=400, ring_slots=6)
    for _ in range(9):
        controller.pulse(Input.TRIGGER)
    controller.see(Output.OVERRUN, True)
    station.until(lambda: len(station.results) == 9)
    assert sum(r.reason == "busy" for r in station.results) == 3
    controller.see(Output.RESULT_VALID, True)
    controller.pulse(Input.RESET)
    controller.see(Output.OVERRUN, False)
    controller.see(Output.RESULT_VALID, False)
    controller.see(Output.READY, True)
    controller.pulse(Input.TRIGGER)
    assert controller.take()
    controller.pulse(Input.TRIGGER)
    controller.see(Output.RESULT_VALID, True)
    station.process.send_signal(signal.SIGKILL)
    controller.see(Output.RESULT_VALID, False)
    controller.see(Output.FAULT, True)
    assert not station.output_levels[Output.READY]
