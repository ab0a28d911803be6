"""The daemon as a Modbus master sees it: triggers and acknowledgements by register, and every way to lose a process."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil
import pytest
from pymodbus.client import ModbusSerialClient, ModbusTcpClient
from pymodbus.exceptions import ModbusException

from edge_runtime.protocol.messages import FaultChanged
from edge_runtime.protocol.modbus_image import numbers_of
from edge_runtime.protocol.modbus_map import COMMANDS_AT, IMAGE_WORDS, STATES, STATUS_BITS
from edge_runtime.values import Outcome
from tests.ports import free_port

CLEAN, DEFECT = 60, 101
PASS, REJECT, NOT_INSPECTED = 1, 2, 3
TRIGGER, ACKNOWLEDGE, RESET, SELECT_RECIPE = range(COMMANDS_AT, COMMANDS_AT + 4)


@dataclass
class Master:
    """A controller that reads the whole image with one request, and reconnects when it must."""

    client: Any

    def image(self) -> dict[str, int]:
        """The registers by name; {} while nobody answers."""
        try:
            response = self.client.read_holding_registers(0, count=IMAGE_WORDS, device_id=1)
            return {} if response.isError() else numbers_of(response.registers)
        except (ModbusException, OSError):
            self.client.close()
            return {}

    def write(self, address: int, *values: int) -> int:
        """0, or the exception code."""
        if len(values) == 1:
            response = self.client.write_register(address, values[0], device_id=1)
        else:
            response = self.client.write_registers(address, list(values), device_id=1)
        return int(response.exception_code) if response.isError() else 0

    def until(self, condition: Callable[[dict[str, int]], bool], timeout_s: float = 60.0) -> dict[str, int]:
        end, image = time.monotonic() + timeout_s, self.image()
        while not (image and condition(image)):
            assert time.monotonic() < end, f"waited {timeout_s} s in vain, the last image is {image}"
            time.sleep(0.01)
            image = self.image()
            assert image.get("result_id") == image.get("result_id_again")
        return image

    def take(self, after: int = 0) -> dict[str, int]:
        """Read the next result and acknowledge it."""
        image = self.until(lambda image: image["result_id"] not in (0, after))
        assert self.write(ACKNOWLEDGE, image["result_id"]) == 0
        return image

    def wait_until_ready(self) -> None:
        self.until(lambda image: bits(image)["ready"])


def bits(image: dict[str, int]) -> dict[str, bool]:
    return {name: bool(image["status_bits"] >> number & 1) for number, name in enumerate(STATUS_BITS)}


@pytest.fixture
def modbus_station(start_station: Any) -> Iterator[Callable[..., tuple[Any, Master]]]:
    clients: list[ModbusTcpClient] = []

    def start(pictures: dict[str, int], more: str = "", **changes: object) -> tuple[Any, Master]:
        port = free_port()
        settings = {"trigger": "modbus", "more": f"[modbus]\nport = {port}\n{more}"} | changes
        station = start_station(pictures, **settings)
        clients.append(ModbusTcpClient("127.0.0.1", port=port, timeout=2, retries=0, reconnect_delay=0.1))
        return station, Master(clients[-1])

    yield start
    for client in clients:
        client.close()


def test_triggers_by_register_end_to_end(modbus_station: Any) -> None:
    station, master = modbus_station({"1": CLEAN, "2": DEFECT}, more="[recipe]\nmm_per_px = 0.05\n")
    master.wait_until_ready()
    seen, last = [], 0
    for seqno in range(1, 7):
        assert master.write(TRIGGER, seqno) == 0
        assert master.write(TRIGGER, seqno) == 0, "a repeated write is no second part"
        image = master.take(last)
        last = image["result_id"]
        seen.append((image["line_seqno"], image["part_id"], image["outcome"], image["defect_count"]))
    assert seen == [(s, s, REJECT if s % 2 == 0 else PASS, int(s % 2 == 0)) for s in range(1, 7)]
    box = [image[f"defect_1_{edge}"] for edge in ("x_min", "y_min", "x_max", "y_max")]
    told = (image["result_bits"], image["defects_shown"], image["defect_1_class"], box, image["defect_1_area"])
    assert told == (3, 1, 1, [30, 50, 45, 70], 300), "30 × 40 px of 0.0025 mm², in 0.1 mm and 0.01 mm²"
    image = master.until(lambda image: image["result_id"] == 0)
    assert (image["triggers"], image["passed"], image["rejected"], image["accepted_seqno"]) == (6, 3, 3, 6)
    assert station.stop() == 0
    assert [r.verdict.outcome for r in station.records()] == [Outcome.PASS, Outcome.REJECT] * 3


def test_a_recipe_is_selected_for_the_part_that_is_triggered_with_it(modbus_station: Any) -> None:
    lenient = '[recipes.2.recipe]\nname = "b"\n[recipes.2.recipe.default_rule]\nmax_count = 5\n'
    station, master = modbus_station({"1": DEFECT}, more='[recipes.1.recipe]\nname = "a"\n' + lenient)
    master.until(lambda image: STATES[image["state"]] == "fault")
    assert master.write(SELECT_RECIPE, 1) == 0
    master.wait_until_ready()
    digests, last = {}, 0
    for seqno, recipe in ((1, 1), (2, 2), (3, 1), (4, 9)):
        assert master.write(TRIGGER, seqno, 0, 0, recipe) == 0
        image = master.take(last)
        last = image["result_id"]
        digests[image["recipe_number"]] = image["recipe_digest"]
        assert (image["line_seqno"], image["outcome"]) == (seqno, PASS if recipe == 2 else REJECT)
    assert len({*digests.values()}) == len(digests) == 2
    assert station.stop() == 0
    assert [record.verdict.recipe_id for record in station.records()] == ["a", "b", "a", "a"]


def test_another_region_is_taken_over_with_a_result_standing_and_the_disk_full(modbus_station: Any) -> None:
    station, master = modbus_station({"1": DEFECT}, more='[recipe]\nname = "all"\n')
    master.wait_until_ready()
    (office,) = station.children("office")
    office.rlimit(psutil.RLIMIT_FSIZE, (10, psutil.RLIM_INFINITY))
    assert master.write(TRIGGER, 1) == 0
    standing = master.until(lambda image: image["result_id"] != 0)
    config = station.folder / "config.toml"
    region = "ignore = [[[50, 90], [100, 90], [100, 150], [50, 150]]]"
    config.write_text(config.read_text().replace('name = "all"', f'name = "region"\n{region}'))
    station.process.send_signal(signal.SIGHUP)
    station.until(lambda: "taken over in" in station.log)
    assert station.records() == []
    office.rlimit(psutil.RLIMIT_FSIZE, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))
    first = master.take()
    assert (first["result_id"], first["outcome"]) == (standing["result_id"], REJECT)
    assert master.write(TRIGGER, 2) == 0
    second = master.take(first["result_id"])
    assert (second["line_seqno"], second["outcome"]) == (2, PASS)
    assert second["recipe_digest"] != standing["recipe_digest"]
    assert station.stop() == 0
    assert [(r.line_seqno, r.verdict.recipe_id) for r in station.records()] == [(1, "all"), (2, "region")]


def test_kill_9_of_the_field_bus_loses_no_result(modbus_station: Any) -> None:
    station, master = modbus_station({"1": CLEAN, "2": DEFECT})
    master.wait_until_ready()
    results: dict[int, int] = {}
    for seqno in range(1, 31):
        if seqno % 10 == 5:
            os.kill(station.children("fieldbus")[0].pid, signal.SIGKILL)
            master.until(lambda image: bits(image)["takes_triggers"])
        assert master.write(TRIGGER, seqno) == 0
        if seqno % 3 == 0:  # now and then only, so that results wait while the process dies
            while len(results) < seqno:
                image = master.take(max(results, default=0))
                results[image["result_id"]] = image["line_seqno"]
    assert list(results.values()) == list(range(1, 31))
    assert station.stop() == 0
    assert len(station.records()) == 30


def test_a_field_bus_that_hangs_is_replaced_and_nothing_is_lost(modbus_station: Any) -> None:
    station, master = modbus_station({"1": CLEAN})
    master.wait_until_ready()
    master.write(TRIGGER, 1)
    master.until(lambda image: bool(image["result_id"]))
    os.kill(station.children("fieldbus")[0].pid, signal.SIGSTOP)
    station.until(lambda: FaultChanged("fieldbus", True) in station.heard)
    master.client.close()
    assert master.take()["line_seqno"] == 1
    station.until(lambda: FaultChanged("fieldbus", False) in station.heard)


def test_only_the_peers_of_the_settings_are_served(modbus_station: Any) -> None:
    more = 'allow_read = ["127.0.0.2"]\nallow_write = ["127.0.0.3", "10.0.0.0/8"]\n'
    _, master = modbus_station({"1": CLEAN}, more=more)
    port = master.client.comm_params.port

    def peer(address: str) -> Master:
        return Master(ModbusTcpClient("127.0.0.1", port=port, timeout=2, retries=0, source_address=(address, 0)))

    reader, writer = peer("127.0.0.2"), peer("127.0.0.3")
    reader.wait_until_ready()
    assert master.image() == {}
    assert reader.write(TRIGGER, 1) == 1
    assert writer.write(TRIGGER, 2) == 0
    image = reader.until(lambda image: bool(image["result_id"]))
    assert (image["line_seqno"], image["refused"] >= 2) == (2, True)
    for each in (reader, writer):
        each.client.close()


def test_a_master_sees_a_killed_line_as_down_and_is_then_hung_up_on(modbus_station: Any) -> None:
    station, master = modbus_station({"1": CLEAN})
    master.wait_until_ready()
    master.write(TRIGGER, 1)
    master.until(lambda image: bool(image["result_id"]))
    station.process.send_signal(signal.SIGKILL)
    killed_at = time.monotonic()
    image = master.until(lambda image: not bits(image)["ready"], timeout_s=2)
    assert STATES[image["state"]] == "down"
    assert (image["result_id"], bits(image)["result_valid"], bits(image)["ok"], bits(image)["fault"]) == (
        0,
        False,
        False,
        True,
    )
    while image := master.image():
        assert STATES[image["state"]] == "down"
        assert time.monotonic() < killed_at + 10
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", master.client.comm_params.port)) != 0
    station.process.wait()


def test_a_line_that_stands_still_is_not_ready_for_long(modbus_station: Any) -> None:
    station, master = modbus_station({"1": CLEAN})
    master.wait_until_ready()
    station.process.send_signal(signal.SIGSTOP)
    try:
        master.until(lambda image: not bits(image)["ready"])
    finally:
        station.process.send_signal(signal.SIGCONT)


def test_without_acknowledgements_results_are_lost_counted_and_a_reset_helps(modbus_station: Any) -> None:
    _station, master = modbus_station({"1": CLEAN}, more="max_unacknowledged = 3\n")
    master.wait_until_ready()
    for seqno in range(1, 6):
        master.until(lambda image: image["triggers"] == seqno - 1 and image["passed"] == seqno - 1)  # noqa: B023
        master.write(TRIGGER, seqno)
    image = master.until(lambda image: image["lost_results"] > 0 and bits(image)["fault"])
    assert not bits(image)["result_valid"]
    assert not bits(image)["ready"]
    master.write(RESET, 1)
    master.until(lambda image: bits(image)["ready"])
    master.write(TRIGGER, 100)
    assert master.take()["line_seqno"] == 100


def test_results_follow_each_other_where_nobody_acknowledges(modbus_station: Any) -> None:
    _station, master = modbus_station({"1": CLEAN}, more="acknowledge = false\n")
    master.wait_until_ready()
    for seqno in range(1, 5):
        master.write(TRIGGER, seqno)
        master.until(lambda image: image["line_seqno"] == seqno and bits(image)["ok"])  # noqa: B023


def test_a_new_daemon_takes_the_port_over(modbus_station: Any, relaunch: Any) -> None:
    station, master = modbus_station({"1": CLEAN})
    master.wait_until_ready()
    station.process.kill()
    station.process.wait()
    again = relaunch(station)
    master.until(lambda image: STATES[image["state"]] == "ready")
    master.write(TRIGGER, 1)
    assert master.take()["part_id"] > 1000
    assert again.stop() == 0


def test_the_slave_on_a_serial_line(start_station: Any, tmp_path: Any) -> None:
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    more = f'[modbus]\nmode = "rtu"\nserial_port = "{os.ttyname(theirs)}"\nunit_id = 1\n'
    station = start_station({"1": CLEAN, "2": DEFECT}, trigger="modbus", more=more)
    link = tmp_path / "master"
    bridge = PtyBridge(ours, link)
    client = ModbusSerialClient(str(link), baudrate=19_200, parity="N", timeout=1, retries=3)
    try:
        master = Master(client)
        master.wait_until_ready()
        for seqno in (1, 2):
            assert master.write(TRIGGER, seqno) == 0
            image = master.take(seqno - 1 and seqno)
            assert (image["line_seqno"], image["outcome"]) == (seqno, seqno)
        assert station.stop() == 0
    finally:
        client.close()
        bridge.close()
        os.close(theirs)


class PtyBridge:
    """Joins the far end of a pty with another pty, for a client that wants a device of its own to open."""

    def __init__(self, far_end: int, link: Any) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        link.symlink_to(os.ttyname(self._slave))
        self._fds = (far_end, self._master)
        self._running = True
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()

    def _carry(self) -> None:
        first, second = self._fds
        while self._running:
            for fd in select.select([first, second], [], [], 0.05)[0]:
                with suppress(OSError):
                    os.write(second if fd == first else first, os.read(fd, 4096))

    def close(self) -> None:
        self._running = False
        self._thread.join()
        for fd in (*self._fds, self._slave):
            os.close(fd)


@pytest.mark.skipif(shutil.which("mbpoll") is None, reason="mbpoll is not installed (Debian package mbpoll)")
def test_mbpoll_reads_and_writes(modbus_station: Any) -> None:
    _station, master = modbus_station({"1": CLEAN})
    master.wait_until_ready()
    port = str(master.client.comm_params.port)

    def mbpoll(*arguments: str) -> str:
        command = ["mbpoll", "-m", "tcp", "-p", port, "-0", "-1", "-q", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout

    assert "Written 1 references" in mbpoll("-t", "4", "-r", "200", "127.0.0.1", "7")
    image = master.take()
    assert image["line_seqno"] == 7
    told = mbpoll("-t", "3", "-r", "0", "-c", str(IMAGE_WORDS), "127.0.0.1")
    assert f"[{IMAGE_WORDS - 1}]" in told
    assert "[0]: \t1" in told
    assert "[0]: \t1" in mbpoll("-t", "1", "-r", "0", "-c", "12", "127.0.0.1"), "the first discrete input is ready"
