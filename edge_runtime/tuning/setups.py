"""The set-ups worth trying on a machine: workers × threads, on which processors, by which engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edge_runtime.processors import Processor, fastest, format_cpu_list, in_order_of_use, parse_cpu_list


@dataclass(frozen=True)
class Engine:
    """What runs the network, as the keys of [inspection] name it. `max_threads`: more are refused."""

    backend: str
    target: str | None
    precision: str = "f32"
    max_threads: int = 64

    @property
    def keys(self) -> dict[str, Any]:
        return {"backend": self.backend, "target": self.target, "openvino_precision": self.precision}

    def __str__(self) -> str:
        unusual = [self.target] if self.target and self.target.endswith("+int8") else []
        unusual += [self.precision] if self.precision != "f32" else []
        return " ".join([self.backend, *unusual])


@dataclass(frozen=True)
class Setup:
    """One way to run the workers; `cpu_affinity` and `tile_px` as in the settings."""

    engine: Engine
    workers: int
    threads: int
    cpu_affinity: tuple[str, ...] = ()
    tile_px: int | None = None

    @property
    def keys(self) -> dict[str, Any]:
        """The keys of [inspection] that make it."""
        told = {"workers": self.workers, "threads": self.threads, "cpu_affinity": self.cpu_affinity}
        told |= {"tile_px": self.tile_px}
        return {**self.engine.keys, **told}

    @property
    def size(self) -> tuple[int, ...]:
        """To prefer the smaller of two: processors it computes on, processes, and whether it is bound to any."""
        return (self.workers * self.threads, self.workers, len(self.cpu_affinity))

    def __str__(self) -> str:
        where = f", CPUs {' | '.join(self.cpu_affinity)}" if self.cpu_affinity else ""
        tiles = f", tiles of {self.tile_px} px" if self.tile_px else ""
        return f"{self.engine}, {self.workers} × {self.threads}{where}{tiles}"


def layouts(processors: Sequence[Processor], max_threads: int = 64) -> list[tuple[int, int]]:
    """Workers × threads: each way to share out one processor, half of the fast ones, these, all but one, all.

    Those that compute on as many as there are fast ones come first.
    """
    fast, everything = len(fastest(processors)), len(processors)
    cores = len({processor.siblings for processor in processors})
    totals = {total for total in (1, fast // 2, fast, cores, everything - 1, everything) if total > 0}
    return [
        (total // threads, threads)
        for total in sorted(totals, key=lambda total: (abs(total - fast), total))
        for threads in range(1, total + 1)
        if total % threads == 0 and threads <= max_threads and total // threads <= 64
    ]


def with_layouts(setup: Setup, processors: Sequence[Processor]) -> list[Setup]:
    """The set-up with each of the layouts, left to the kernel."""
    ways = layouts(processors, setup.engine.max_threads)
    return [replace(setup, workers=workers, threads=threads, cpu_affinity=()) for workers, threads in ways]


def with_affinities(setup: Setup, processors: Sequence[Processor]) -> Iterator[Setup]:
    """The set-up left to the kernel, kept on the fast processors, and with processors of its own for each worker."""
    yield replace(setup, cpu_affinity=())
    fast = [processor.number for processor in fastest(processors)]
    wanted = setup.workers * setup.threads
    if len(fast) < len(processors) and wanted <= len(fast):
        yield replace(setup, cpu_affinity=(format_cpu_list(fast),))
    if len(processors) > 1 and wanted <= len(processors):
        yield replace(setup, cpu_affinity=own_processors(setup.workers, setup.threads, in_order_of_use(processors)))


def own_processors(workers: int, threads: int, ordered: Sequence[int]) -> tuple[str, ...]:
    """For each worker as many of the processors as it has threads, no two the same."""
    return tuple(format_cpu_list(ordered[index * threads : (index + 1) * threads]) for index in range(workers))


def fits(setup: Setup, processors: Sequence[Processor]) -> bool:
    """Whether the machine has every processor that the set-up names."""
    here = {processor.number for processor in processors}
    return all(set(parse_cpu_list(text)) <= here for text in setup.cpu_affinity)
