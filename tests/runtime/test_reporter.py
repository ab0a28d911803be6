"""The reporter as a process of its own, with a real database and a real broker, killed and cut off in all ways."""

from __future__ import annotations

import importlib.util
import json
import random
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from edge_runtime.clock import SystemClock
from edge_runtime.config import load_settings
from edge_runtime.runtime.channel import Channel
from edge_runtime.runtime.children import ChildSpec, Role, spawn_child
from edge_runtime.runtime.messages import Ping, Pong, Ready, ReporterTrouble, Setup, Stop
from edge_runtime.storage.database import Database
from edge_runtime.values import Defect, InspectionRecord, Outcome, Trigger, Verdict

ROOT = Path(__file__).parents[2]
BUNDLE = next((ROOT / "opt_models").glob("*/*/manifest.json")).parent
SETTINGS = f"""
[station]
name = "box"
data_dir = "data"
[camera]
driver = "synthetic"
[inspection]
bundle = "{BUNDLE}"
[mqtt]
host = "127.0.0.1"
prefix = "plant/1"
"""
RECORD, STATE, STATUS, REPLAY = (f"plant/1/box/{kind}" for kind in ("record", "state", "status", "replay"))


def make_record(part_id: int) -> InspectionRecord:
    bad = part_id % 3 == 0
    defects = (Defect(1, (3, 4, 30, 40), 700, 7.25, 0.875),) if bad else ()
    outcome, reasons = (Outcome.REJECT, ("open: 1 > 0",)) if bad else (Outcome.PASS, ())
    verdict = Verdict(part_id, outcome, reasons, defects, len(defects), part_id * 10**9, "other/1@00000000", "board")
    at = datetime(2026, 11, 23, tzinfo=timezone.utc) + timedelta(seconds=part_id)
    return InspectionRecord(
        Trigger(part_id, part_id, part_id + 1), verdict, at, None, {"total": 1.5}, "größe.png", engine="openvino:bf16"
    )


class Box:
    """A data folder with its database, and the reporter, which can be started and killed."""

    def __init__(self, folder: Path, port: int, more: str = "") -> None:
        self.data = folder / "data"
        self.data.mkdir()
        self._settings = folder / "settings.toml"
        self._settings.write_text(f"{SETTINGS}port = {port}\n{more}")
        self.database = Database(self.data / "records.sqlite", SystemClock())
        self.database.open()
        self.process: subprocess.Popen[bytes] | None = None
        self.channel: Channel | None = None
        self.troubles: list[str] = []

    def commit(self, *part_ids: int) -> None:
        for part_id in part_ids:
            self.database.add(make_record(part_id))
        self.database.commit()

    def start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            spawn = spawn_child("edge_runtime.child_program", None)
            self.process = spawn(ChildSpec(Role.REPORTER, 0, 0, 0), theirs.fileno())
        self.channel = Channel(ours)
        self.channel.send(Setup(load_settings(self._settings).model_dump_json(), 0))
        assert self.hear(20) == Ready()

    def hear(self, timeout_s: float = 10.0) -> object:
        message = self.channel.wait(timeout_s * 1000) if self.channel else None
        self.troubles += [message.reason] if isinstance(message, ReporterTrouble) else []
        return message

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        if self.channel is not None:
            self.channel.close()
        self.process = self.channel = None

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """While its process stands still: it tells a new broker nothing before somebody listens there."""
        self.process.send_signal(signal.SIGSTOP)
        yield
        self.process.send_signal(signal.SIGCONT)

    def show(self, **changes: Any) -> None:
        """Write a snapshot as the office does."""
        snapshot = {"at": datetime.now(timezone.utc).isoformat(), "state": "ready", "faults": [], "passed": 0}
        path = self.data / "snapshot.json"
        (self.data / "new").write_text(json.dumps({**snapshot, **changes}))
        (self.data / "new").replace(path)

    @property
    def part_ids(self) -> list[int]:
        with closing(sqlite3.connect(self.data / "records.sqlite")) as connection:
            return [row[0] for row in connection.execute("SELECT part_id FROM parts ORDER BY record_no")]

    @property
    def cursor(self) -> dict[str, Any]:
        path = self.data / "mqtt-cursor.json"
        return json.loads(path.read_text()) if path.exists() else {"record_no": 0}


@pytest.fixture
def make_box(tmp_path) -> Iterator[Callable[..., Box]]:
    boxes: list[Box] = []

    def make(port: int, more: str = "") -> Box:
        boxes.append(Box(tmp_path, port, more))
        return boxes[-1]

    yield make
    for box in boxes:
        box.kill()
        box.database.close()


class Consumer:
    """The shipped example, in this process."""

    def __init__(self, port: int, file: Path) -> None:
        spec = importlib.util.spec_from_file_location("mqtt_consumer", ROOT / "docs" / "examples" / "mqtt_consumer.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self._file = file
        self._consumer = module.Consumer("plant/1/box", file)
        self._consumer.client.connect("127.0.0.1", port)
        self._consumer.client.loop_start()

    @property
    def taken(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._file.read_text().splitlines()] if self._file.exists() else []

    def until(self, count: int) -> None:
        """Until so many records are taken, asking for those that do not come."""
        end, progress = time.monotonic() + 180, {"": 0}
        while len(self.taken) < count:
            assert time.monotonic() < end, f"{len(self.taken)} of {count}"
            time.sleep(0.5)
            progress = self._consumer.ask_for_what_is_missing(progress)

    def close(self) -> None:
        self._consumer.client.disconnect()
        self._consumer.client.loop_stop()


@pytest.fixture
def consume(tmp_path) -> Iterator[Callable[[int], Consumer]]:
    started: list[Consumer] = []

    def start(port: int) -> Consumer:
        started.append(Consumer(port, tmp_path / "taken.jsonl"))
        return started[-1]

    yield start
    for consumer in started:
        consumer.close()


def told(ear) -> list[dict[str, Any]]:
    return [json.loads(payload) for payload in ear.on(RECORD)]


def told_ids(ear) -> list[int]:
    return [record["part_id"] for record in told(ear)]


def test_what_was_committed_is_told_in_that_order_once(mosquitto, listen, make_box):
    broker = mosquitto()
    ear = listen(broker.port)
    box = make_box(broker.port)
    box.commit(5, 2, 9)
    box.start()
    ear.until(lambda: told_ids(ear) == [5, 2, 9])
    box.commit(4, 3)  # lower ids, later
    ear.until(lambda: told_ids(ear) == [5, 2, 9, 4, 3])
    assert [(each["previous_no"], each["record_no"]) for each in told(ear)] == [(n, n + 1) for n in range(5)]
    ear.until(lambda: box.cursor["record_no"] == 5)
    assert told(ear)[2] == {
        "schema": 1, "station": "box", "epoch": box.cursor["epoch"], "record_no": 3, "previous_no": 2, "part_id": 9,
        "line_seqno": None, "triggered_at": "2026-11-23T00:00:09.000000+00:00", "outcome": "REJECT",
        "reasons": ["open: 1 > 0"], "defect_count": 1,
        "defects": [{"class_id": 1, "class": None, "xyxy_px": [3, 4, 30, 40], "area_px": 700, "area_mm2": 7.25,
                     "score": 0.875, "zone": "inspect"}],
        "model_id": "other/1@00000000", "recipe_id": "board", "recipe_number": 0,
        "recipe_digest": "", "stage_ms": {"total": 1.5}, "label": "größe.png",
        "tiles": {"computed": 0, "skipped": 0, "audited": 0, "missed": 0}, "tile_px": 0, "engine": "openvino:bf16",
    }  # fmt: skip


def test_after_an_orderly_stop_nothing_is_told_twice(mosquitto, listen, make_box):
    broker = mosquitto()
    ear = listen(broker.port)
    box = make_box(broker.port)
    box.commit(*range(1, 300))
    box.start()
    ear.until(lambda: told_ids(ear))
    box.channel.send(Stop())
    assert box.process.wait(5) == 0
    ear.until(lambda: ear.on(STATUS) == [b"online", b"offline"])
    box.kill()
    box.start()
    ear.until(lambda: len(told_ids(ear)) >= 299)
    assert told_ids(ear) == list(range(1, 300))


def test_whatever_is_killed_the_followers_set_is_the_database(mosquitto, make_box, consume):
    """Broker and reporter are killed in turn while records are committed and told."""
    broker = mosquitto()
    box = make_box(broker.port)
    box.start()
    consumer = consume(broker.port)
    ids, dice = list(range(1, 2001)), random.Random(7)
    happenings: dict[int, tuple[Callable[[], None], ...]] = {
        15: (box.kill,), 17: (box.start,), 35: (broker.kill,), 40: (broker.start,), 60: (box.kill, box.start),
        70: (broker.kill, broker.start), 80: (broker.kill, box.kill, box.start), 85: (broker.start,),
    }  # fmt: skip
    for number, start in enumerate(range(0, len(ids), 20)):
        batch = ids[start : start + 20]
        dice.shuffle(batch)
        box.commit(*batch)
        box.show(passed=start)  # as the office does all the time: a reporter tells nothing of the last run's
        for happening in happenings.get(number, ()):
            happening()
        time.sleep(0.03)

    consumer.until(len(ids))
    assert [record["part_id"] for record in consumer.taken] == box.part_ids
    assert sorted(box.part_ids) == ids
    assert [record["record_no"] for record in consumer.taken] == list(range(1, len(ids) + 1))


def test_a_consumer_that_was_away_asks_for_what_it_missed(mosquitto, listen, make_box, consume):
    broker = mosquitto()
    box = make_box(broker.port)
    box.start()
    box.show()
    box.commit(*range(1, 50))
    first = consume(broker.port)
    first.until(49)
    first.close()
    box.commit(*range(50, 100))
    ear = listen(broker.port)
    ear.until(lambda: box.cursor["record_no"] == 99)
    second = consume(broker.port)
    second.until(99)
    assert [record["part_id"] for record in second.taken] == list(range(1, 100))


def test_what_a_broker_did_not_acknowledge_before_it_died_is_told_again(mosquitto, listen, make_box):
    broker = mosquitto()
    ear = listen(broker.port)
    box = make_box(broker.port)
    box.start()
    box.commit(1)
    ear.until(lambda: box.cursor["record_no"] == 1)
    broker.freeze()
    box.commit(*range(2, 60))
    time.sleep(0.5)  # some are handed to the kernel by now
    with box.stopped():
        broker.kill()
        broker.start()
        ear.until(lambda: ear.subscribed == 2)
    ear.until(lambda: len(set(told_ids(ear))) == 59)
    assert told_ids(ear) == list(range(1, 60))


def test_without_a_place_for_the_cursor_records_are_told_and_after_a_kill_again(mosquitto, listen, make_box):
    broker = mosquitto()
    ear = listen(broker.port)
    box = make_box(broker.port)
    box.start()
    box.commit(1)
    ear.until(lambda: box.cursor["record_no"] == 1)
    (box.data / "mqtt-cursor.json").unlink()
    (box.data / "mqtt-cursor.json").mkdir()
    box.commit(8, 7)
    assert "cannot be written" in box.hear().reason
    ear.until(lambda: len(told(ear)) == 3)
    box.kill()
    (box.data / "mqtt-cursor.json").rmdir()
    box.start()
    ear.until(lambda: len(told(ear)) == 6)
    assert told(ear)[:3] == told(ear)[3:]
    ear.until(lambda: box.cursor["record_no"] == 3)


def test_the_broker_says_offline_after_a_kill(mosquitto, listen, make_box):
    broker = mosquitto()
    ear = listen(broker.port)
    box = make_box(broker.port)
    box.start()
    ear.until(lambda: ear.on(STATUS) == [b"online"])
    box.kill()
    ear.until(lambda: ear.on(STATUS) == [b"online", b"offline"])
    late = listen(broker.port)
    late.until(lambda: late.on(STATUS) == [b"offline"])


def test_the_state_is_retained_told_on_changes_and_again_to_a_new_broker(mosquitto, listen, make_box):
    broker = mosquitto()
    box = make_box(broker.port)
    box.show(state="stopping")  # of the last run
    box.start()
    box.show(state="ready", last_verdicts=[{"part_id": 1}, {"part_id": 2, "outcome": "PASS", "defects": [1, 2]}])
    ear = listen(broker.port)
    ear.until(lambda: ear.on(STATE))
    for _ in range(3):
        time.sleep(0.5)
        box.show(state="ready", last_verdicts=[{"part_id": 1}, {"part_id": 2, "outcome": "PASS", "defects": [1, 2]}])
    states = [json.loads(payload) for payload in ear.on(STATE)]
    assert [state["state"] for state in states] == ["ready"]
    assert states[0]["last"] == {"part_id": 2, "outcome": "PASS", "reasons": None}
    assert "last_verdicts" not in states[0]
    box.show(state="fault", faults=["camera"])
    ear.until(lambda: len(ear.on(STATE)) == 2)
    assert json.loads(ear.on(STATE)[1])["faults"] == ["camera"]
    broker.kill()
    broker.start()
    late = listen(broker.port)
    late.until(lambda: late.on(STATE))
    assert json.loads(late.on(STATE)[0])["state"] == "fault"


def test_a_consumer_may_ask_again_and_nonsense_is_ignored(mosquitto, listen, make_box):
    broker = mosquitto()
    ear = listen(broker.port)
    box = make_box(broker.port)
    box.commit(*range(1, 31))
    box.start()
    ear.until(lambda: len(told(ear)) == 30)
    epoch = told(ear)[0]["epoch"]
    wrong = [{"epoch": epoch, "after": after} for after in (-1, "3", 10**30, 30, None)]
    nonsense = [
        b"",
        b"\xff",
        b"[]",
        b" " * 100_000,
        b'{"epoch": "x", "after": 1}',
        *(json.dumps(each) for each in wrong),
    ]
    for payload in nonsense:
        ear.client.publish(REPLAY, payload, 1)
    ear.client.publish(REPLAY, json.dumps({"epoch": epoch, "after": 20, "who": "test"}), 1)
    ear.until(lambda: len(told(ear)) == 40)
    box.commit(31)
    ear.until(lambda: len(told(ear)) == 41)
    assert told_ids(ear) == [*range(1, 31), *range(21, 31), 31]
    ear.until(lambda: box.cursor["record_no"] == 31)


def test_without_replay_nobody_can_ask(mosquitto, listen, make_box):
    broker = mosquitto()
    ear = listen(broker.port)
    box = make_box(broker.port, "replay = false")
    box.commit(1)
    box.start()
    ear.until(lambda: told(ear))
    ear.client.publish(REPLAY, json.dumps({"epoch": told(ear)[0]["epoch"], "after": 0}), 1).wait_for_publish(5)
    box.commit(2)
    ear.until(lambda: len(told(ear)) == 2)
    assert told_ids(ear) == [1, 2]


def test_records_deleted_before_they_were_told_are_counted_and_seen(mosquitto, listen, make_box):
    broker = mosquitto()
    box = make_box(broker.port)
    box.commit(*range(1, 11))
    ear = listen(broker.port)
    box.start()
    ear.until(lambda: box.cursor["record_no"] == 10)
    box.kill()
    box.commit(*range(11, 31))
    while box.database.prune(5):
        pass
    box.start()
    box.show()
    ear.until(lambda: len(told(ear)) == 15)
    assert (told(ear)[10]["previous_no"], told(ear)[10]["record_no"]) == (10, 26)
    ear.until(lambda: ear.on(STATE) and json.loads(ear.on(STATE)[-1])["reported"]["record_no"] == 30)
    assert json.loads(ear.on(STATE)[-1])["reported"]["deleted_unsent"] == 15


def test_a_new_database_file_is_followed_after_the_old_one_was_told(mosquitto, listen, make_box):
    broker = mosquitto()
    broker.kill()
    box = make_box(broker.port)
    box.commit(1, 2)
    box.start()
    assert isinstance(box.hear(), ReporterTrouble)
    for suffix in ("", "-wal", "-shm"):
        (box.data / f"records.sqlite{suffix}").rename(box.data / f"old{suffix}")
    box.database.close()
    box.database.open()
    box.commit(7)
    with box.stopped():
        broker.start()
        ear = listen(broker.port)
    ear.until(lambda: told_ids(ear) == [1, 2, 7])
    assert [record["record_no"] for record in told(ear)] == [1, 2, 1]
    assert len({record["epoch"] for record in told(ear)}) == 2


def test_records_that_the_broker_refuses_stay_in_the_database(mosquitto, listen, make_box, tmp_path):
    rules = tmp_path / "acl"
    rules.write_text(f"topic read #\ntopic write {STATUS}\ntopic write {STATE}\n")
    broker = mosquitto(f"acl_file {rules}")
    ear = listen(broker.port)
    box = make_box(broker.port)
    box.commit(1, 2)
    box.start()
    assert "refuses a message" in box.hear().reason
    ear.until(lambda: ear.on(STATUS).count(b"offline") >= 2)  # it tried again
    assert box.cursor["record_no"] == 0
    rules.write_text("topic readwrite #\n")
    with box.stopped():
        broker.kill()
        broker.start()
        ear.until(lambda: ear.subscribed == 2)
    ear.until(lambda: told_ids(ear) == [1, 2])
    while box.troubles[-1]:
        box.hear()
    assert box.cursor["record_no"] == 2


def test_it_answers_pings_while_the_broker_is_away_and_ends_with_the_line(mosquitto, make_box):
    broker = mosquitto()
    broker.kill()
    box = make_box(broker.port)
    box.start()
    assert "refused" in box.hear().reason
    box.channel.send(Ping())
    assert box.hear() == Pong()
    box.channel.close()
    assert box.process.wait(10) == 0
    box.channel = None


def test_home_assistant_is_told_what_there_is(mosquitto, listen, make_box):
    broker = mosquitto()
    box = make_box(broker.port, "discovery = true")
    box.start()
    ear = listen(broker.port)
    ear.until(lambda: len({message.topic for message in ear.heard if "/config" in message.topic}) == 8)
    configs = {message.topic: json.loads(message.payload) for message in ear.heard if message.topic.endswith("/config")}
    assert "homeassistant/sensor/edge_runtime_box/rejected/config" in configs
    assert {config["state_topic"] for config in configs.values()} == {STATE}
    assert {config["availability_topic"] for config in configs.values()} == {STATUS}
    assert len({config["unique_id"] for config in configs.values()}) == len(configs)
