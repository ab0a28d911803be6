"""As many processes as workers, each timing what a worker does to a tile, all at the same time."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edge_runtime.engines import build_segmenter
from edge_runtime.huge_pages import take_huge_pages
from edge_runtime.inference.bundle import load_bundle
from edge_runtime.inference.network import NetworkSegmenter
from edge_runtime.pictures import grey_of
from edge_runtime.values import Recipe
from edge_runtime.vision.blobs import Thresholds
from edge_runtime.vision.preprocess import cut_tile
from edge_runtime.vision.registration import register_template
from edge_runtime.vision.stitching import core_cells, mask_hw, place_core
from edge_runtime.vision.tile_plan import tiles_for
from tools.benchmarks.arithmetic import medians
from tools.benchmarks.frames import inspection, planned
from tools.benchmarks.priority import work_as_a_worker
from tools.errors import ToolError
from tools.golden_pictures import MadePicture

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8

NS_PER_MS = 1e6
ANSWER_WITHIN_S = 600.0


@dataclass(frozen=True)
class Job:
    """One process's share: the tiles `index`, `index` + `workers`, … of the picture."""

    bundle: Path
    backend: str
    picture: MadePicture
    index: int
    workers: int


class Predictors:
    """The processes; they start with the context and end with it."""

    def __init__(self, bundle: Path, picture: MadePicture, workers: int, backend: str) -> None:
        context = multiprocessing.get_context("spawn")
        pairs = [context.Pipe() for _ in range(workers)]
        jobs = [Job(bundle, backend, picture, index, workers) for index in range(workers)]
        self._ends = [ours for ours, _ in pairs]
        self._processes = [
            context.Process(target=_serve, args=(theirs, job), daemon=True)
            for (_, theirs), job in zip(pairs, jobs, strict=True)
        ]
        self._theirs = [theirs for _, theirs in pairs]

    def __enter__(self) -> Predictors:
        for process, theirs in zip(self._processes, self._theirs, strict=True):
            process.start()
            theirs.close()  # so that a process that dies is an end of file here, not a wait for ever
        for end in self._ends:
            self._hear(end)
        return self

    def __exit__(self, *exc: object) -> None:
        for end, process in zip(self._ends, self._processes, strict=True):
            end.close()
            process.join()

    def tile_ms(self, runs: int) -> float:
        """Milliseconds of one run of the predictor on one prepared tile, each process doing `runs`."""
        return statistics.fmean(each["predict"] for each in self._ask(("predict", runs)))

    def stage_ms(self) -> dict[str, float]:
        """Milliseconds a tile of each step, every process doing its share of the picture's tiles.

        `prepare` is per frame: where the model takes one, moving the template onto the picture.
        """
        return medians(self._ask(("stages", 0)))

    def _ask(self, question: tuple[str, int]) -> list[dict[str, float]]:
        for end in self._ends:
            end.send(question)
        return [self._hear(end) for end in self._ends]

    def _hear(self, end: Connection) -> dict[str, float]:
        """Raises ToolError for a process that has ended or hangs."""
        try:
            if end.poll(ANSWER_WITHIN_S):
                return dict(end.recv())
        except EOFError as exc:
            raise ToolError("a process that times the predictor has ended; its last words stand above") from exc
        raise ToolError(f"a process that times the predictor has not answered within {ANSWER_WITHIN_S:g} s")


def _serve(end: Connection, job: Job) -> None:
    work_as_a_worker()
    cv2.setNumThreads(1)
    own, (height, width) = inspection(job.bundle, job.workers, job.backend), job.picture.image.shape[:2]
    bundle = load_bundle(job.bundle)
    segmenter = build_segmenter(own, planned(own, bundle, (height, width))[0])
    if not isinstance(segmenter, NetworkSegmenter):
        raise ToolError(f"backend {job.backend}: has no network to time")
    share = _Share(job, segmenter, Thresholds(bundle.classes))
    share.predict(1)
    take_huge_pages(but_not=())
    end.send({})
    while True:
        try:
            what, runs = end.recv()
        except EOFError:
            return
        end.send(share.predict(runs) if what == "predict" else share.stages())


class _Share:
    def __init__(self, job: Job, segmenter: NetworkSegmenter, thresholds: Thresholds) -> None:
        contract = segmenter.input_contract
        image = job.picture.image
        image_hw = (image.shape[0], image.shape[1])
        self._picture, self._segmenter, self._thresholds = job.picture, segmenter, thresholds
        self._plan = tiles_for(contract, segmenter.mask_stride_px, image_hw, Recipe("whole"))
        self._tiles = range(job.index, len(self._plan), job.workers)
        cells_hw = mask_hw(image_hw, segmenter.mask_stride_px)
        self._planes = np.zeros(cells_hw, np.uint8), np.zeros(cells_hw, np.uint8)
        self._tile_px = contract.tile_px

    def predict(self, runs: int) -> dict[str, float]:
        """The network alone, on a tile that its input holds already."""
        self._segmenter.fill(*self._cut(0))
        return {"predict": _ms(lambda: [self._segmenter.answer() for _ in range(runs)]) / runs}

    def stages(self) -> dict[str, float]:
        times = self._prepare() | {"preprocess": 0.0, "predict": 0.0, "place": 0.0, "spot": 0.0}
        for index in self._tiles:
            for stage, ms in self._one_tile(index).items():
                times[stage] += ms / len(self._tiles)
        return times

    def _prepare(self) -> dict[str, float]:
        template = self._picture.template
        if template is None:
            return {}
        return {"prepare": _ms(lambda: register_template(grey_of(self._picture.image), template))}

    def _one_tile(self, index: int) -> dict[str, float]:
        stride_px = self._segmenter.mask_stride_px
        began = time.monotonic_ns()
        self._segmenter.fill(*self._cut(index))
        prepared = time.monotonic_ns()
        planes = self._segmenter.answer()
        predicted = time.monotonic_ns()
        for mine, plane in zip(self._planes, planes, strict=True):
            place_core(mine, plane, self._plan, index, stride_px)
        placed = time.monotonic_ns()
        core = core_cells(self._plan, index, stride_px)
        self._thresholds.box_xyxy(self._planes[0][core], self._planes[1][core])
        stamps = (began, prepared, predicted, placed, time.monotonic_ns())
        steps = [(after - before) / NS_PER_MS for before, after in pairwise(stamps)]
        return dict(zip(("preprocess", "predict", "place", "spot"), steps, strict=True))

    def _cut(self, index: int) -> tuple[ImageU8, ImageU8 | None]:
        """Tile `index` of the picture, and of its template where it has one."""
        origin_yx, template = self._plan.origins_yx[index], self._picture.template
        return (
            cut_tile(self._picture.image, origin_yx, self._tile_px),
            None if template is None else cut_tile(template, origin_yx, self._tile_px),
        )


def _ms(work: Callable[[], object]) -> float:
    began = time.monotonic_ns()
    work()
    return (time.monotonic_ns() - began) / NS_PER_MS
