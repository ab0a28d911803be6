"""`bench start`: from the daemon's start to READY, what takes the time, and what a change of recipe costs."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from edge_runtime.clock import NS_PER_MS
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.inference.bundle import load_bundle
from edge_runtime.simulation.toml_text import to_toml
from tools.benchmarks.arithmetic import medians
from tools.benchmarks.daemon import READY_WITHIN_S, daemon_settings, scratch
from tools.benchmarks.frames import made_frame
from tools.benchmarks.report import Clerk, Report, Row
from tools.benchmarks.switch import check_switchable, measure_switches, measure_takeovers
from tools.errors import ToolError
from tools.progress import progress_bar

SIDE_PX = 512
CHILD_LIMIT_S = 120
_READY = re.compile(r"^(\S+ \S+),(\d{3}) INFO \w+ (\w+?)(?:-\d+)? is ready", re.MULTILINE)


@dataclass(frozen=True)
class StartWish:
    """`other`: the bundle that the recipe changes to and back from; None leaves the changes out."""

    bundle: Path
    other: Path | None
    workers: Sequence[int]
    rounds: int
    backend: str = "paddle_lite"


def bench_start(wish: StartWish) -> Report:
    """One row for each worker count: medians of the milliseconds from the start of the process to its READY=1.

    One more start comes before the counted ones, so that every file is in the page cache. The steps of a worker are
    taken in a process of its own that does what a worker does. Raises BundleError, EdgeRuntimeError.
    """
    clerk, bundle = Clerk("start"), load_bundle(wish.bundle)
    if wish.other is not None:
        check_switchable((wish.bundle, wish.other))
    rows = []
    with progress_bar("worker counts") as advance:
        for workers in wish.workers:
            rows.append(_row(wish, workers, bundle.input_contract.template))
            advance(len(rows), len(wish.workers))
    summary: dict[str, dict[str, float]] = {}
    if wish.backend != "auto":  # which leaves the steps of what it has chosen
        summary["worker_ms"] = worker_steps(wish.bundle, wish.backend, wish.rounds)
    if wish.other is not None:
        summary["takeover_ms"] = measure_takeovers(wish.bundle, wish.other, wish.rounds, wish.backend, wish.workers[-1])
        summary["switch_ms"] = measure_switches(wish.bundle, wish.other, wish.rounds, wish.backend)
    conditions = {"model": bundle.model_id, "backend": wish.backend, "rounds": wish.rounds}
    return clerk.report(conditions, rows, summary)


def _row(wish: StartWish, workers: int, with_template: bool) -> Row:
    samples = []
    with scratch("start") as folder:
        picture = made_frame(SIDE_PX, with_template)
        settings = daemon_settings(folder, wish.bundle, picture, workers, wish.backend)
        (folder / "config.toml").write_text(to_toml(settings), encoding="utf-8")
        for _ in range(1 + wish.rounds):
            samples.append(_start_once(folder))
    return {"workers": workers, **{key: round(value, 1) for key, value in medians(samples[1:]).items()}}


def _start_once(folder: Path) -> dict[str, float]:
    """Milliseconds from the start to READY=1, and to the last child of each role being ready."""
    log_path = folder / "daemon.log"
    with _service_manager(folder / "notify") as manager, open(log_path, "wb") as log:
        began_at, began_ns = datetime.now(), time.monotonic_ns()
        command = [sys.executable, "-m", "edge_runtime", "run", "--config", str(folder / "config.toml")]
        environment = {**os.environ, "NOTIFY_SOCKET": str(folder / "notify")}
        daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        try:
            while b"READY=1" not in manager.recv(4096).split(b"\n"):
                pass
            ready_ns = time.monotonic_ns()
        except TimeoutError as exc:
            raise EdgeRuntimeError(f"the daemon did not become ready:\n{log_path.read_text()[-2000:]}") from exc
        finally:
            daemon.terminate()
            _await_end(daemon)
    children = ready_times(log_path.read_text(encoding="utf-8"), began_at)
    return {"ready_ms": (ready_ns - began_ns) / NS_PER_MS, **{f"{role}_ms": ms for role, ms in children.items()}}


def ready_times(log: str, began_at: datetime) -> dict[str, float]:
    """For each role, milliseconds from `began_at` to its last child's "is ready" in the log."""
    times: dict[str, float] = {}
    for stamp, millis, role in _READY.findall(log):
        at = datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S")
        times[role] = (at - began_at).total_seconds() * 1000 + int(millis)
    return times


@contextmanager
def _service_manager(path: Path) -> Iterator[socket.socket]:
    """The socket on which the daemon says that it is ready."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(READY_WITHIN_S)
        yield manager


def _await_end(daemon: subprocess.Popen[bytes]) -> None:
    try:
        daemon.wait(CHILD_LIMIT_S)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def worker_steps(bundle: Path, backend: str, rounds: int) -> dict[str, float]:
    """Median milliseconds of each step of a worker's start, and of all."""
    samples = [_worker_once(bundle, backend) for _ in range(1 + rounds)]
    return {key: round(value, 1) for key, value in medians(samples[1:]).items()}


def _worker_once(bundle: Path, backend: str) -> Mapping[str, float]:
    began_ns = time.monotonic_ns()
    command = [sys.executable, "-m", "tools.benchmarks.start_child", str(bundle), backend]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CHILD_LIMIT_S, check=False)
    if done.returncode:
        raise ToolError(f"a worker's start ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return steps_of({"start": began_ns, **json.loads(done.stdout.splitlines()[-1])})


def steps_of(stamps_ns: Mapping[str, int]) -> dict[str, float]:
    """What lies between each stamp and the one before, in ms, by the later one's name; then all together."""
    names = list(stamps_ns)
    steps = {after: (stamps_ns[after] - stamps_ns[before]) / NS_PER_MS for before, after in pairwise(names)}
    return steps | {"all": (stamps_ns[names[-1]] - stamps_ns[names[0]]) / NS_PER_MS}
