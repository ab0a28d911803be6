"""`bench scaling`: whether a megapixel costs the same in a small picture and in a large one."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.app import build_pool
from edge_runtime.inference.bundle import load_bundle
from edge_runtime.runtime.pool import InspectionPool
from tools.benchmarks.arithmetic import flatness, rounds_for
from tools.benchmarks.frames import inspect_once, inspection, made_frame, planned, workers_settings
from tools.benchmarks.report import Clerk, Report, Row
from tools.golden_pictures import MadePicture
from tools.progress import progress_bar


@dataclass(frozen=True)
class ScalingWish:
    bundle: Path
    sides_px: Sequence[int]
    workers: Sequence[int]
    rounds: int
    backend: str = "paddle_lite"


def bench_scaling(wish: ScalingWish) -> Report:
    """One row for each size and worker count; `flatness` of a worker count: most over least ms per megapixel.

    Tiles overlap, so more is computed than the picture has, and how much more depends on its size (`computed`):
    `flatness` is what a user gets, `flatness_computed` what the machine does with each pixel of a tile.
    Raises BundleError, InferenceError.
    """
    clerk, bundle = Clerk("scaling"), load_bundle(wish.bundle)
    rows = []
    with progress_bar("sizes") as advance:
        for workers in wish.workers:
            for side_px in wish.sides_px:
                settings = workers_settings(wish.bundle, workers, wish.backend, (side_px, side_px))
                # A new pool for each size, so that none inherits the pages that a larger picture has touched.
                with build_pool(settings, bundle.mask_stride_px) as pool:
                    picture = made_frame(side_px, bundle.input_contract.template)
                    rows.append(_row(pool, picture, side_px, workers, wish.rounds))
                advance(len(rows), len(wish.workers) * len(wish.sides_px))
    for row in rows:
        own = inspection(wish.bundle, row["workers"], wish.backend)
        plan = planned(own, bundle, (row["side_px"], row["side_px"]))[1]
        row["tiles"], row["tile_px"] = len(plan), plan.tile_px
        row["ms_per_tile"] = round(row["frame_ms"] / row["tiles"], 3)
        row |= _computed(row)
    conditions = {"model": bundle.model_id, "backend": wish.backend, "rounds": wish.rounds}
    summary = {
        "flatness": flatness_by_workers(rows, "ms_per_megapixel"),
        "flatness_computed": flatness_by_workers(rows, "ms_per_computed_megapixel"),
    }
    return clerk.report(conditions, rows, summary)


def _computed(row: Row) -> Row:
    """The tiles' pixels over the picture's, and what a megapixel of the tiles took."""
    megapixels = row["tiles"] * row["tile_px"] ** 2 / 1e6
    return {
        "computed": round(megapixels * 1e6 / row["side_px"] ** 2, 3),
        "ms_per_computed_megapixel": round(row["frame_ms"] / megapixels, 2),
    }


def flatness_by_workers(rows: Sequence[Row], key: str) -> dict[str, float]:
    """For each worker count (as text), the most over the least of `key`."""
    by_workers: dict[str, list[float]] = {}
    for row in rows:
        by_workers.setdefault(str(row["workers"]), []).append(row[key])
    return {workers: round(flatness(values), 3) for workers, values in by_workers.items()}


def _row(pool: InspectionPool, picture: MadePicture, side_px: int, workers: int, rounds: int) -> Row:
    megapixels = side_px * side_px / 1e6
    rounds = rounds_for(rounds, megapixels)
    inspect_once(pool, picture)
    times = [inspect_once(pool, picture)["frame"] for _ in range(rounds)]
    frame_ms = statistics.median(times)
    return {
        "side_px": side_px,
        "megapixels": round(megapixels, 2),
        "workers": workers,
        "rounds": rounds,
        "frame_ms": round(frame_ms, 1),
        "least_ms": round(min(times), 1),
        "most_ms": round(max(times), 1),
        "ms_per_megapixel": round(frame_ms / megapixels, 2),
    }
