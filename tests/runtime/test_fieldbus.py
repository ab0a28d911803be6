"""The field bus child's loop, on real sockets: what it shows when the line speaks, is silent, or is gone."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException

from edge_runtime.clock import SystemClock
from edge_runtime.protocol.modbus_bank import Command, RegisterBank
from edge_runtime.protocol.modbus_image import FieldState, numbers_of
from edge_runtime.protocol.modbus_map import COMMANDS_AT, IMAGE_WORDS, STATES
from edge_runtime.protocol.peers import LOOPBACK
from edge_runtime.runtime import fieldbus
from edge_runtime.runtime.channel import Channel
from edge_runtime.runtime.fieldbus import Fieldbus
from edge_runtime.runtime.messages import FieldCommands, FieldImage, FieldTrouble, Ping, Pong, Ready, Stop
from edge_runtime.signal_io.modbus_tcp import ModbusTcpServer

READY = FieldState(state="ready", ready=True, fault=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Child:
    """A Fieldbus in a thread; `line` is the line's end of its channel."""

    def __init__(self, port: int, stale_ms: float = 10_000) -> None:
        self.line, self.own = Channel.pair()
        self.client = ModbusTcpClient("127.0.0.1", port=port, timeout=2, retries=0)
        bank = RegisterBank()
        server = ModbusTcpServer(bank, ("127.0.0.1", port), LOOPBACK, LOOPBACK, 4)
        self.thread = threading.Thread(target=Fieldbus(self.own, server, bank, stale_ms, SystemClock()).serve)
        self.thread.start()
        assert self.line.wait(5000) == Ready()
        self.trouble = self.line.wait(5000)

    def image(self) -> dict[str, int]:
        """{} while nobody answers."""
        with suppress(ModbusException, OSError):
            return numbers_of(self.client.read_holding_registers(0, count=IMAGE_WORDS).registers)
        self.client.close()
        return {}

    def until_state(self, state: str, timeout_s: float = 5) -> dict[str, int]:
        end = time.monotonic() + timeout_s
        while not (image := self.image()) or STATES[image["state"]] != state:
            assert time.monotonic() < end, image
            time.sleep(0.01)
        return image


@pytest.fixture
def start_child(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Child]]:
    monkeypatch.setattr(fieldbus.signal, "alarm", lambda seconds: 0)  # it works in the main thread's process only
    children: list[Child] = []

    def start(port: int = 0, stale_ms: float = 10_000) -> Child:
        children.append(Child(port or free_port(), stale_ms))
        return children[-1]

    yield start
    for child in children:
        child.client.close()
        child.line.close()
        child.thread.join(10)
        child.own.close()


def test_until_the_line_has_spoken_the_box_is_down(start_child: Callable[..., Child]) -> None:
    child = start_child()
    assert child.trouble == FieldTrouble("")
    assert child.until_state("down")["status_bits"] == 1 << 8
    assert child.client.write_register(COMMANDS_AT, 1).isError() is False
    told = child.line.wait(5000)
    assert isinstance(told, FieldCommands)
    assert told.commands == (Command("trigger", 1),)
    assert 0 < told.at_ns <= time.monotonic_ns()
    child.line.send(FieldImage(READY))
    assert child.until_state("ready")["status_bits"] & 1
    child.line.send(Ping())
    assert child.line.wait(5000) == Pong()
    child.line.send(Stop())
    assert child.until_state("down", timeout_s=0.29)["status_bits"] == 1 << 8, "a master may keep what it read last"
    child.thread.join(5)
    assert not child.thread.is_alive()
    assert child.image() == {}


def test_a_silent_line_is_not_trusted(start_child: Callable[..., Child]) -> None:
    child = start_child(stale_ms=200)
    child.line.send(FieldImage(READY))
    child.until_state("ready")
    child.until_state("down")
    child.line.send(FieldImage(READY))
    child.until_state("ready")


def test_of_many_images_the_newest_is_shown(start_child: Callable[..., Child]) -> None:
    child = start_child()
    for heartbeat in range(60):
        child.line.send(FieldImage(FieldState(state="ready", heartbeat=heartbeat)))
    child.until_state("ready")
    time.sleep(0.2)
    assert child.image()["heartbeat"] == 59


def test_a_line_that_is_gone_is_told_for_a_second_and_then_hung_up_on(start_child: Callable[..., Child]) -> None:
    child = start_child()
    child.line.send(FieldImage(READY))
    child.until_state("ready")
    child.line.close()
    child.until_state("down", timeout_s=0.9)
    assert child.client.write_register(COMMANDS_AT, 1).exception_code == 6
    child.thread.join(5)
    assert not child.thread.is_alive()
    assert child.image() == {}


def test_who_writes_too_fast_is_told_to_wait(
    start_child: Callable[..., Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fieldbus, "MAX_WRITES_PER_S", 5)
    child = start_child()
    child.until_state("down")
    answers = [child.client.write_register(COMMANDS_AT, number).exception_code for number in range(1, 9)]
    assert answers == [0] * 5 + [6] * 3
    time.sleep(1.0)
    assert child.client.write_register(COMMANDS_AT, 9).exception_code == 0


def test_a_port_that_is_taken_is_told_once_and_opened_when_it_is_free(
    start_child: Callable[..., Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fieldbus, "RETRY_NS", 50_000_000)
    with socket.create_server(("127.0.0.1", 0)) as other:
        child = start_child(other.getsockname()[1])
        assert isinstance(child.trouble, FieldTrouble)
        assert "another program listens there" in child.trouble.reason
        assert child.line.wait(300) is None
    assert child.line.wait(5000) == FieldTrouble("")
    child.until_state("down")
