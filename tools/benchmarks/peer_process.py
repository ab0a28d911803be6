"""A peer as a process of `.venv-peers`, from the side that asks it."""

from __future__ import annotations

import json
import os
import select
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tools.benchmarks.agreement import Planes
from tools.benchmarks.priority import AS_A_WORKER
from tools.errors import ToolError

ROOT = Path(__file__).parents[2]
# The threads a peer was given are its own to use; what it was given by the environment would overrule them.
FOREIGN = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONPATH")


ANSWER_WITHIN_S = 600.0


@dataclass(frozen=True)
class Timed:
    """One frame through a peer. `peak_mb`: the most its process ever held."""

    ms: float
    planes: Planes
    peak_mb: float


class PeerProcess:
    """Starts with the context; `failure` tells why it cannot be measured, empty where it can. One thread owns it."""

    def __init__(
        self, python: Path, exchange: Path, name: str, threads: int, log: Path, limit_s: float = ANSWER_WITHIN_S
    ) -> None:
        self.name, self.threads = name, threads
        self.failure = self.versions = self.setting = ""
        self._exchange = exchange
        self._command = [*AS_A_WORKER, str(python), "-m", "tools.benchmarks.peer", str(exchange), name, str(threads)]
        self._log = log
        self._limit_s = limit_s
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> PeerProcess:
        environment = {key: value for key, value in os.environ.items() if key not in FOREIGN}
        environment |= {"OMP_NUM_THREADS": str(self.threads), "PYTHONPATH": str(ROOT)}
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
            )
        hello = self._hear()
        self.versions, self.setting = str(hello.get("versions", "")), str(hello.get("setting", ""))
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._process is not None
        self._process.communicate()  # closes its input, which is how it is told to end

    def run(self, frame: Path) -> Timed | None:
        """One frame; None, and `failure` is set, when the peer cannot do it."""
        assert self._process is not None
        assert self._process.stdin is not None
        out = self._exchange / f"{self.name}-{self.threads}.npz"
        try:
            self._process.stdin.write(json.dumps({"frame": str(frame), "out": str(out)}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._fail("its process has ended")
            return None
        found = self._hear()
        if self.failure:
            return None
        with np.load(out) as arrays:
            planes = Planes(arrays["class_ids"], arrays["scores"])
        return Timed(float(found["ms"]), planes, peak_mb(self._process.pid))

    def _hear(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], self._limit_s)[0]:
            self._process.kill()
            self._fail(f"no answer within {self._limit_s:g} s")
            return {}
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"failed": f"ended with {self._process.wait()}"}
        if "failed" in answer:
            self._fail(str(answer["failed"]))
        return answer

    def _fail(self, reason: str) -> None:
        self.failure = reason[:300]


def peak_mb(pid: int) -> float:
    """The most resident memory a process ever had, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) * 1024 / 1e6, 1)
    raise ToolError(f"process {pid} has no memory any more")
