"""`bench memory`: what the whole daemon holds, how it grows with the picture, and what larger tiles take."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from edge_runtime.config import load_settings
from edge_runtime.inference.bundle import Bundle, load_bundle
from tools.benchmarks.arithmetic import fit_line
from tools.benchmarks.daemon import Daemon, daemon_settings, scratch
from tools.benchmarks.frames import made_frame, planned
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
    """Two rows for each size: the most that all processes together held while `parts` were inspected.

    One with the tiles that are chosen for the size, one with the bundle's usual ones; a single one where these are the
    same. At least as many parts as the ring has slots, so that every slot was touched. `growth` is of the usual tiles
    alone: a larger tile is a step, told apart (`step_mb`). Raises BundleError, EdgeRuntimeError.
    """
    clerk, bundle = Clerk("memory"), load_bundle(wish.bundle)
    usual_px = bundle.input_contract.tile_px
    wanted = [(side_px, tile_px) for side_px in wish.sides_px for tile_px in (None, usual_px)]
    rows: list[Row] = []
    with progress_bar("sizes") as advance:
        for count, (side_px, tile_px) in enumerate(wanted, 1):
            if tile_px is None or rows[-1]["tile_px"] != tile_px:
                with scratch("memory") as folder:
                    rows.append(_row(folder, wish, bundle, side_px, tile_px))
            advance(count, len(wanted))
    conditions = {"model": bundle.model_id, "backend": wish.backend, "workers": wish.workers}
    usual = [row for row in rows if row["tile_px"] == usual_px]
    return clerk.report(conditions, rows, {**growth(usual), "step_mb": steps(rows, usual)})


def steps(rows: Sequence[Row], usual: Sequence[Row]) -> dict[str, float]:
    """What other tiles took beyond the usual ones on the same picture, in MB."""
    usual_mb = {row["side_px"]: row["rest_mb"] for row in usual}
    others = [row for row in rows if row not in usual and row["side_px"] in usual_mb]
    return {
        f"{row['tile_px']} px at {row['megapixels']} megapixels": round(row["rest_mb"] - usual_mb[row["side_px"]], 1)
        for row in others
    }


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


def _row(folder: Path, wish: MemoryWish, bundle: Bundle, side_px: int, tile_px: int | None) -> Row:
    picture = made_frame(side_px, bundle.input_contract.template)
    settings = daemon_settings(folder, wish.bundle, picture, wish.workers, wish.backend)
    if tile_px is not None:
        settings["inspection"]["tile_px"] = tile_px
    with Daemon(folder, settings) as daemon:
        told = load_settings(folder / "config.toml")
        slots = told.line.ring_slots
        parts = max(wish.parts, slots + 1)
        with _Watcher(daemon.processes()) as watcher:
            for _ in range(parts):
                daemon.inspect()
    most = watcher.most
    return {
        "side_px": side_px,
        "megapixels": round(side_px * side_px / 1e6, 2),
        "tile_px": planned(told.inspection, bundle, (side_px, side_px))[1].tile_px,
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
