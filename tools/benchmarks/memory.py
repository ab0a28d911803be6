"""`bench memory`: what the whole daemon holds, and how it grows with the picture."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from edge_runtime.config import load_settings
from edge_runtime.inference.bundle import load_bundle
from tools.benchmarks.arithmetic import fit_line
from tools.benchmarks.daemon import Daemon, daemon_settings, scratch
from tools.benchmarks.frames import made_frame
from tools.benchmarks.report import Clerk, Report, Row
from tools.benchmarks.smaps import NOTHING, Footprint, footprint, together
from tools.progress import progress_bar

SAMPLE_EVERY_S = 0.25
ROLES = ("guard", "office", "capture", "inspection")


@dataclass(frozen=True)
class MemoryWish:
    bundle: Path
    sides_px: Sequence[int]
    workers: int
    parts: int
    backend: str = "paddle_lite"


def bench_memory(wish: MemoryWish) -> Report:
    """One row for each size: the most that all processes together held while `parts` were inspected.

    At least as many parts as the ring has slots, so that every slot was touched. `growth`: MB per megapixel of
    picture, by a line through all sizes, for the whole, its frame ring and the rest.
    Raises BundleError, EdgeRuntimeError.
    """
    clerk, bundle = Clerk("memory"), load_bundle(wish.bundle)
    rows = []
    with progress_bar("sizes") as advance:
        for side_px in wish.sides_px:
            with scratch("memory") as folder:
                rows.append(_row(folder, wish, side_px, bundle.input_contract.template))
            advance(len(rows), len(wish.sides_px))
    conditions = {"model": bundle.model_id, "backend": wish.backend, "workers": wish.workers}
    return clerk.report(conditions, rows, growth(rows))


def growth(rows: Sequence[Row]) -> dict[str, Any]:
    """Slope in MB per megapixel and start in MB of each kind of memory; empty for a single size."""
    if len({row["megapixels"] for row in rows}) < 2:
        return {}
    megapixels = [row["megapixels"] for row in rows]
    kinds = {"whole": "pss_mb", "frame ring": "ring_mb", "without the ring": "rest_mb"}
    lines = {kind: fit_line(megapixels, [row[key] for row in rows]) for kind, key in kinds.items()}
    return {
        "growth_mb_per_megapixel": {kind: round(line.slope, 2) for kind, line in lines.items()},
        "at_zero_mb": {kind: round(line.at_zero, 1) for kind, line in lines.items()},
        "worst_residual_mb": {kind: round(line.worst_residual, 1) for kind, line in lines.items()},
    }


def _row(folder: Path, wish: MemoryWish, side_px: int, with_template: bool) -> Row:
    picture = made_frame(side_px, with_template)
    settings = daemon_settings(folder, wish.bundle, picture, wish.workers, wish.backend)
    with Daemon(folder, settings) as daemon:
        slots = load_settings(folder / "config.toml").line.ring_slots
        parts = max(wish.parts, slots + 1)
        with _Watcher(daemon.processes()) as watcher:
            for _ in range(parts):
                daemon.inspect()
    most = watcher.most
    return {
        "side_px": side_px,
        "megapixels": round(side_px * side_px / 1e6, 2),
        "parts": parts,
        "slots": slots,
        "pss_mb": _mb(most.pss_kb),
        "uss_mb": _mb(most.uss_kb),
        "ring_mb": _mb(most.ring_kb),
        "rest_mb": _mb(most.pss_kb - most.ring_kb),
        **{f"{role}_mb": _mb(kb) for role, kb in watcher.by_role.items()},
    }


def _mb(kb: int) -> float:
    return round(kb * 1024 / 1e6, 1)


class _Watcher:
    """Looks at all processes in turn while the context lasts; keeps the sample with the most in it."""

    def __init__(self, processes: Sequence[psutil.Process]) -> None:
        self._roles = {process.pid: _role(process) for process in processes}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watcher")
        self.most = NOTHING
        self.by_role: dict[str, int] = {}

    def __enter__(self) -> _Watcher:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._over.wait(SAMPLE_EVERY_S):
            self._look()

    def _look(self) -> None:
        found = {pid: footprint(pid) for pid in self._roles}
        whole = together(found.values())
        if whole.pss_kb > self.most.pss_kb:
            self.most, self.by_role = whole, self._without_ring(found)

    def _without_ring(self, found: dict[int, Footprint]) -> dict[str, int]:
        """PSS of each role without its share of the ring."""
        roles = dict.fromkeys(["line", *ROLES], 0)
        for pid, each in found.items():
            roles[self._roles[pid]] += each.pss_kb - each.ring_kb
        return roles


def _role(process: psutil.Process) -> str:
    words = " ".join(process.cmdline()).split()
    return next((role for role in ROLES if role in words), "line")
