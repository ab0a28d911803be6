"""Training, in one process or data-parallel in N that average one gradient vector a step.

Paddle's CPU convolutions spend most of their time outside the threaded matrix product: two processes train nearly
twice as fast as one process with two threads. PyTorch threads well: there one replica with all cores is right.
"""

from __future__ import annotations

import math
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
from tools.batches import batches
from tools.dataset import Dataset, load_dataset
from tools.engines import Teacher, as_teacher, open_engine, predictor
from tools.errors import ToolError
from tools.graph import Graph
from tools.learner import Learner, learning_rate
from tools.network_file import FILE_NAME, load_network, save_network
from tools.runs import START_NAME, TEACHER_NAME, TrainSettings, Vector, load_checkpoint, save_checkpoint
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


def load_teacher(run: Path, graph: Graph) -> Teacher | None:
    """The run's teacher; None when the run has none."""
    if not (run / TEACHER_NAME).exists():
        return None
    return as_teacher(graph, *load_network(run / TEACHER_NAME))


def training_steps(
    settings: TrainSettings, run: Path, rank: int, resume: bool, exchange: GradientExchange | None
) -> Iterator[StepReport]:
    """Train to the last step, one report a step; the replica of rank 0 validates and writes checkpoints.

    A run resumed after its last step is only validated: that may be what it was stopped in.
    """
    graph, start = load_network(run / START_NAME)
    learner = Learner(settings, graph, start, open_engine(settings, graph, load_teacher(run, graph)))
    if resume:
        learner.restore(load_checkpoint(run))
    held = [load_dataset(Path(source.folder)).split(settings.holdout_every)[1] for source in settings.data]
    first_step = learner.step
    with batches(settings, graph.output_stride_px, rank, first_step) as prepared:
        for images, classes in prepared:
            rate = learning_rate(settings, learner.step)
            gradient, loss = learner.gradient(images, classes)
            if exchange is not None:
                gradient, loss = exchange.average(rank, gradient, loss)
            learner.update(gradient)
            iou = _save_and_validate(settings, run, graph, learner, held) if rank == 0 else None
            yield StepReport(learner.step, loss, rate, iou)
    if first_step == settings.steps and rank == 0:
        iou = mean_iou(predictor(settings.engine, graph, learner.averaged()), graph, held)
        yield StepReport(first_step, math.nan, learning_rate(settings, first_step), iou)


def _save_and_validate(
    settings: TrainSettings, run: Path, graph: Graph, learner: Learner, held: list[Dataset]
) -> float | None:
    last = learner.step == settings.steps
    if last or learner.step % settings.checkpoint_every == 0:
        save_checkpoint(run, learner.checkpoint())
        save_network(run / FILE_NAME, graph, learner.averaged())
    if last or learner.step % settings.validate_every == 0:
        return mean_iou(predictor(settings.engine, graph, learner.averaged()), graph, held)
    return None


def train(settings: TrainSettings, run: Path, resume: bool) -> Iterator[StepReport]:
    """Reports of a whole training run; processes are started and ended here. Raises ToolError when one dies."""
    if settings.replicas == 1:
        yield from training_steps(settings, run, 0, resume, None)
        return
    with _replica_processes(settings, run, resume) as (processes, reports):
        yield from _reports_until_one_dies(processes, reports)
        if not any(process.exitcode for process in processes):
            for process in processes:
                process.join()
    codes = [process.exitcode for process in processes]
    if any(codes):
        raise ToolError(f"{run}: a replica ended with exit codes {codes}; its message is above. Go on with --resume")


def _reports_until_one_dies(processes: list[Any], reports: Connection) -> Iterator[StepReport]:
    """Ends when every replica has, or as soon as one has failed: the others would wait for its gradient."""
    while True:
        running = [process.sentinel for process in processes if process.exitcode is None]
        if reports in wait([reports, *running]):
            try:
                yield reports.recv()
            except EOFError:
                return
        elif any(process.exitcode for process in processes):
            return


@contextmanager
def _replica_processes(settings: TrainSettings, run: Path, resume: bool) -> Iterator[tuple[list[Any], Connection]]:
    os.environ["OMP_NUM_THREADS"] = str(settings.threads)
    context = mp.get_context("spawn")
    exchange = GradientExchange(context, settings.replicas, _gradient_size(run))
    receive, send = context.Pipe(duplex=False)
    processes = [
        context.Process(target=_replica_main, args=(settings, run, rank, resume, exchange, send))
        for rank in range(settings.replicas)
    ]
    for process in processes:
        process.start()
    send.close()
    try:
        yield processes, receive
    finally:
        for process in processes:
            process.kill()
            process.join()


def _gradient_size(run: Path) -> int:
    graph, start = load_network(run / START_NAME)
    return sum(start[name].size for name in graph.trained_shapes())


def _replica_main(
    settings: TrainSettings, run: Path, rank: int, resume: bool, exchange: GradientExchange, reports: Connection
) -> None:
    # Ctrl-C reaches the whole process group; the parent ends the replicas, and its own death does too.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    for report in training_steps(settings, run, rank, resume, exchange):
        if rank == 0:
            reports.send(report)
