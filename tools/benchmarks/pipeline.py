"""`bench pipeline`: what everything around the predictor costs, side by side with the predictor alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from edge_runtime.app import build_pool
from edge_runtime.clock import NS_PER_MS
from edge_runtime.inference.bundle import Bundle, load_bundle
from tools.benchmarks.arithmetic import busiest_share, medians
from tools.benchmarks.daemon import Daemon, PartTimes, daemon_settings, scratch
from tools.benchmarks.frames import inspect_once, made_frame, planned, workers_settings
from tools.benchmarks.predictors import Predictors
from tools.benchmarks.report import Clerk, Report, Row
from tools.golden_pictures import MadePicture
from tools.progress import progress_bar

WARM_UP_ROUNDS = 2
Step = Callable[[], None]


@dataclass(frozen=True)
class PipelineWish:
    bundle: Path
    side_px: int
    workers: Sequence[int]
    rounds: int
    backend: str = "paddle_lite"
    whole_path: bool = True


def bench_pipeline(wish: PipelineWish) -> Report:
    """One row for each worker count, medians over the rounds.

    `overhead` = frame_ms / (tiles × tile_ms / workers), the median of the rounds' ratios; `overhead_floor` is what
    remains when everything but the predictor costs nothing; `stream_overhead` is the like for parts back to back in the
    daemon, which has no such floor. `tile_ms` is the pure predictor with as many processes
    busy at the same time. Stage times: see `_stages`. Raises BundleError, InferenceError, EdgeRuntimeError.
    """
    clerk, bundle = Clerk("pipeline"), load_bundle(wish.bundle)
    picture = made_frame(wish.side_px, bundle.input_contract.template)
    rounds = WARM_UP_ROUNDS + wish.rounds
    rows, done = [], 0
    with progress_bar("rounds") as advance:

        def step() -> None:
            nonlocal done
            done += 1
            advance(done, len(wish.workers) * rounds * (2 if wish.whole_path else 1))

        for workers in wish.workers:
            row = _pool_row(wish, bundle, picture, workers, step)
            if wish.whole_path:
                row |= _daemon_row(wish, picture, workers, step)
                row["stream_overhead"] = round(row["stream_ms"] / (row["tiles"] * row["tile_ms"] / workers), 3)
            rows.append(row)
    conditions = {"model": bundle.model_id, "backend": wish.backend, "side_px": wish.side_px, "rounds": wish.rounds}
    return clerk.report(conditions, rows)


def _pool_row(wish: PipelineWish, bundle: Bundle, picture: MadePicture, workers: int, step: Step) -> Row:
    """Frame, pure predictor and its steps in turn, so that a busy neighbour meets all of them.

    handover: from the request to the first worker's start, and from the decision to the answer.
    """
    image_hw = (picture.image.shape[0], picture.image.shape[1])
    settings = workers_settings(wish.bundle, workers, wish.backend, image_hw)
    plan = planned(settings.inspection, bundle, image_hw)[1]
    tiles = len(plan)
    samples = []
    with (
        Predictors(wish.bundle, picture, workers, wish.backend) as predictors,
        build_pool(settings, bundle.mask_stride_px) as pool,
    ):
        for _ in range(WARM_UP_ROUNDS + wish.rounds):
            frame = inspect_once(pool, picture)
            tile_ms = predictors.tile_ms(-(-tiles // workers))
            stages = {f"{stage}_ms": ms for stage, ms in predictors.stage_ms().items() if stage != "predict"}
            sample = {"frame_ms": frame["frame"], "tile_ms": tile_ms}
            sample["overhead"] = frame["frame"] / (tiles * tile_ms / workers)
            sample["decide_ms"] = frame["decide"]
            sample["handover_ms"] = frame["frame"] - frame["tiles"] - frame["decide"]
            samples.append(sample | stages)
            step()
    kept = samples[WARM_UP_ROUNDS:]
    ratios = [sample["overhead"] for sample in kept]
    return {
        "workers": workers,
        "tiles": tiles,
        "tile_px": plan.tile_px,
        **{key: round(value, 3) for key, value in medians(kept).items()},
        "overhead_floor": round(busiest_share(tiles, workers), 3),
        "overhead_least": round(min(ratios), 3),
        "overhead_most": round(max(ratios), 3),
    }


def _daemon_row(wish: PipelineWish, picture: MadePicture, workers: int, step: Step) -> Row:
    """The whole path in the real daemon, one part at a time: from the trigger's stamp to the result's write.

    capture: until the camera has the picture, which it reads from a file. tiles: from the first worker's start to the
    last tile's end. wire: from the decision to the write. handover: what is left, the copy into the slot and the pipes
    between the processes. `stream_ms`: from result to result when the next part always waits already.
    """
    with scratch("pipeline") as folder:
        daemon = Daemon(folder, daemon_settings(folder, wish.bundle, picture, workers, wish.backend))
        with daemon:
            for _ in range(WARM_UP_ROUNDS + wish.rounds):
                daemon.inspect()
                step()
            alone = len(daemon.results())
            daemon.stream(WARM_UP_ROUNDS + 2 * wish.rounds)
        parts, told_ns = daemon.part_times()[WARM_UP_ROUNDS:alone], sorted(daemon.results().values())
    times = medians([path_stages(part) for part in parts])
    times["stream_ms"] = period_ms(told_ns[alone + WARM_UP_ROUNDS :])
    return {"parts": len(parts), **{key: round(value, 3) for key, value in times.items()}}


def period_ms(told_ns: Sequence[int]) -> float:
    """The median time from one result to the next."""
    return median(later - sooner for sooner, later in pairwise(told_ns)) / NS_PER_MS


def path_stages(part: PartTimes) -> dict[str, Any]:
    """Milliseconds of each stage of one part's path; they add up to `path_ms`."""
    stages = part.record.stage_ms
    known = {"path_capture_ms": stages["capture"], "path_tiles_ms": stages["tiles"], "path_decide_ms": stages["decide"]}
    handover = part.whole_ms - part.wire_ms - sum(known.values())
    return known | {"path_handover_ms": handover, "path_wire_ms": part.wire_ms, "path_ms": part.whole_ms}
