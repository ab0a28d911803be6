"""`bench modbus`: its master notices what is wrong, and finds nothing wrong with the daemon."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from edge_runtime.protocol.modbus_bank import RegisterBank
from edge_runtime.protocol.modbus_image import FieldResult, FieldState
from edge_runtime.protocol.peers import LOOPBACK
from edge_runtime.signal_io.modbus_tcp import ModbusTcpServer
from edge_runtime.values import Outcome
from tools.modbus_master import Master, Tally


@pytest.fixture
def masters_tally() -> Iterator[Callable[[FieldState], Tally]]:
    """What the master makes of a box that shows one state for ever."""
    running = [True]
    threads: list[threading.Thread] = []

    def tally(state: FieldState) -> Tally:
        bank = RegisterBank()
        bank.hand_to(lambda commands: True)
        bank.show(state)
        server = ModbusTcpServer(bank, ("127.0.0.1", 0), LOOPBACK, LOOPBACK, 4)
        server.open()
        threads.append(threading.Thread(target=serve, args=(server,)))
        threads[-1].start()
        return Master(server.port).run(0.3, polls_hz=50)

    def serve(server: ModbusTcpServer) -> None:
        while running[0]:
            poller = select.poll()
            for fd, events in server.sources().items():
                poller.register(fd, events)
            for fd, _ in poller.poll(20):
                server.serve(fd, time.monotonic_ns())
        server.close()

    yield tally
    running[0] = False
    for thread in threads:
        thread.join()


def state_with(result_id: int, part_id: int) -> FieldState:
    result = FieldResult(part_id, 1, Outcome.PASS, 0, 0, False, ())
    return FieldState(state="ready", fault=False, result_id=result_id, result=result)


def test_an_id_that_is_not_its_part_s_is_noticed(masters_tally: Callable[[FieldState], Tally]) -> None:
    assert masters_tally(state_with(result_id=9, part_id=5)).wrong == 1


def test_a_result_that_nobody_triggered_is_noticed(masters_tally: Callable[[FieldState], Tally]) -> None:
    tally = masters_tally(state_with(result_id=6, part_id=5))
    assert (tally.wrong, tally.errors) == (1, 0)
    assert tally.read_ms


def test_a_box_that_does_not_answer_is_an_error() -> None:
    tally = Master(port=1).run(0.1, polls_hz=20)
    assert tally.errors > 0
    assert tally.first_error


def test_the_daemon_is_read_right_while_it_inspects() -> None:
    command = [sys.executable, "-m", "tools", "bench", "modbus", "--minutes", "0.05", "--side", "512", "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    (figures,) = json.loads(done.stdout)["rows"]
    wrong = {name: figures[name] for name in ("errors", "torn", "changed", "wrong", "wrong_records")}
    assert (done.returncode, wrong) == (0, dict.fromkeys(wrong, 0)), figures
    assert figures["parts"] > 0
    assert figures["polls"] > 0
