"""The daemon under simulation, as the service manager runs it: a process of its own, started again when it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import psutil

from edge_runtime.clock import SystemClock
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.inference.bundle import machine_target
from edge_runtime.inference.bundle_writer import NewArtefact, write_bundle
from edge_runtime.inference.golden import GoldenTile
from edge_runtime.inference.manifest import Draft
from edge_runtime.inference.targets import Target
from edge_runtime.processes import die_with_parent
from edge_runtime.storage.database import Database
from edge_runtime.values import InspectionRecord, Mask

TILE_PX, STRIDE_PX = 256, 2
CLASSES = ("defect", "second", "third", "fourth", "fifth", "no_part")


class Station:
    """A folder with settings, and the daemon that runs on them; it dies with this process. The main thread owns it."""

    def __init__(self, folder: Path, config: Path) -> None:
        self.folder = folder
        self.starts = 0
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        self._making_safe: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the daemon, on what the one before has left."""
        self._process = self._launch("run")
        self.starts += 1

    def _launch(self, command: str) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "edge_runtime", command, "--config", str(self._config)]
        with open(self.folder / "daemon.log", "ab") as log:
            return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent)

    @property
    def has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    @property
    def pid(self) -> int | None:
        """Of the line process, once it was started."""
        return None if self._process is None else self._process.pid

    @property
    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def keep_running(self) -> bool:
        """Once the daemon has ended, `make-safe`, then the daemon anew; True when it has been found ended just now."""
        if not self.has_ended:
            return False
        if self._making_safe is None:
            self._making_safe = self._launch("make-safe")
            return True
        if self._making_safe.poll() is not None:
            self._making_safe = None
            self.start()
        return False

    def ask_to_stop(self) -> None:
        """SIGTERM, to a daemon that runs; one that was being started again is started no more."""
        if self._making_safe is not None:
            self._making_safe.wait()
            self.start()
        self.signal(signal.SIGTERM)

    def signal(self, signum: signal.Signals) -> None:
        """To the line process alone."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signum)

    def kill_child(self, role: str, pick: int = 0) -> bool:
        """End one child process of this role with SIGKILL; False when there is none."""
        children = list(self._children(role))
        if not children:
            return False
        try:
            children[pick % len(children)].kill()
        except psutil.NoSuchProcess:
            return False
        return True

    def _children(self, role: str) -> Iterator[psutil.Process]:
        if self._process is None or self._process.poll() is not None:
            return
        try:
            for child in psutil.Process(self._process.pid).children():
                if role in " ".join(child.cmdline()).split():  # a forked child's title is one word
                    yield child
        except psutil.Error:
            return

    def end(self) -> None:
        """Make sure that nothing of the daemon is left."""
        for process in (self._making_safe, self._process):
            if process is not None:
                process.kill()
                process.wait()

    def log_tail(self, lines: int = 12) -> str:
        text = (self.folder / "daemon.log").read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def records(self) -> list[InspectionRecord]:
        """Every row on disk. Raises StorageError."""
        database = Database(self.folder / "data" / "records.sqlite", SystemClock())
        database.open_for_reading()
        try:
            return list(database.records())
        finally:
            database.close()


def write_scripted_bundle(folder: Path, tile_px: int = TILE_PX) -> Path:
    """A bundle for the scripted backend: a contract and classes; its network is never opened. Raises BundleError."""
    draft = Draft.model_validate(
        {
            "name": "scripted",
            "version": "1",
            "created": datetime(2026, 1, 1, tzinfo=timezone.utc),
            "input": {
                "channels": "GRAY", "mean": (0.5,), "std": (0.25,),
                "tile_px": tile_px, "stride_px": 8, "margin_px": 0,
            },
            "output": {"kind": "class_and_score", "mask_stride_px": STRIDE_PX},
            "classes": [
                {"id": class_id, "name": name, "color_bgr": (0, 0, 255), "threshold": 128}
                for class_id, name in enumerate(CLASSES, 1)
            ],
            "figures": {"parameters": 0, "macs_per_tile": 0},
            "terms": "none: no training data",
        }
    )  # fmt: skip
    cells = np.zeros((tile_px // STRIDE_PX, tile_px // STRIDE_PX), np.uint8)
    golden = GoldenTile(np.zeros((tile_px, tile_px, 3), np.uint8), Mask(cells, cells, STRIDE_PX), None)
    target: Target = "x86" if machine_target() == "x86" else "arm"
    network = NewArtefact("model.bin", b"none", target, "fp32", "none")
    write_bundle(folder, draft, [network], [golden])
    return folder


def new_folder(path: Path) -> Path:
    """An empty folder for a run; one with something in it is left alone. Raises EdgeRuntimeError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        is_empty = not any(path.iterdir())
    except OSError as exc:
        raise EdgeRuntimeError(f"{path}: {exc.strerror}; choose another folder for --keep") from exc
    if not is_empty:
        raise EdgeRuntimeError(f"{path}: is not empty; choose another folder for --keep")
    return Path(os.path.abspath(path))
