"""The real daemon on one picture, asked for one part after another, as benchmarks watch it."""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import psutil

from edge_runtime.clock import NS_PER_MS
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.interfaces import Input
from edge_runtime.protocol.messages import FROM_DEVICE, Heartbeat, Message, Result
from edge_runtime.protocol.sentence import Decoder
from edge_runtime.signal_io.edge_feed import EdgeSender, FedEdge
from edge_runtime.signal_io.recording import written
from edge_runtime.simulation.station import Station
from edge_runtime.simulation.toml_text import to_toml
from edge_runtime.values import InspectionRecord, Outcome
from tools.benchmarks.frames import backend_keys
from tools.golden_pictures import MadePicture

READY_WITHIN_S, ANSWER_WITHIN_S, STOP_WITHIN_S = 120.0, 180.0, 15.0
HANG_MS = 60_000
LOOK_EVERY_S = 0.005
PARTS_AHEAD = 2


@contextmanager
def scratch(purpose: str) -> Iterator[Path]:
    """A folder for a daemon. One that had to be killed leaves an office behind that may still write there."""
    with tempfile.TemporaryDirectory(prefix=f"bench-{purpose}-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextmanager
def journals_folder() -> Iterator[Path]:
    """In memory where there is such a file system: the disk that records are written to must not hold up the wires."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="bench-wires-", dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


def end(station: Station) -> None:
    """Stop the daemon as a service manager does, and make sure that it is gone."""
    station.signal(signal.SIGTERM)
    end_s = time.monotonic() + STOP_WITHIN_S
    while not station.has_ended and time.monotonic() < end_s:
        time.sleep(LOOK_EVERY_S)
    station.end()


@dataclass(frozen=True)
class PartTimes:
    """From a part's trigger to its result on the wire, by the stamps of the processes themselves."""

    record: InspectionRecord
    wire_ms: float
    whole_ms: float


def daemon_settings(folder: Path, bundle: Path, picture: MadePicture, workers: int, backend: str) -> dict[str, Any]:
    """Settings for a box without hardware, whose camera shows `picture`, which is written into the folder."""
    height_px, width_px = picture.image.shape[:2]
    (folder / "pictures").mkdir(exist_ok=True)
    cv2.imwrite(str(folder / "pictures" / "frame.bmp"), picture.image)
    recipe: dict[str, Any] = {"name": "bench"}
    if picture.template is not None:
        cv2.imwrite(str(folder / "template.png"), picture.template)
        recipe["template"] = "template.png"
    return {
        "station": {"name": "bench", "data_dir": "data"},
        "camera": {
            "driver": "folder", "path": "pictures", "loop": True, "width_px": width_px, "height_px": height_px,
        },
        "inspection": {
            "bundle": str(bundle.absolute()), "workers": workers, "hang_timeout_ms": HANG_MS,
            **backend_keys(backend),
        },
        "line": {
            "trigger": "gpio", "deadline_ms": ANSWER_WITHIN_S * 1000, "heartbeat_ms": 500,
            "capture_timeout_ms": 30_000, "camera_hang_timeout_ms": 60_000,
        },
        "recipe": recipe,
        "serial": {"driver": "recording", "journal": "wire.jsonl", "acknowledge": False},
        "gpio": {
            "driver": "recording", "journal": "outputs.jsonl", "feed": "inputs",
            "inputs": {"trigger": {"line": 3, "debounce_us": 0}},
            "outputs": {"ok": {"line": 1, "pulse_ms": 5}, "reject": {"line": 2, "pulse_ms": 5}},
        },
        "archive": {"keep_ok_every": 0, "free_mb_min": 0},
    }  # fmt: skip


class Daemon:
    """Runs with the context. Raises EdgeRuntimeError, with the end of its log, when it does not do as asked."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._folder = folder
        self._journal = folder / "wire.jsonl"
        config = folder / "config.toml"
        config.write_text(to_toml(settings), encoding="utf-8")
        self._station = Station(folder, config)
        self._sender = EdgeSender(folder / "inputs")
        self._heard: list[tuple[int, Message]] = []
        self._heard_bytes = 0

    def __enter__(self) -> Daemon:
        self._station.start()
        self._until(self._is_ready, READY_WITHIN_S, "did not become ready")
        return self

    def __exit__(self, *exc: object) -> None:
        end(self._station)
        self._sender.close()

    def processes(self) -> list[psutil.Process]:
        """The line and all its children."""
        line = psutil.Process(self._station.pid)
        return [line, *line.children(recursive=True)]

    def inspect(self) -> None:
        """One trigger; returns when its result is on the wire. No figure is of a part that was not inspected."""
        before, now_ns = len(self.results()), time.monotonic_ns()
        self._sender.send([FedEdge(Input.TRIGGER, now_ns), FedEdge(Input.TRIGGER, now_ns, active=False)])
        self._until(lambda: len(self.results()) > before, ANSWER_WITHIN_S, "gave no result")
        last = next(message for _, message in reversed(self._heard) if isinstance(message, Result))
        if last.outcome is Outcome.NOT_INSPECTED:
            raise EdgeRuntimeError(
                f"a part was not inspected ({last.reason}); the log ends:\n{self._station.log_tail()}"
            )

    def stream(self, parts: int) -> None:
        """So many triggers, each as soon as the result of the one before the last is on the wire."""
        before = len(self.results())
        for number in range(parts):
            wanted = before + number - PARTS_AHEAD + 1
            self._until(lambda wanted=wanted: len(self.results()) >= wanted, ANSWER_WITHIN_S, "gave no result")  # type: ignore[misc]
            now_ns = time.monotonic_ns()
            self._sender.send([FedEdge(Input.TRIGGER, now_ns), FedEdge(Input.TRIGGER, now_ns, active=False)])
        self._until(lambda: len(self.results()) >= before + parts, ANSWER_WITHIN_S, "gave no result")

    def results(self) -> dict[int, int]:
        """When each part's result was first written: part_id -> monotonic ns."""
        told: dict[int, int] = {}
        for at_ns, message in self._told():
            if isinstance(message, Result):
                told.setdefault(message.part_id, at_ns)
        return told

    def part_times(self) -> list[PartTimes]:
        """Of all inspected parts, in their order; for a daemon that has stopped."""
        at_ns = self.results()
        return [
            PartTimes(
                record,
                (at_ns[record.trigger.part_id] - record.verdict.decided_ns) / NS_PER_MS,
                (at_ns[record.trigger.part_id] - record.trigger.at_ns) / NS_PER_MS,
            )
            for record in self._station.records()
            if record.trigger.part_id in at_ns and "decide" in record.stage_ms
        ]

    def _is_ready(self) -> bool:
        return any(isinstance(message, Heartbeat) and message.state == "ready" for _, message in self._told())

    def _told(self) -> list[tuple[int, Message]]:
        """All that was written so far, read anew only when the journal has grown: watching must cost nothing."""
        size_bytes = self._journal.stat().st_size if self._journal.exists() else 0
        if size_bytes != self._heard_bytes:
            decoder = Decoder(FROM_DEVICE)
            writes = written(self._journal)
            self._heard = [(write.at_ns, message) for write in writes for message in decoder.feed(write.data)]
            self._heard_bytes = size_bytes
        return self._heard

    def _until(self, condition: Callable[[], bool], within_s: float, what: str) -> None:
        end_s = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > end_s or self._station.has_ended:
                raise EdgeRuntimeError(f"the daemon {what}; its log ends:\n{self._station.log_tail()}")
            time.sleep(LOOK_EVERY_S)
