"""The Modbus servers on real sockets and a real pty, against pymodbus' own clients, rubbish, and peers not let in."""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
import threading
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.client import ModbusSerialClient, ModbusTcpClient
from pymodbus.framer import FramerRTU

from edge_runtime.errors import SignalError
from edge_runtime.interfaces import RegisterServer
from edge_runtime.protocol.modbus_bank import Command, RegisterBank
from edge_runtime.protocol.modbus_image import FieldState, numbers_of
from edge_runtime.protocol.modbus_map import COMMANDS_AT, IMAGE_WORDS
from edge_runtime.protocol.peers import LOOPBACK
from edge_runtime.signal_io.modbus import MAX_RTU_FRAME_BYTES, NotModbus, answer, rtu_answer, tcp_answers
from edge_runtime.signal_io.modbus_rtu import ModbusRtuServer
from edge_runtime.signal_io.modbus_tcp import ModbusTcpServer
from edge_runtime.signal_io.serial_port import SerialPort

READY = FieldState(state="ready", ready=True, fault=False, heartbeat=7)
UNIT = 17


class Serving:
    """A server at work in a thread, as the field bus child serves it; `taken` are the commands of its masters."""

    def __init__(self, build: Callable[[RegisterBank], RegisterServer]) -> None:
        self.taken: list[Command] = []
        self.trouble: list[SignalError] = []
        self.bank = RegisterBank()
        self.bank.hand_to(self._take)
        self.bank.show(READY)
        self.server = build(self.bank)
        self.server.open()
        self._running = True
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _take(self, commands: Sequence[Command]) -> bool:
        self.taken += commands
        return True

    def _serve(self) -> None:
        try:
            while self._running:
                poller = select.poll()
                for fd, events in self.server.sources().items():
                    poller.register(fd, events)
                for fd, _ in poller.poll(20):
                    self.server.serve(fd, time.monotonic_ns())
        except SignalError as exc:
            self.trouble.append(exc)
        finally:
            self.server.close()

    def wait(self) -> None:
        self._thread.join(5)

    def stop(self) -> None:
        self._running = False
        self._thread.join()


@pytest.fixture
def serve_tcp() -> Iterator[Callable[..., Serving]]:
    started: list[Serving] = []

    def start(may_read: Any = LOOPBACK, may_write: Any = LOOPBACK, max_clients: int = 4) -> Serving:
        address = ("127.0.0.1", 0)
        started.append(Serving(lambda bank: ModbusTcpServer(bank, address, may_read, may_write, max_clients)))
        return started[-1]

    yield start
    for each in started:
        each.stop()


def tcp_client(serving: Serving, source: str = "127.0.0.1") -> ModbusTcpClient:
    port = serving.server.port  # type: ignore[attr-defined]
    client = ModbusTcpClient("127.0.0.1", port=port, timeout=2, retries=0, source_address=(source, 0))
    assert client.connect()
    return client


def raw(serving: Serving) -> socket.socket:
    return socket.create_connection(("127.0.0.1", serving.server.port), timeout=2)  # type: ignore[attr-defined]


def hung_up(connection: socket.socket) -> bool:
    try:
        return connection.recv(1000) == b""
    except ConnectionResetError:
        return True


def read_request(transaction: int = 1, address: int = 0, count: int = IMAGE_WORDS) -> bytes:
    return transaction.to_bytes(2, "big") + bytes.fromhex("0000 0006 01 03") + bytes([0, address, 0, count])


# -- what is answered -------------------------------------------------------------------------------------------


def test_every_way_to_read_and_write(serve_tcp: Any) -> None:
    serving = serve_tcp()
    with tcp_client(serving) as client:
        for read in (client.read_holding_registers, client.read_input_registers):
            assert numbers_of(read(0, count=IMAGE_WORDS).registers)["heartbeat"] == 7
        for read in (client.read_coils, client.read_discrete_inputs):
            assert read(0, count=3).bits[:3] == [True, False, False]
        assert not client.write_register(COMMANDS_AT, 5).isError()
        assert not client.write_registers(COMMANDS_AT, [6, 0]).isError()
        both = client.readwrite_registers(
            read_address=0, read_count=4, write_address=COMMANDS_AT, values=[7], device_id=1
        )
        assert both.registers[3] == 7
    trigger = [Command("trigger", number) for number in (5, 6, 7)]
    assert serving.taken == [*trigger[:2], Command("acknowledge", 0), trigger[2]]


def test_everything_else_is_refused_and_counted(serve_tcp: Any) -> None:
    serving = serve_tcp()
    with tcp_client(serving) as client:
        writes = [
            client.write_register(0, 1),
            client.write_registers(COMMANDS_AT + 2, [0, 0, 0]),
            client.write_coil(0, True),
            client.write_coils(0, [True]),
            client.mask_write_register(address=COMMANDS_AT, and_mask=0, or_mask=1),
        ]
        assert [each.exception_code for each in writes] == [2] * 5
        reads = [client.read_holding_registers(IMAGE_WORDS), client.read_coils(12), client.read_coils(0, count=13)]
        assert [each.exception_code for each in reads] == [2] * 3
        assert client.report_device_id().exception_code == 1
        assert client.read_exception_status().exception_code == 1
        assert numbers_of(client.read_holding_registers(0, count=IMAGE_WORDS).registers)["refused"] == 5
    assert serving.taken == []


def test_requests_that_arrive_together_or_in_pieces_are_all_answered(serve_tcp: Any) -> None:
    serving = serve_tcp()
    with raw(serving) as connection:
        wanted = b"".join(read_request(number, count=1) for number in range(1, 31))
        for at in range(0, len(wanted), 17):
            connection.sendall(wanted[at : at + 17])
            time.sleep(0.001)
        received = b""
        while len(received) < 30 * 11:
            received += connection.recv(4096)
    answers = [received[at : at + 11] for at in range(0, len(received), 11)]
    assert [int.from_bytes(each[:2], "big") for each in answers] == list(range(1, 31))
    assert {each[2:] for each in answers} == {bytes.fromhex("0000 0005 01 03 02 0001")}


# -- who may do it ----------------------------------------------------------------------------------------------


def test_a_peer_that_may_only_read(serve_tcp: Any) -> None:
    serving = serve_tcp(may_read=(ip_network("127.0.0.2"),), may_write=(ip_network("127.0.0.3"),))
    with tcp_client(serving, "127.0.0.2") as reader:
        assert not reader.read_holding_registers(0, count=IMAGE_WORDS).isError()
        assert reader.write_register(COMMANDS_AT, 1).exception_code == 1
    with tcp_client(serving, "127.0.0.3") as writer:
        assert not writer.write_register(COMMANDS_AT, 2).isError()
        assert numbers_of(writer.read_holding_registers(0, count=IMAGE_WORDS).registers)["refused"] == 1
    assert serving.taken == [Command("trigger", 2)]


def test_a_foreign_peer_is_hung_up_on_and_counted(serve_tcp: Any) -> None:
    serving = serve_tcp(may_read=(ip_network("127.0.0.2"),), may_write=())
    for _ in range(3):
        with raw(serving) as connection:
            with contextlib.suppress(OSError):
                connection.sendall(read_request())
            assert hung_up(connection)
    with tcp_client(serving, "127.0.0.2") as reader:
        assert numbers_of(reader.read_holding_registers(0, count=IMAGE_WORDS).registers)["refused"] == 3


def test_no_more_clients_than_allowed_and_a_place_becomes_free_again(serve_tcp: Any) -> None:
    serving = serve_tcp(max_clients=2)
    with tcp_client(serving) as first, tcp_client(serving) as second:
        for client in (first, second):
            assert not client.read_coils(0).isError()
        with raw(serving) as third:
            assert hung_up(third)
        second.close()
        end = time.monotonic() + 5
        while True:
            with raw(serving) as third:
                with contextlib.suppress(OSError):
                    third.sendall(read_request())
                if not hung_up(third):
                    break
            assert time.monotonic() < end


def test_a_silent_client_makes_room_for_a_new_one() -> None:
    server = ModbusTcpServer(RegisterBank(), ("127.0.0.1", 0), LOOPBACK, LOOPBACK, max_clients=1)
    server.open()
    try:
        listener = next(iter(server.sources()))
        with socket.create_connection(("127.0.0.1", server.port), timeout=2) as silent:
            server.serve(listener, now_ns=0)
            with socket.create_connection(("127.0.0.1", server.port), timeout=2) as refused:
                server.serve(listener, now_ns=9_999_999_999)
                assert hung_up(refused)
            with socket.create_connection(("127.0.0.1", server.port), timeout=2) as newcomer:
                server.serve(listener, now_ns=10_000_000_000)
                assert hung_up(silent)
                newcomer.setblocking(False)
                with pytest.raises(BlockingIOError):
                    newcomer.recv(1)
    finally:
        server.close()


def test_a_port_that_is_taken_or_not_ours_is_named(serve_tcp: Any) -> None:
    serving = serve_tcp()
    port = serving.server.port
    with pytest.raises(SignalError, match=f"port {port}.*another program listens there"):
        ModbusTcpServer(RegisterBank(), ("127.0.0.1", port), LOOPBACK, LOOPBACK, 1).open()
    with pytest.raises(SignalError, match="must be an address of this machine"):
        ModbusTcpServer(RegisterBank(), ("192.0.2.1", 1502), LOOPBACK, LOOPBACK, 1).open()


# -- rubbish ----------------------------------------------------------------------------------------------------


def test_rubbish_on_the_port_harms_nobody_else(serve_tcp: Any) -> None:
    serving, rng = serve_tcp(max_clients=50), random.Random(5)
    with tcp_client(serving) as good:
        for round_number in range(100):
            with raw(serving) as bad:
                data = rng.randbytes(rng.randrange(1, 400))
                if round_number % 2:  # a right header before a random body
                    body = data[:200]
                    data = b"\0\1\0\0" + len(body).to_bytes(2, "big") + body
                with contextlib.suppress(OSError):
                    bad.sendall(data)
            if round_number % 20 == 0:
                assert not good.read_holding_registers(0, count=IMAGE_WORDS).isError()
        assert not good.read_holding_registers(0, count=IMAGE_WORDS).isError()
    assert serving.trouble == []


def test_a_client_that_asks_and_never_listens_is_dropped(serve_tcp: Any) -> None:
    serving = serve_tcp()
    with raw(serving) as deaf, tcp_client(serving) as good:
        deaf.settimeout(0.2)
        request = read_request() * 100
        with contextlib.suppress(OSError):
            for _ in range(3000):
                deaf.sendall(request)
        assert not good.read_holding_registers(0, count=IMAGE_WORDS).isError()


def respond_with(bank: RegisterBank) -> Any:
    return partial(answer, bank=bank, may_write=True)


@settings(max_examples=500)
@given(st.binary(max_size=600))
def test_any_bytes_over_tcp_are_answered_kept_or_refused(data: bytes) -> None:
    with contextlib.suppress(NotModbus):
        _, rest = tcp_answers(data, respond_with(RegisterBank()))
        assert len(rest) < 260
        assert data.endswith(rest)


@settings(max_examples=1000)
@given(st.integers(0, 255), st.binary(max_size=252))
def test_any_request_body_gets_one_answer(function: int, body: bytes) -> None:
    frame = b"\0\7\0\0" + (2 + len(body)).to_bytes(2, "big") + bytes([1, function]) + body
    answers, rest = tcp_answers(frame, respond_with(RegisterBank()))
    assert rest == b""
    assert answers[:4] == b"\0\7\0\0"
    assert int.from_bytes(answers[4:6], "big") == len(answers) - 6
    assert answers[7] & 0x7F == function & 0x7F


@given(st.binary(max_size=40).filter(lambda noise: UNIT not in noise), st.binary(max_size=10))
def test_a_request_on_the_serial_line_is_found_after_noise(noise: bytes, more: bytes) -> None:
    request = with_crc(bytes([UNIT, 3, 0, 0, 0, 1]))
    response, rest = rtu_answer(noise + request, UNIT, respond_with(RegisterBank()))
    assert response == with_crc(bytes([UNIT, 3, 2, 0, 1]))
    assert rest == b""
    assert rtu_answer(noise + request[:-1], UNIT, respond_with(RegisterBank()))[0] == b""


@settings(max_examples=500)
@given(st.binary(max_size=600), st.integers(1, 247))
def test_any_bytes_on_the_serial_line_are_survived(data: bytes, unit: int) -> None:
    _, rest = rtu_answer(data, unit, respond_with(RegisterBank()))
    assert len(rest) <= MAX_RTU_FRAME_BYTES


def test_on_the_serial_line_other_units_and_broadcasts_stay_unanswered_and_repeats_get_one_answer() -> None:
    taken: list[Command] = []
    bank = RegisterBank()
    bank.hand_to(lambda commands: not taken.extend(commands))
    write = bytes([6, 0, COMMANDS_AT, 0, 9])
    for unit in (0, UNIT + 1):
        assert rtu_answer(with_crc(bytes([unit]) + write), UNIT, respond_with(bank))[0] == b""
    assert taken == []
    own = with_crc(bytes([UNIT]) + write)
    assert rtu_answer(own * 3, UNIT, respond_with(bank)) == (own, b"")
    assert taken == [Command("trigger", 9)]


def with_crc(frame: bytes) -> bytes:
    return frame + FramerRTU.compute_CRC(frame).to_bytes(2, "big")


# -- the serial line --------------------------------------------------------------------------------------------


@pytest.fixture
def pty_pairs() -> Iterator[tuple[int, str, int, str]]:
    """Two ptys: (our end and device) of the box's cable and of the master's."""
    fds = [*os.openpty(), *os.openpty()]
    for slave in (fds[1], fds[3]):
        tty.setraw(slave)
    yield fds[0], os.ttyname(fds[1]), fds[2], os.ttyname(fds[3])
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)


class Cable:
    """Carries bytes between two pty masters; `cut` loses them, `noise` puts bytes before what comes next."""

    def __init__(self, first: int, second: int) -> None:
        self.noise = b""
        self._ends = (first, second)
        self._running = True
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()

    def _carry(self) -> None:
        first, second = self._ends
        while self._running:
            for fd in select.select([first, second], [], [], 0.02)[0]:
                data = os.read(fd, 4096)
                noise, self.noise = self.noise, b""
                os.write(second if fd == first else first, noise + data)

    def stop(self) -> None:
        self._running = False
        self._thread.join()


def test_a_master_on_a_serial_line(pty_pairs: tuple[int, str, int, str]) -> None:
    box_end, box_device, master_end, master_device = pty_pairs
    serving = Serving(lambda bank: ModbusRtuServer(bank, SerialPort(box_device, 19_200), UNIT, 19_200))
    cable = Cable(box_end, master_end)
    client = ModbusSerialClient(master_device, baudrate=19_200, timeout=0.5, retries=0)
    try:
        for heartbeat in range(20):
            serving.bank.show(FieldState(heartbeat=heartbeat))
            registers = client.read_holding_registers(0, count=IMAGE_WORDS, device_id=UNIT).registers
            assert numbers_of(registers)["heartbeat"] == heartbeat
        assert not client.write_register(COMMANDS_AT, 3, device_id=UNIT).isError()
        assert client.write_register(0, 3, device_id=UNIT).exception_code == 2
        cable.noise = bytes([UNIT, 3, 0, 0, 5, 1, 2])
        assert not client.read_coils(0, device_id=UNIT).isError()
        assert serving.taken == [Command("trigger", 3)]
    finally:
        client.close()
        cable.stop()
        serving.stop()


def test_a_serial_line_that_is_lost_is_an_error_of_the_driver() -> None:
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    serving = Serving(lambda bank: ModbusRtuServer(bank, SerialPort(os.ttyname(theirs), 19_200), UNIT, 19_200))
    os.close(ours)
    serving.wait()
    os.close(theirs)
    assert len(serving.trouble) == 1
