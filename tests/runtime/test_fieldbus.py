"""The field bus child's loop, on real sockets: what it shows when the line speaks, is silent, or is gone.

Its clock stands still unless a test moves it: what it shows for a while is there to be seen, however late it is looked.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException

from edge_runtime.clock import NS_PER_MS, ManualClock
from edge_runtime.protocol.modbus_bank import Command, RegisterBank
from edge_runtime.protocol.modbus_image import FieldState, numbers_of
from edge_runtime.protocol.modbus_map import COMMANDS_AT, IMAGE_WORDS, STATES
from edge_runtime.protocol.peers import LOOPBACK
from edge_runtime.runtime import fieldbus
from edge_runtime.runtime.channel import Channel
from edge_runtime.runtime.fieldbus import DOWN_SHOWN_NS, RETRY_NS, STOP_SHOWN_NS, Fieldbus
from edge_runtime.runtime.messages import FieldCommands, FieldImage, FieldTrouble, Ping, Pong, Ready, Stop
from edge_runtime.signal_io.modbus_tcp import ModbusTcpServer
from tests.ports import free_port

READY = FieldState(state="ready", ready=True, fault=False)
STALE_MS = 10_000


class Child:
    """A Fieldbus in a thread; `line` is the line's end of its channel."""

    def __init__(self, port: int) -> None:
        self.clock = ManualClock(start_ns=5_000_000_000)
        self.line, self.own = Channel.pair()
        self.client = ModbusTcpClient("127.0.0.1", port=port, timeout=10, retries=0)
        bank = RegisterBank()
        server = ModbusTcpServer(bank, ("127.0.0.1", port), LOOPBACK, LOOPBACK, 4)
        self.thread = threading.Thread(target=Fieldbus(self.own, server, bank, STALE_MS, self.clock).serve)
        self.thread.start()
        assert self.line.wait(20_000) == Ready()
        self.trouble = self.line.wait(20_000)

    def image(self) -> dict[str, int]:
        """{} while nobody answers."""
        with suppress(ModbusException, OSError):
            return numbers_of(self.client.read_holding_registers(0, count=IMAGE_WORDS).registers)
        self.client.close()
        return {}

    def until(self, condition: Callable[[dict[str, int]], bool]) -> dict[str, int]:
        end = time.monotonic() + 20
        while not (image := self.image()) or not condition(image):
            assert time.monotonic() < end, image
            time.sleep(0.01)
        return image

    def until_state(self, state: str) -> dict[str, int]:
        return self.until(lambda image: STATES[image["state"]] == state)

    def ends(self) -> bool:
        self.thread.join(20)
        return not self.thread.is_alive()


@pytest.fixture
def start_child(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Child]]:
    monkeypatch.setattr(fieldbus.signal, "alarm", lambda seconds: 0)  # it works in the main thread's process only
    children: list[Child] = []

    def start(port: int = 0) -> Child:
        children.append(Child(port or free_port()))
        return children[-1]

    yield start
    for child in children:
        child.client.close()
        child.line.close()
        while child.thread.is_alive():
            child.clock.advance_ms(DOWN_SHOWN_NS / NS_PER_MS)
            child.thread.join(0.01)
        child.own.close()


def test_until_the_line_has_spoken_the_box_is_down(start_child: Callable[..., Child]) -> None:
    child = start_child()
    assert child.trouble == FieldTrouble("")
    assert child.until_state("down")["status_bits"] == 1 << 8
    assert child.client.write_register(COMMANDS_AT, 1).isError() is False
    told = child.line.wait(20_000)
    assert isinstance(told, FieldCommands)
    assert told.commands == (Command("trigger", 1),)
    assert told.at_ns == child.clock.monotonic_ns()
    child.line.send(FieldImage(READY))
    assert child.until_state("ready")["status_bits"] & 1
    child.line.send(Ping())
    assert child.line.wait(20_000) == Pong()
    child.line.send(Stop())
    assert child.until_state("down")["status_bits"] == 1 << 8, "a master may keep what it read last"
    child.clock.advance_ms(STOP_SHOWN_NS / NS_PER_MS)
    assert child.ends()
    assert child.image() == {}


def test_a_silent_line_is_not_trusted(start_child: Callable[..., Child]) -> None:
    child = start_child()
    child.line.send(FieldImage(READY))
    child.until_state("ready")
    child.clock.advance_ms(STALE_MS)
    assert STATES[child.image()["state"]] == "ready"
    child.clock.advance_ms(1)
    child.until_state("down")
    child.line.send(FieldImage(READY))
    child.until_state("ready")


def test_of_many_images_the_newest_is_shown(start_child: Callable[..., Child]) -> None:
    child = start_child()
    for heartbeat in range(60):
        child.line.send(FieldImage(FieldState(state="ready", heartbeat=heartbeat)))
    child.until(lambda image: image["heartbeat"] == 59)


def test_a_line_that_is_gone_is_told_for_a_second_and_then_hung_up_on(start_child: Callable[..., Child]) -> None:
    child = start_child()
    child.line.send(FieldImage(READY))
    child.until_state("ready")
    child.line.close()
    child.until_state("down")
    assert child.client.write_register(COMMANDS_AT, 1).exception_code == 6
    child.clock.advance_ms(DOWN_SHOWN_NS / NS_PER_MS)
    assert child.ends()
    assert child.image() == {}


def test_who_writes_too_fast_is_told_to_wait(
    start_child: Callable[..., Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fieldbus, "MAX_WRITES_PER_S", 5)
    child = start_child()
    child.until_state("down")
    answers = [child.client.write_register(COMMANDS_AT, number).exception_code for number in range(1, 9)]
    assert answers == [0] * 5 + [6] * 3
    child.clock.advance_ms(1000)
    assert child.client.write_register(COMMANDS_AT, 9).exception_code == 0


def test_a_port_that_is_taken_is_told_once_and_opened_when_it_is_free(start_child: Callable[..., Child]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        child = start_child(other.getsockname()[1])
        assert isinstance(child.trouble, FieldTrouble)
        assert "another program listens there" in child.trouble.reason
        for _ in range(3):
            child.clock.advance_ms(RETRY_NS / NS_PER_MS)
            assert child.line.wait(100) is None
    child.clock.advance_ms(RETRY_NS / NS_PER_MS)
    assert child.line.wait(20_000) == FieldTrouble("")
    child.until_state("down")
