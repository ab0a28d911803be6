"""The toolkit as a child process: it builds a network once, then runs tiles in its simulator of the NPU.

The simulator runs only what the same process has just built, and two builds of one network differ in some bytes: so
whatever is measured of a file is measured here, before the child ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from edge_runtime.inference.rknn_file import PLATFORM
from edge_runtime.values import InputContract
from tools.errors import ConversionError
from tools.graph import FloatArray

BUILD_LIMIT_S = 600
TILE_LIMIT_S = 60
INSTALL = "set it up with `make rknn-tools`, or name its interpreter with --rknn-python"
PixelsU8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Order:
    """What the child is told; paths as text. `mean` and `std` are of pixel values."""

    platform: str
    onnx: str
    out: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    calibration: str | None
    tile_hwc: tuple[int, int, int]
    answer_bytes: int


@dataclass(frozen=True)
class Built:
    """A network that was built: the file's bytes, the toolkit's version, and all it printed."""

    data: bytes
    version: str
    log: str


class Simulator:
    """One network in the simulator: `build` it once, `infer`, and leave it by `close`. One thread owns it."""

    def __init__(
        self, python: Path, onnx: bytes, contract: InputContract, class_count: int, cells: int, scratch: Path
    ) -> None:
        self._python, self._scratch = python.absolute(), scratch
        self._shape = (class_count, cells, cells)
        self._contract = contract
        self._onnx = onnx
        self._process: subprocess.Popen[bytes] | None = None
        ours, self._theirs = os.pipe()
        self._answers: IO[bytes] = os.fdopen(ours, "rb")

    def build(self, calibration: PixelsU8 | None) -> Built:
        """In INT8 by `calibration` tiles, uint8 (N, H, W, C), or in fp16 without. Raises ConversionError."""
        scratch = self._scratch
        order = self._order(calibration)
        (scratch / "order.json").write_text(json.dumps(asdict(order)), encoding="utf-8")
        command = [str(self._python), str(Path(__file__).with_name("child.py")), "order.json", str(self._theirs)]
        try:
            self._process = self._started(command, self._theirs)
        finally:
            os.close(self._theirs)
        with self._limited(BUILD_LIMIT_S, "the build"):
            told = self._told()
        return Built(Path(order.out).read_bytes(), told, self._log())

    def infer(self, pixels: PixelsU8) -> FloatArray:
        """The margins of one tile, uint8 (1, H, W, C): float32 (classes, cells, cells). Raises ConversionError."""
        count = int(np.prod(self._shape)) * 4
        with self._limited(TILE_LIMIT_S, "a tile"):
            tiles = cast(IO[bytes], cast("subprocess.Popen[bytes]", self._process).stdin)
            tiles.write(np.ascontiguousarray(pixels).tobytes())
            tiles.flush()
            data = self._answers.read(count)
            if len(data) != count:
                raise EOFError
        return np.frombuffer(data, np.float32).reshape(self._shape)

    def close(self) -> None:
        """End the child. Call it once, whatever `build` did."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._answers.close()

    def _order(self, calibration: PixelsU8 | None) -> Order:
        contract, scratch = self._contract, self._scratch.resolve()
        (scratch / "margins.onnx").write_bytes(self._onnx)
        if calibration is not None:
            np.save(scratch / "calibration.npy", calibration)
        templates = int(contract.template)
        mean, std = (
            tuple(255 * each for each in (*values, *values[:1] * templates)) for values in (contract.mean, contract.std)
        )
        return Order(
            platform=PLATFORM,
            onnx=str(scratch / "margins.onnx"),
            out=str(scratch / "model.rknn"),
            mean=mean,
            std=std,
            calibration=None if calibration is None else str(scratch / "calibration.npy"),
            tile_hwc=(contract.tile_px, contract.tile_px, contract.channel_count),
            answer_bytes=int(np.prod(self._shape)) * 4,
        )

    def _started(self, command: list[str], answers: int) -> subprocess.Popen[bytes]:
        with (self._scratch / "log.txt").open("wb") as log:
            try:
                return subprocess.Popen(
                    command, cwd=self._scratch, stdin=subprocess.PIPE, stdout=log, stderr=log, pass_fds=[answers]
                )
            except OSError as exc:
                raise ConversionError(f"{self._python}: {exc.strerror}; rknn-toolkit2: {INSTALL}") from exc

    def _told(self) -> str:
        line = self._answers.readline()
        if not line:
            raise EOFError
        told: dict[str, Any] = json.loads(line)
        if "problem" in told:
            raise ConversionError(f"rknn-toolkit2: {told['problem']}: {self._last_words()}")
        return str(told["version"])

    @contextmanager
    def _limited(self, limit_s: float, what: str) -> Iterator[None]:
        """Kill the child after `limit_s`, and put its end into words."""
        assert self._process is not None
        timer = threading.Timer(limit_s, self._process.kill)
        timer.start()
        try:
            yield
        except (EOFError, BrokenPipeError) as exc:
            code = self._process.wait()
            late = "" if timer.is_alive() else f", killed after {limit_s:g} s"
            raise ConversionError(
                f"rknn-toolkit2 died at {what} (exit code {code}{late}): {self._last_words()}"
            ) from exc
        finally:
            timer.cancel()

    def _log(self) -> str:
        return (self._scratch / "log.txt").read_text(encoding="utf-8", errors="replace")

    def _last_words(self) -> str:
        lines = [line.strip() for line in self._log().splitlines() if line.strip()]
        telling = [line for line in lines if line.startswith("E ") or "Error" in line] or lines or ["no message"]
        absent = f"; {INSTALL}" if any("No module named" in line for line in lines[-3:]) else ""
        return f"{telling[-1][:300]}{absent}"
