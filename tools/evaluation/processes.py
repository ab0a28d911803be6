"""Work spread over processes, one a core: a predictor that aborts or hangs ends in an error, never in silence."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import TypeVar

from edge_runtime.processes import die_with_parent
from tools.errors import ToolError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

ITEM_LIMIT_S = 600.0


def core_count() -> int:
    return len(os.sched_getaffinity(0))


def map_in_processes(
    work: Callable[[Item], Answer],
    items: Sequence[Item],
    workers: int,
    name_of: Callable[[Item], str],
    limit_s: float = ITEM_LIMIT_S,
) -> Iterator[Answer]:
    """The answers in the order of `items`; few are computed ahead of what is taken.

    `work` must be importable by name. Raises what it raises, and ToolError naming the items in work when a process
    dies or takes longer than `limit_s` for one.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    pool = ProcessPoolExecutor(min(workers, len(items)) or 1, multiprocessing.get_context("spawn"), _begin_worker)
    try:
        yield from _answers(pool, partial(_within, work, limit_s), items, 2 * workers, name_of)
    finally:
        pool.shutdown(cancel_futures=True)


def _answers(
    pool: ProcessPoolExecutor,
    work: Callable[[Item], Answer],
    items: Sequence[Item],
    ahead: int,
    name_of: Callable[[Item], str],
) -> Iterator[Answer]:
    waiting: deque[tuple[Item, Future[Answer]]] = deque()
    for item in items:
        waiting.append((item, pool.submit(work, item)))
        if len(waiting) > ahead:
            yield _answer(waiting, name_of)
    while waiting:
        yield _answer(waiting, name_of)


def _answer(waiting: deque[tuple[Item, Future[Answer]]], name_of: Callable[[Item], str]) -> Answer:
    try:
        answer = waiting[0][1].result()
    except BrokenProcessPool as exc:
        suspects = ", ".join(name_of(item) for item, _ in waiting)
        raise ToolError(
            f"a worker process died or hung at one of: {suspects}; check the bundle on this machine with "
            "`edge-runtime bundle verify`, and that there is enough memory"
        ) from exc
    waiting.popleft()
    return answer


def _begin_worker() -> None:
    """Ctrl-C is the command's to answer, and a killed command leaves no worker behind."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()


def _within(work: Callable[[Item], Answer], limit_s: float, item: Item) -> Answer:
    """Python's own watchdog thread ends the process even when native code hangs with the interpreter lock."""
    faulthandler.dump_traceback_later(limit_s, exit=True, file=2)
    try:
        return work(item)
    finally:
        faulthandler.cancel_dump_traceback_later()
