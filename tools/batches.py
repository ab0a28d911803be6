"""Batches prepared ahead by loader processes, so that the gradient never waits for pictures."""

from __future__ import annotations

import multiprocessing as mp
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np
from cachetools import LRUCache

from edge_runtime.processes import die_with_parent
from tools.crops import Planes, crop_source, make_batch, read_planes
from tools.dataset import GreyU8, Picture, load_dataset
from tools.engines import ClassIds
from tools.errors import ToolError
from tools.graph import FloatArray
from tools.runs import TrainSettings

Batch = tuple[FloatArray, ClassIds]
AHEAD = 2
CACHE_BYTES = 3 * 1024**3
LOOK_EVERY_S = 1.0


class BatchMaker:
    """Batch `step` of a replica: depends on seed, step and rank alone, so a resumed run goes on exactly."""

    def __init__(self, settings: TrainSettings, stride_px: int, rank: int) -> None:
        kept = [load_dataset(Path(source.folder)).split(settings.holdout_every)[0] for source in settings.data]
        self._sources = [crop_source(dataset) for dataset in kept]
        self._settings, self._stride_px, self._rank = settings, stride_px, rank
        self._read = cached(
            read_planes(settings.template), CACHE_BYTES // (settings.replicas * max(1, settings.loaders))
        )

    def batch(self, step: int) -> Batch:
        settings = self._settings
        return make_batch(
            self._sources,
            [source.share for source in settings.data],
            settings.crop_px,
            settings.batch // settings.replicas,
            self._stride_px,
            settings.augmentation,
            self._read,
            np.random.default_rng([settings.seed, step, self._rank]),
        )


def cached(read: Planes, limit_bytes: int) -> Planes:
    """The same reader, which keeps the pictures last used in memory."""
    cache: LRUCache[Path, tuple[GreyU8, GreyU8]] = LRUCache(limit_bytes, lambda pair: pair[0].nbytes + pair[1].nbytes)

    def read_cached(picture: Picture) -> tuple[GreyU8, GreyU8]:
        found = cache.get(picture.image_path)
        if found is None:
            found = read(picture)
            if found[0].nbytes + found[1].nbytes < limit_bytes:
                cache[picture.image_path] = found
        return found

    return read_cached


@contextmanager
def batches(settings: TrainSettings, stride_px: int, rank: int, first_step: int) -> Iterator[Iterator[Batch]]:
    """Batches from `first_step` on, in order; made in this process when `loaders` is 0."""
    if settings.loaders == 0:
        maker = BatchMaker(settings, stride_px, rank)
        yield (maker.batch(step) for step in range(first_step, settings.steps))
        return
    context = mp.get_context("spawn")
    queues = [context.Queue(AHEAD) for _ in range(settings.loaders)]
    loaders = [
        context.Process(target=_load, args=(settings, stride_px, rank, first_step + index, queue), daemon=True)
        for index, queue in enumerate(queues)
    ]
    for loader in loaders:
        loader.start()
    try:
        turns = (number % len(queues) for number in range(settings.steps - first_step))
        yield (_next(queues[turn], loaders[turn]) for turn in turns)
    finally:
        for loader in loaders:
            loader.kill()
            loader.join()


def _next(queue: Any, loader: Any) -> Batch:
    while True:
        alive = loader.is_alive()
        try:
            answer = queue.get(timeout=LOOK_EVERY_S)
        except Empty:
            if alive:
                continue
            raise ToolError(f"a loader ended with exit code {loader.exitcode}; its message, if any, is above") from None
        if isinstance(answer, str):
            raise ToolError(f"a loader failed: {answer}")
        return answer  # type: ignore[no-any-return]


def _load(settings: TrainSettings, stride_px: int, rank: int, first: int, queue: Any) -> None:
    # Ctrl-C reaches the whole process group; the parent ends the loaders, and its own death does too.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    try:
        maker = BatchMaker(settings, stride_px, rank)
        for step in range(first, settings.steps, settings.loaders):
            queue.put(maker.batch(step))
    except ToolError as exc:
        queue.put(str(exc))
    queue.close()
    queue.join_thread()
