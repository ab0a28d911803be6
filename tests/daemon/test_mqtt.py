"""The whole daemon and a real broker: whatever is killed, a consumer that follows the numbers has the database's records."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
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


def part_ids(station) -> list[int]:
    return [record.trigger.part_id for record in station.records()]


def test_everything_is_killed_and_the_consumer_has_every_record_once(start_station, relaunch, mosquitto, consume):
    broker = mosquitto()
    taken = consume(broker.port)
    station = start_station({"a": CLEAN, "b": DEFECT}, more=MQTT.format(port=broker.port))
    station.wait_until_ready()

    def trigger(first: int, last: int) -> None:
        for line_seqno in range(first, last):
            station.trigger(line_seqno)
            station.until(lambda: len(station.results) >= line_seqno)

    trigger(1, 20)
    station.children("reporter")[0].send_signal(signal.SIGKILL)
    trigger(20, 40)
    broker.kill()
    trigger(40, 60)
    broker.start()
    trigger(60, 80)
    station.until(lambda: taken.part_ids == part_ids(station) and len(taken.part_ids) >= 79, 40)
