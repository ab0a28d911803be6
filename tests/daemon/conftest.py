"""A whole station: the real daemon as a process, a pty as the cable, a folder of pictures, recording output lines."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import psutil
import pytest

from edge_runtime.clock import SystemClock
from edge_runtime.inference.bundle import machine_target
from edge_runtime.inference.bundle_writer import NewArtefact, write_bundle
from edge_runtime.inference.golden import GoldenTile
from edge_runtime.inference.manifest import Draft
from edge_runtime.interfaces import Output
from edge_runtime.protocol.messages import FROM_DEVICE, Acknowledge, Heartbeat, Message, Result, TriggerRequest
from edge_runtime.protocol.sentence import Decoder, encode
from edge_runtime.signal_io.recording import levels
from edge_runtime.storage.database import Database
from edge_runtime.values import InspectionRecord, Mask

SIDE_PX = 256
CLEAN, DEFECT, SEGV, ABORT, HANG, RUBBISH = 60, 101, 241, 242, 243, 244


def paint(folder: Path, name: str, marker: int) -> None:
    """A grey picture with a patch of the scripted backend's marker value."""
    picture = np.full((SIDE_PX, SIDE_PX, 3), CLEAN, np.uint8)
    picture[100:140, 60:90] = marker
    cv2.imwrite(str(folder / f"{name}.png"), picture)


@dataclass
class Cable:
    """A pty behind a fixed name, which can be pulled and plugged in again."""

    link: Path
    master_fd: int = -1
    slave_fd: int = -1

    def plug(self) -> None:
        self.master_fd, self.slave_fd = os.openpty()
        tty.setraw(self.slave_fd)
        self.link.symlink_to(os.ttyname(self.slave_fd))

    def pull(self) -> None:
        self.link.unlink()
        os.close(self.master_fd)
        os.close(self.slave_fd)
        self.master_fd = self.slave_fd = -1

    @property
    def plugged(self) -> bool:
        return self.master_fd >= 0


class Ear(Protocol):
    """What the controller makes of the bytes it hears."""

    def feed(self, data: bytes) -> list[Message]: ...


@dataclass
class Station:
    """The daemon under test, seen from outside."""

    folder: Path
    cable: Cable
    process: subprocess.Popen[bytes]
    heard: list[Message] = field(default_factory=list)
    decoder: Ear = field(default_factory=lambda: Decoder(FROM_DEVICE))
    acknowledging: bool = True
    encode: Callable[[Message], bytes] = encode

    def listen(self, timeout_s: float) -> list[Message]:
        """What arrives within `timeout_s`; results are acknowledged."""
        if not self.cable.plugged or not select.select([self.cable.master_fd], [], [], timeout_s)[0]:
            return []
        messages = self.decoder.feed(os.read(self.cable.master_fd, 65536))
        self.heard += messages
        for message in messages:
            if isinstance(message, Result) and self.acknowledging:
                self.say(Acknowledge(message.seq))
        return messages

    def say(self, message: Message) -> None:
        os.write(self.cable.master_fd, self.encode(message))

    def trigger(self, line_seqno: int) -> None:
        self.say(TriggerRequest(line_seqno))

    def until(self, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Listen until `condition()` holds; fail with the daemon's log otherwise."""
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, f"waited {timeout_s} s in vain\n{self.log[-4000:]}"
            self.listen(0.02)

    @property
    def results(self) -> list[Result]:
        return [message for message in self.heard if isinstance(message, Result)]

    @property
    def state(self) -> str:
        return next((m.state for m in reversed(self.heard) if isinstance(m, Heartbeat)), "")

    @property
    def log(self) -> str:
        return (self.folder / "daemon.log").read_text()

    @property
    def output_levels(self) -> dict[Output, bool]:
        return levels(self.folder / "lines.jsonl")

    def wait_until_ready(self) -> None:
        """Until a heartbeat heard from now on says so."""
        self.heard = [message for message in self.heard if not isinstance(message, Heartbeat)]
        self.until(lambda: self.state in ("ready", "inspecting"))

    def children(self, role: str) -> list[psutil.Process]:
        everybody = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in everybody if role in " ".join(_cmdline(child))]

    def stop(self, timeout_s: float = 30.0) -> int:
        """SIGTERM, as the service manager does; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        end = time.monotonic() + timeout_s
        while self.process.poll() is None:
            assert time.monotonic() < end, f"the daemon does not stop\n{self.log[-4000:]}"
            self.listen(0.02)
        while self.listen(0.1):
            pass
        return self.process.returncode

    def records(self) -> list[InspectionRecord]:
        database = Database(self.folder / "data" / "records.sqlite", SystemClock())
        database.open_for_reading()
        try:
            return list(database.records())
        finally:
            database.close()


def _cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


CONFIG = """
[station]
name = "test"
data_dir = "data"
[camera]
driver = "folder"
path = "pictures"
width_px = {side_px}
height_px = {side_px}
loop = {loop}
[inspection]
bundle = "{bundle}"
backend = "{backend}"
workers = {workers}
scripted_predict_ms = {predict_ms}
hang_timeout_ms = {hang_timeout_ms}
gate_audit_every = {gate_audit_every}
[line]
trigger = "{trigger}"
deadline_ms = {deadline_ms}
deadline_guard_ms = {guard_ms}
ring_slots = {ring_slots}
realtime_priority = {realtime_priority}
heartbeat_ms = 100
restarts_max = {restarts_max}
restarts_window_s = 60
[serial]
port = "{port}"
ack_timeout_ms = 100
{serial_more}
[gpio]
driver = "recording"
{gpio_more}
journal = "{journal}"
[gpio.outputs.ok]
line = 1
[gpio.outputs.reject]
line = 2
[gpio.outputs.fault]
line = 3
[gpio.outputs.heartbeat]
line = 4
{more}
"""


@pytest.fixture(scope="session")
def scripted_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle for the scripted backend: a contract and classes; its artefact is never opened."""
    return write_scripted(tmp_path_factory.mktemp("bundles") / "scripted" / "1", takes_template=False)


@pytest.fixture(scope="session")
def template_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `scripted_bundle`, for a model that takes a template."""
    return write_scripted(tmp_path_factory.mktemp("bundles") / "template" / "1", takes_template=True)


def write_scripted(
    folder: Path,
    takes_template: bool,
    gate_threshold: float | None = None,
    golden_grey: int = 255,
    version: str = "1",
) -> Path:
    """With a gate of that threshold, which passes at start if the golden tile's defect is no fainter."""
    classes = [
        {"id": class_id, "name": name, "color_bgr": (0, 0, 255), "threshold": 128}
        for class_id, name in enumerate(("open", "short", "mousebite", "spur", "copper", "pin-hole"), 1)
    ]
    draft = Draft(
        name="scripted",
        version=version,
        created=datetime(2026, 1, 1, tzinfo=timezone.utc),
        input={
            "channels": "GRAY",
            "mean": (0.5,),
            "std": (0.25,),
            "tile_px": 256,
            "stride_px": 8,
            "margin_px": 0,
            "template": takes_template,
        },
        output={"kind": "class_and_score", "mask_stride_px": 2},
        classes=classes,
        figures={"parameters": 0, "macs_per_tile": 0},
        terms="none: no training data",
        gate=None if gate_threshold is None else scripted_gate(gate_threshold),
    )
    picture, cells = np.zeros((256, 256, 3), np.uint8), np.zeros((128, 128), np.uint8)
    template = np.zeros((256, 256), np.uint8) if takes_template else None
    picture[100:140, 60:90], cells[50:70, 30:45] = golden_grey, 255
    golden = GoldenTile(picture, Mask(cells & 1, cells, 2), template)
    write_bundle(folder, draft, [NewArtefact("model.bin", b"none", machine_target(), "fp32", "none")], [golden])
    return folder


def scripted_gate(threshold: float) -> dict[str, object]:
    calibration = {
        "data_set": "none",
        "pictures": 1,
        "defects": 1,
        "lost": 0,
        "confidence": 0.95,
        "lost_share_max": 0.95,
        "skipped_share": 0.0,
        "clean_skipped_share": 0.0,
    }
    size = {"tolerance_px": 1, "block_px": 4, "reach_px": 8}
    return {"kind": "template_difference", **size, "threshold": threshold, "calibration": calibration}


@pytest.fixture
def start_station(tmp_path: Path, scripted_bundle: Path) -> Iterator[Callable[..., Station]]:
    """Start a daemon on pictures given as name -> marker grey value, and files; settings by keyword, see CONFIG.

    Deadlines are far away and slots are many unless a test is about them: a busy machine may take a second for what
    takes milliseconds, to save a picture or to leave a part.
    """
    stations: list[Station] = []

    def start(pictures: dict[str, int], more: str = "", files: Sequence[Path] = (), **changes: object) -> Station:
        folder = tmp_path / f"station-{len(stations)}"
        (folder / "pictures").mkdir(parents=True)
        for name, marker in pictures.items():
            paint(folder / "pictures", name, marker)
        for file in files:
            shutil.copy(file, folder / "pictures")
        settings = {
            "side_px": SIDE_PX, "loop": "true", "workers": 2, "predict_ms": 5, "hang_timeout_ms": 1000,
            "backend": "scripted", "trigger": "serial", "serial_more": "", "gpio_more": "",
            "deadline_ms": 20_000, "guard_ms": 10, "realtime_priority": 0, "restarts_max": 1000, "gate_audit_every": 50,
            "ring_slots": 32,
        }  # fmt: skip
        paths = {"bundle": scripted_bundle, "port": folder / "tty", "journal": folder / "lines.jsonl"}
        (folder / "config.toml").write_text(CONFIG.format(**(settings | paths | changes), more=more))
        station = launch(folder, Cable(folder / "tty"))
        stations.append(station)
        return station

    yield start
    for station in stations:
        station.process.kill()
        station.process.wait()
        if station.cable.plugged:
            station.cable.pull()


def launch(folder: Path, cable: Cable) -> Station:
    if not cable.plugged:
        cable.plug()
    command = [sys.executable, "-m", "edge_runtime", "run", "--config", str(folder / "config.toml")]
    with open(folder / "daemon.log", "ab") as log:
        return Station(folder, cable, subprocess.Popen(command, stdout=log, stderr=log))


@pytest.fixture
def relaunch() -> Callable[[Station], Station]:
    """Start a daemon anew on the same folder and cable."""
    return lambda station: launch(station.folder, station.cable)
