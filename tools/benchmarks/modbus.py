"""`python -m tools bench modbus`: masters poll the real daemon while all its workers inspect."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from edge_runtime.clock import SystemClock
from edge_runtime.errors import SignalError
from edge_runtime.inference.bundle import load_bundle
from edge_runtime.protocol.modbus_map import OUTCOMES
from edge_runtime.storage.database import Database
from tools.benchmarks.report import Clerk, Report
from tools.mbpoll import Mbpoll, MbpollTally
from tools.mbpoll import is_here as mbpoll_is_here
from tools.modbus_master import Master, Tally

READY_WITHIN_S = 60.0
STOP_WITHIN_S = 10.0
DEADLINE_MS = 20_000


@dataclass(frozen=True)
class ModbusLoad:
    """What is asked of the daemon: made-up boards of `side_px`, as many parts as the workers take, and readings."""

    bundle: Path
    workers: int
    side_px: int
    minutes: float
    polls_hz: float
    with_mbpoll: bool


@dataclass(frozen=True)
class ModbusFigures:
    """`worker_busy`: processor time of each worker per second. `mbpoll` None: it did not read.

    `wrong_records`: parts whose result over Modbus is not that of their record, or that have only one of the two."""

    seconds: float
    polls: int
    late_polls: int
    errors: int
    first_error: str
    torn: int
    changed: int
    wrong: int
    read_ms_p50: float
    read_ms_p99: float
    read_ms_max: float
    parts: int
    not_inspected: int
    wrong_records: int
    worker_busy: tuple[float, ...]
    mbpoll: MbpollTally | None

    @property
    def faults(self) -> int:
        """All that must not happen, with both masters."""
        other = self.mbpoll or MbpollTally()
        ours = self.errors + self.torn + self.changed + self.wrong + self.wrong_records
        return ours + other.errors + other.torn + other.wrong


def bench_modbus(load: ModbusLoad) -> Report:
    """One row; its `faults` are 0 when nothing was wrong. Raises SignalError when the daemon does not become ready."""
    clerk = Clerk("modbus")
    with tempfile.TemporaryDirectory(prefix="bench-modbus-") as name:
        figures = _measure(Path(name), load)
    conditions = {
        "model": load_bundle(load.bundle).model_id, "workers": load.workers, "side_px": load.side_px,
        "readings a second": load.polls_hz, "seconds": figures.seconds,
    }  # fmt: skip
    return clerk.report(conditions, [asdict(figures) | {"faults": figures.faults}])


def _measure(folder: Path, load: ModbusLoad) -> ModbusFigures:
    port = _free_port()
    (folder / "config.toml").write_text(_config(load, port), encoding="utf-8")
    with open(folder / "daemon.log", "wb") as log:
        command = [sys.executable, "-m", "edge_runtime", "run", "--config", str(folder / "config.toml")]
        daemon = subprocess.Popen(command, stdout=log, stderr=log)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    master = context.Process(target=_be_master, args=(theirs, port, load.minutes * 60, load.polls_hz))
    master.start()
    theirs.close()
    try:
        if not ours.recv():
            raise SignalError(f"the daemon did not become ready:\n{(folder / 'daemon.log').read_text()[-2000:]}")
        mbpoll = Mbpoll(port, load.polls_hz) if load.with_mbpoll and mbpoll_is_here() else None
        tally, busy = _watch(ours, daemon, mbpoll)
    finally:
        master.join()
        _stop(daemon)
    records = _outcomes(folder / "data" / "records.sqlite")
    return _figures(tally, mbpoll.tally if mbpoll else None, busy, records, load)


def _watch(ours: Connection, daemon: subprocess.Popen[bytes], mbpoll: Mbpoll | None) -> tuple[Tally, tuple[float, ...]]:
    """Wait for the master's tally; mbpoll polls until then."""
    began, spent_s = time.monotonic(), _worker_seconds(daemon.pid)
    try:
        while not ours.poll(0.5):
            pass
        elapsed_s = time.monotonic() - began
        spent = zip(spent_s, _worker_seconds(daemon.pid), strict=True)
        return ours.recv(), tuple(round((end - start) / elapsed_s, 2) for start, end in spent)
    finally:
        if mbpoll is not None:
            mbpoll.stop()


def _be_master(end: Connection, port: int, seconds: float, polls_hz: float) -> None:
    master = Master(port)
    is_ready = master.wait_until_ready(READY_WITHIN_S)
    end.send(is_ready)
    if is_ready:
        end.send(master.run(seconds, polls_hz))


def _worker_seconds(pid: int) -> list[float]:
    """Processor time of each inspection worker."""
    children = psutil.Process(pid).children()
    times = [child.cpu_times() for child in children if "inspection" in " ".join(child.cmdline())]
    return [each.user + each.system for each in times]


def _outcomes(path: Path) -> dict[int, tuple[int, int]]:
    """What the records say: part_id -> line_seqno, outcome code."""
    database = Database(path, SystemClock())
    database.open_for_reading()
    try:
        return {r.trigger.part_id: (r.line_seqno or 0, OUTCOMES[r.verdict.outcome]) for r in database.records()}
    finally:
        database.close()


def _figures(
    tally: Tally,
    mbpoll: MbpollTally | None,
    busy: tuple[float, ...],
    records: dict[int, tuple[int, int]],
    load: ModbusLoad,
) -> ModbusFigures:
    parts = records.keys() | tally.outcome_of.keys()
    not_inspected = sum(code == 3 for _, code in tally.outcome_of.values())
    return ModbusFigures(
        seconds=load.minutes * 60,
        polls=len(tally.read_ms),
        late_polls=tally.late_polls,
        errors=tally.errors,
        first_error=tally.first_error,
        torn=tally.torn,
        changed=tally.changed,
        wrong=tally.wrong,
        read_ms_p50=_percentile(tally.read_ms, 0.5),
        read_ms_p99=_percentile(tally.read_ms, 0.99),
        read_ms_max=_percentile(tally.read_ms, 1.0),
        parts=len(tally.outcome_of),
        not_inspected=not_inspected,
        wrong_records=sum(records.get(part) != tally.outcome_of.get(part) for part in parts),
        worker_busy=busy,
        mbpoll=mbpoll,
    )


def _percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values) or [0.0]
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)


def _config(load: ModbusLoad, port: int) -> str:
    return f"""\
[station]
name = "bench"
data_dir = "data"

[camera]
driver = "synthetic"
width_px = {load.side_px}
height_px = {load.side_px}
distinct = 8

[inspection]
bundle = {json.dumps(str(load.bundle.absolute()))}
workers = {load.workers}

[line]
trigger = "modbus"
deadline_ms = {DEADLINE_MS}

[modbus]
port = {port}
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    os.kill(daemon.pid, signal.SIGTERM)
    try:
        daemon.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
