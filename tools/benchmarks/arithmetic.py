"""What benchmarks compute from their samples; no clock, no process."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """y = `at_zero` + `slope` x, and the largest distance of a point from it."""

    slope: float
    at_zero: float
    worst_residual: float


def fit_line(xs: Sequence[float], ys: Sequence[float]) -> Line:
    """The least-squares line. Raises ValueError for fewer than two different x."""
    slope, at_zero = _slope_and_intercept(xs, ys)
    worst = max(abs(y - (at_zero + slope * x)) for x, y in zip(xs, ys, strict=True))
    return Line(slope, at_zero, worst)


def _slope_and_intercept(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    if len(set(xs)) < 2:
        raise ValueError(f"a line needs two different x, not {sorted(set(xs))}")
    x_mean, y_mean = statistics.fmean(xs), statistics.fmean(ys)
    spread = sum((x - x_mean) ** 2 for x in xs)
    slope = sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True)) / spread
    return slope, y_mean - slope * x_mean


def flatness(values: Sequence[float]) -> float:
    """The largest over the smallest: 1 where each unit of work costs the same."""
    if not values or min(values) <= 0:
        raise ValueError(f"flatness is of positive values, not {values}")
    return max(values) / min(values)


def medians(samples: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each key, in the order of the first sample. Raises KeyError where a sample lacks one."""
    return {key: statistics.median(sample[key] for sample in samples) for key in samples[0]} if samples else {}


def shares(parts: Mapping[str, float]) -> dict[str, float]:
    """Each part of the sum of all; all 0 where the sum is."""
    whole = sum(parts.values())
    return {key: value / whole if whole else 0.0 for key, value in parts.items()}


def busiest_share(tiles: int, workers: int) -> float:
    """What a frame takes at least, over tiles / workers: with an odd tile out one worker ends before the other."""
    return -(-tiles // workers) * workers / tiles


def rounds_for(rounds: int, megapixels: float, full_up_to: float = 20.0, least: int = 2) -> int:
    """Fewer rounds for pictures that take long: all up to `full_up_to` megapixels, then in proportion."""
    wanted = rounds if megapixels <= full_up_to else round(rounds * full_up_to / megapixels)
    return min(rounds, max(least, wanted))
