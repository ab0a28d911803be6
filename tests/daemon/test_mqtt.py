"""The whole daemon and a real broker: whatever is killed, a consumer that follows the numbers has every record once."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "mqtt_consumer.py"
CLEAN, DEFECT = 60, 101
MQTT = """
[mqtt]
host = "127.0.0.1"
port = {port}
"""


class Taken:
    """The shipped example of a consumer, as a process, and what it has written."""

    def __init__(self, port: int, file: Path) -> None:
        self._file = file
        command = [sys.executable, str(EXAMPLE), "127.0.0.1", str(port), "edge-runtime/test", str(file)]
        self.process = subprocess.Popen(command)

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._file.read_text().splitlines()] if self._file.exists() else []

    @property
    def part_ids(self) -> list[int]:
        return [record["part_id"] for record in self.records]


@pytest.fixture
def consume(tmp_path: Path) -> Iterator[Any]:
    started: list[Taken] = []

    def start(port: int) -> Taken:
        started.append(Taken(port, tmp_path / "taken.jsonl"))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()


def told(station) -> list[int]:
    """Part ids in the order of the commits."""
    with closing(sqlite3.connect(station.folder / "data" / "records.sqlite")) as connection:
        return [row[0] for row in connection.execute("SELECT part_id FROM parts ORDER BY record_no")]


def trigger(station, line_seqnos: Sequence[int]) -> None:
    for line_seqno in line_seqnos:
        station.trigger(line_seqno)
        station.listen(0.01)
    station.until(lambda: set(line_seqnos) <= {result.line_seqno for result in station.results})


def test_everything_is_killed_and_the_consumer_has_every_record_once(start_station, relaunch, mosquitto, consume):
    broker = mosquitto()
    taken = consume(broker.port)
    station = start_station({"a": CLEAN, "b": DEFECT}, more=MQTT.format(port=broker.port))
    station.wait_until_ready()

    trigger(station, range(1, 50))
    station.children("reporter")[0].kill()
    trigger(station, range(50, 100))
    broker.kill()
    trigger(station, range(100, 150))
    station.children("office")[0].kill()
    broker.start()
    trigger(station, range(150, 200))
    station.until(lambda: len(told(station)) == 199)
    station.process.kill()
    station.process.wait()
    again = relaunch(station)
    try:
        again.wait_until_ready()
        trigger(again, range(200, 250))
        again.until(lambda: len(taken.part_ids) == len(told(again)) == 249)
        assert taken.part_ids == told(again)
        assert [record["record_no"] for record in taken.records] == list(range(1, 250))
        assert again.stop() == 0
    finally:
        again.process.kill()
        again.process.wait()


def test_a_box_without_its_broker_gets_ready_and_says_what_is_missing(start_station, mosquitto, consume):
    broker = mosquitto()
    broker.kill()
    station = start_station({"a": CLEAN}, more=MQTT.format(port=broker.port))
    station.wait_until_ready()
    trigger(station, range(1, 4))
    station.until(lambda: "refused" in snapshot(station).get("reporter_trouble", ""))
    assert snapshot(station)["state"] in ("ready", "inspecting")
    assert snapshot(station)["faults"] == []
    broker.start()
    taken = consume(broker.port)
    station.until(lambda: len(taken.part_ids) == 3)
    station.until(lambda: snapshot(station)["reporter_trouble"] == "")
    assert station.stop() == 0


def test_a_frozen_broker_and_a_frozen_reporter_hold_nothing_up(start_station, mosquitto):
    broker = mosquitto()
    broker.freeze()
    station = start_station({"a": CLEAN}, more=MQTT.format(port=broker.port))
    station.wait_until_ready()
    trigger(station, range(1, 10))
    station.children("reporter")[0].suspend()
    trigger(station, range(10, 20))
    assert station.stop() == 0
    assert len(told(station)) == 19


def test_a_reporter_that_never_gets_ready_keeps_no_box_from_working(start_station, tmp_path, monkeypatch):
    (tmp_path / "stub" / "paho").mkdir(parents=True)
    (tmp_path / "stub" / "paho" / "__init__.py").write_text("raise ImportError('not installed')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}/stub:{os.environ.get('PYTHONPATH', '')}")
    station = start_station({"a": CLEAN}, more=MQTT.format(port=1), restarts_max=2)
    station.wait_until_ready()
    station.until(lambda: "restart budget is spent" in station.log)
    trigger(station, range(1, 10))
    station.until(lambda: snapshot(station)["restarts"].get("reporter", 0) >= 3)
    assert snapshot(station)["faults"] == []
    assert station.stop() == 0


def snapshot(station) -> dict[str, Any]:
    try:
        return json.loads((station.folder / "data" / "snapshot.json").read_text())
    except FileNotFoundError:
        return {}
