"""Data-parallel training on one machine: N processes of one thread each, which average one gradient vector a step.

Paddle's CPU convolutions spend most of their time outside the threaded matrix product: two processes train nearly
twice as fast as one process with two threads. Each replica also prepares its own crops.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.processes import die_with_parent
from tools.crops import crop_source, make_batch
from tools.dataset import load_dataset
from tools.errors import ToolError
from tools.learner import Learner, averaged_network, learning_rate
from tools.runs import Checkpoint, TrainSettings, Vector, load_checkpoint, save_checkpoint
from tools.validation import mean_iou

STRAGGLER_S = 900.0


@dataclass(frozen=True)
class StepReport:
    """One training step as the first replica saw it; `mean_iou` only when it validated."""

    step: int
    loss: float
    rate: float
    mean_iou: float | None = None


class GradientExchange:
    """Shared memory in which the replicas leave their gradients; the loss travels as one more element."""

    def __init__(self, context: Any, replicas: int, size: int) -> None:
        self._replicas, self._size = replicas, size
        self._memory = context.RawArray("f", replicas * (size + 1))
        self._barrier: Barrier = context.Barrier(replicas)

    def average(self, rank: int, gradient: Vector, loss: float) -> tuple[Vector, float]:
        """Mean gradient and loss over all replicas, the same bits in each. Blocks until every one has called."""
        rows = np.frombuffer(self._memory, np.float32).reshape(self._replicas, self._size + 1)
        rows[rank, :-1], rows[rank, -1] = gradient, loss
        self._barrier.wait(STRAGGLER_S)
        mean = rows.mean(axis=0)
        self._barrier.wait(STRAGGLER_S)
        return mean[:-1], float(mean[-1])


def training_steps(
    settings: TrainSettings, run: Path, rank: int, resume: bool, exchange: GradientExchange | None
) -> Iterator[StepReport]:
    """Train to the last step, one report a step; the replica of rank 0 validates and writes checkpoints.

    Crops depend on seed, step and rank alone, so a resumed run goes on exactly as the first would have.
    """
    kept = [load_dataset(Path(source.folder)).split(settings.holdout_every) for source in settings.data]
    sources = [crop_source(train) for train, _ in kept]
    shares = [source.share for source in settings.data]
    learner = Learner(settings)
    if resume:
        learner.restore(load_checkpoint(run))
    while learner.step < settings.steps:
        rng = np.random.default_rng([settings.seed, learner.step, rank])
        images, classes = make_batch(sources, shares, settings.crop_px, settings.batch // settings.replicas, rng)
        rate = learning_rate(settings, learner.step)
        gradient, loss = learner.gradient(images, classes)
        if exchange is not None:
            gradient, loss = exchange.average(rank, gradient, loss)
        learner.update(gradient)
        iou = None
        if rank == 0:
            iou = _save_and_validate(settings, run, learner.checkpoint(), [held for _, held in kept])
        yield StepReport(learner.step, loss, rate, iou)


def _save_and_validate(settings: TrainSettings, run: Path, state: Checkpoint, held: list[Any]) -> float | None:
    last = state.step == settings.steps
    if last or state.step % settings.checkpoint_every == 0:
        save_checkpoint(run, state)
    if last or state.step % settings.validate_every == 0:
        return mean_iou(averaged_network(settings, state), held)
    return None


def train(settings: TrainSettings, run: Path, resume: bool) -> Iterator[StepReport]:
    """Reports of a whole training run; processes are started and ended here. Raises ToolError when one dies."""
    if settings.replicas == 1:
        yield from training_steps(settings, run, 0, resume, None)
        return
    with _replica_processes(settings, run, resume) as (processes, reports):
        while True:
            ready = wait([reports, *(process.sentinel for process in processes)])
            if reports in ready:
                try:
                    yield reports.recv()
                except EOFError:
                    break
            elif any(process.exitcode for process in processes):
                break
    codes = [process.exitcode for process in processes]
    if any(codes):
        raise ToolError(f"{run}: a replica ended with exit codes {codes}; its message is above. Go on with --resume")


@contextmanager
def _replica_processes(settings: TrainSettings, run: Path, resume: bool) -> Iterator[tuple[list[Any], Connection]]:
    os.environ["OMP_NUM_THREADS"] = "1"
    context = mp.get_context("spawn")
    exchange = GradientExchange(context, settings.replicas, Learner(settings).checkpoint().weights.size)
    receive, send = context.Pipe(duplex=False)
    processes = [
        context.Process(target=_replica_main, args=(settings, run, rank, resume, exchange, send), daemon=True)
        for rank in range(settings.replicas)
    ]
    for process in processes:
        process.start()
    send.close()
    try:
        yield processes, receive
        for process in processes:
            process.join()
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _replica_main(
    settings: TrainSettings, run: Path, rank: int, resume: bool, exchange: GradientExchange, reports: Connection
) -> None:
    # Ctrl-C reaches the whole process group; the parent ends the replicas, and its own death does too.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    for report in training_steps(settings, run, rank, resume, exchange):
        if rank == 0:
            reports.send(report)
