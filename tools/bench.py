"""`python -m tools bench …`: what the machine around a model costs, both columns measured side by side in one run."""

from __future__ import annotations

import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from edge_runtime.app import build_pool
from edge_runtime.commands.inspect import pool_settings
from edge_runtime.config import InspectionSettings
from edge_runtime.config_recipe import RecipeSettings
from edge_runtime.engines import build_segmenter
from edge_runtime.inference.bundle import Bundle, load_bundle
from edge_runtime.runtime.pool import InspectionPool
from edge_runtime.vision.boards import BINARY, CAMERA, paint_board
from edge_runtime.vision.preprocess import TilePreprocessor
from edge_runtime.vision.tiling import plan_grid
from tools.golden_pictures import MadePicture
from tools.machine import cpu_name

WARM_UP_ROUNDS = 2


@dataclass(frozen=True)
class PipelineFigures:
    """Medians over the rounds. `overhead` = frame_ms / (tiles × tile_ms / workers); `spread`: its smallest, largest.

    `tile_ms` is the pure predictor with as many processes busy at the same time. `overhead_floor` is what remains
    when everything but the predictor costs nothing: with an odd tile out, one worker ends before the other.
    """

    workers: int
    side_px: int
    tiles: int
    frame_ms: float
    tile_ms: float
    overhead: float
    overhead_floor: float
    spread: tuple[float, float]
    decide_ms: float
    rounds: int
    model: str
    machine: str


def bench_pipeline(bundle_folder: Path, side_px: int, workers: list[int], rounds: int, as_json: bool) -> None:
    """Measure and print one row for each worker count. Raises BundleError, InferenceError."""
    bundle = load_bundle(bundle_folder)
    picture = _picture(side_px, bundle.input_contract.template)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("measuring", total=len(workers) * rounds)
        figures = [
            _measure(bundle, bundle_folder, picture, count, rounds, lambda: progress.advance(task)) for count in workers
        ]
    if as_json:
        for row in figures:
            print(json.dumps(asdict(row)))
    else:
        _print_table(figures)


def _picture(side_px: int, with_template: bool) -> MadePicture:
    """A made-up board, as a scanner sees it where the model compares it with its artwork."""
    board = paint_board(1, 0, (side_px, side_px), BINARY if with_template else CAMERA)
    return MadePicture(board.image, board.template if with_template else None)


def _measure(
    bundle: Bundle, folder: Path, picture: MadePicture, workers: int, rounds: int, advance: Callable[[], None]
) -> PipelineFigures:
    """Frame and pure predictor in turn, so that a busy neighbour meets both."""
    contract = bundle.input_contract
    image_hw = (picture.image.shape[0], picture.image.shape[1])
    tiles = len(plan_grid(image_hw, contract.tile_px, contract.margin_px, contract.stride_px))
    per_worker = -(-tiles // workers)
    frames, pure, decides = [], [], []
    settings = pool_settings(folder, RecipeSettings(), workers)
    with PurePredictors(folder, picture, workers) as predictors, build_pool(settings, bundle.mask_stride_px) as pool:
        for number in range(WARM_UP_ROUNDS + rounds):
            result = _one_frame(pool, picture)
            tile_ms = predictors.tile_ms(per_worker)
            if number >= WARM_UP_ROUNDS:
                frames.append(result["frame"])
                decides.append(result["decide"])
                pure.append(tile_ms)
                advance()
    ratios = [frame / (tiles * tile / workers) for frame, tile in zip(frames, pure, strict=True)]
    return PipelineFigures(
        workers=workers,
        side_px=image_hw[0],
        tiles=tiles,
        frame_ms=round(statistics.median(frames), 1),
        tile_ms=round(statistics.median(pure), 2),
        overhead=round(statistics.median(ratios), 3),
        overhead_floor=round(per_worker * workers / tiles, 3),
        spread=(round(min(ratios), 3), round(max(ratios), 3)),
        decide_ms=round(statistics.median(decides), 2),
        rounds=rounds,
        model=bundle.model_id,
        machine=f"{cpu_name()}, {multiprocessing.cpu_count()} cores",
    )


def _one_frame(pool: InspectionPool, picture: MadePicture) -> dict[str, float]:
    return pool.inspect(picture.image, picture.template).ms


class PurePredictors:
    """As many processes as workers, each running the predictor alone on one prepared tile when asked."""

    def __init__(self, folder: Path, picture: MadePicture, workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        pairs = [context.Pipe() for _ in range(workers)]
        self._ends = [ours for ours, _ in pairs]
        self._processes = [
            context.Process(target=_predict_on_request, args=(theirs, folder, picture), daemon=True)
            for _, theirs in pairs
        ]

    def __enter__(self) -> PurePredictors:
        for process in self._processes:
            process.start()
        for end in self._ends:
            end.recv()
        return self

    def __exit__(self, *exc: object) -> None:
        for end, process in zip(self._ends, self._processes, strict=True):
            end.send(0)
            process.join()

    def tile_ms(self, runs: int) -> float:
        """Milliseconds of one run, all processes running `runs` tiles at the same time."""
        for end in self._ends:
            end.send(runs)
        return statistics.mean(float(end.recv()) for end in self._ends)


def _predict_on_request(end: Connection, folder: Path, picture: MadePicture) -> None:
    bundle = load_bundle(folder)
    segmenter = build_segmenter(InspectionSettings(bundle=folder), bundle)
    tile = np.array(TilePreprocessor(bundle.input_contract).tile(picture.image, (0, 0), picture.template))
    segmenter.predict(tile)
    end.send("ready")
    while runs := end.recv():
        started_ns = time.monotonic_ns()
        for _ in range(runs):
            segmenter.predict(tile)
        end.send((time.monotonic_ns() - started_ns) / 1e6 / runs)


def _print_table(figures: list[PipelineFigures]) -> None:
    first = figures[0]
    title = f"{first.model}, {first.side_px}², {first.tiles} tiles, {first.machine}, medians of {first.rounds}"
    table = Table(
        "workers", "frame ms", "pure tile ms", "decide ms", "overhead", "smallest, largest", "floor", title=title
    )
    for row in figures:
        cells = (row.workers, row.frame_ms, row.tile_ms, row.decide_ms, row.overhead, row.spread, row.overhead_floor)
        table.add_row(*(str(cell) for cell in cells))
    Console().print(table)
