"""Where a belt is at each time: pure kinematics of constant speeds, ramps, stops and reversals."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

FOREVER_S = 1e9


@dataclass(frozen=True)
class Stretch:
    """For `duration_s` the speed goes evenly from `from_mm_s` to `to_mm_s`; negative speeds run backwards."""

    duration_s: float
    from_mm_s: float
    to_mm_s: float

    def __post_init__(self) -> None:
        if not (self.duration_s > 0 and math.isfinite(self.duration_s)):
            raise ValueError(f"a stretch must last some time, not {self.duration_s} s")

    @property
    def length_mm(self) -> float:
        """Signed distance over the whole stretch."""
        return (self.from_mm_s + self.to_mm_s) / 2 * self.duration_s

    def speed_mm_s(self, after_s: float) -> float:
        return self.from_mm_s + (self.to_mm_s - self.from_mm_s) * after_s / self.duration_s

    def moved_mm(self, after_s: float) -> float:
        """Signed distance from the stretch's start: the integral of its speed."""
        return (self.from_mm_s + self.speed_mm_s(after_s)) / 2 * after_s

    def one_way(self) -> Iterator[tuple[float, float]]:
        """(from_s, to_s) of its parts without a change of direction."""
        if self.from_mm_s * self.to_mm_s < 0:
            turn_s = self.duration_s * self.from_mm_s / (self.from_mm_s - self.to_mm_s)
            yield 0.0, turn_s
            yield turn_s, self.duration_s
        else:
            yield 0.0, self.duration_s

    def after_mm(self, moved_mm: float, from_s: float, to_s: float) -> float:
        """When within a one-way part of it the distance `moved_mm`, reached there, is covered."""
        start_mm_s = self.speed_mm_s(from_s)
        acceleration = (self.to_mm_s - self.from_mm_s) / self.duration_s
        distance_mm = moved_mm - self.moved_mm(from_s)
        root = math.sqrt(max(0.0, start_mm_s**2 + 2 * acceleration * distance_mm))
        end_mm_s = math.copysign(root, start_mm_s + self.speed_mm_s(to_s))
        sum_mm_s = start_mm_s + end_mm_s
        return min(max(from_s + 2 * distance_mm / sum_mm_s, from_s), to_s) if sum_mm_s else from_s


@dataclass(frozen=True)
class Crossing:
    """The belt passes a mark at `at_s`, forwards or backwards."""

    at_s: float
    forwards: bool


class Motion:
    """A belt's position over time, 0 mm at 0 s; after the last stretch its last speed goes on for ever."""

    def __init__(self, stretches: Sequence[Stretch]) -> None:
        if not stretches:
            raise ValueError("a motion needs at least one stretch")
        self._stretches = tuple(stretches)
        self._starts_s = [0.0, *accumulate(each.duration_s for each in stretches)]
        self._starts_mm = [0.0, *accumulate(each.length_mm for each in stretches)]
        self._runs = tuple(self._one_way_runs())
        ends_mm = [(min(run.from_mm, run.to_mm), max(run.from_mm, run.to_mm)) for run in self._runs]
        self._highest_until_mm = list(accumulate((high_mm for _, high_mm in ends_mm), max))
        self._lowest_from_mm = list(accumulate((low_mm for low_mm, _ in reversed(ends_mm)), min))[::-1]

    @property
    def duration_s(self) -> float:
        """When the last stretch ends."""
        return self._starts_s[-1]

    def speed_mm_s(self, at_s: float) -> float:
        index = self._index(at_s)
        if index == len(self._stretches):
            return self._stretches[-1].to_mm_s
        return self._stretches[index].speed_mm_s(at_s - self._starts_s[index])

    def position_mm(self, at_s: float) -> float:
        """The integral of the speed from 0 to `at_s` ≥ 0."""
        index = self._index(at_s)
        after_s, start_mm = at_s - self._starts_s[index], self._starts_mm[index]
        if index == len(self._stretches):
            return start_mm + self._stretches[-1].to_mm_s * after_s
        return start_mm + self._stretches[index].moved_mm(after_s)

    def crossings(self, mark_mm: float) -> list[Crossing]:
        """Every time at which the belt passes `mark_mm`, in order; touching it at a turning point is no passing."""
        first, last = bisect_right(self._highest_until_mm, mark_mm), bisect_right(self._lowest_from_mm, mark_mm)
        return [crossing for run in self._runs[first:last] for crossing in run.crossings(mark_mm)]

    def spans_between(self, low_mm: float, high_mm: float) -> list[tuple[float, float]]:
        """The (from_s, to_s) during which low ≤ position < high, in order, the last one open ended (inf) or not."""
        passings = [(each.at_s, mark, each.forwards) for mark in (low_mm, high_mm) for each in self.crossings(mark)]
        beyond = {mark: mark < 0.0 for mark in (low_mm, high_mm)}
        spans: list[tuple[float, float]] = []
        from_s = 0.0
        for to_s, mark, forwards in [*sorted(passings), (math.inf, low_mm, False)]:
            if from_s < to_s and beyond[low_mm] and not beyond[high_mm]:
                spans.append((from_s, to_s))
            from_s, beyond[mark] = to_s, forwards
        return spans

    def grid_crossings(self, pitch_mm: float) -> Iterator[tuple[int, Crossing]]:
        """Each passing of a multiple of `pitch_mm`, in order, without end while the belt moves.

        With the mark's number: forwards over mark n leads into the n-th gap, backwards into the one before it.
        """
        gap = 0
        for run in self._runs:
            before, gap = gap, math.floor(run.to_mm / pitch_mm)
            for number in range(before + 1, gap + 1) if gap > before else range(before, gap, -1):
                yield number, Crossing(run.at_s(number * pitch_mm), gap > before)

    def _index(self, at_s: float) -> int:
        return bisect_right(self._starts_s, at_s) - 1

    def _one_way_runs(self) -> Iterator[_Run]:
        """The motion cut into runs of one direction, the endless one last; standstills are left out."""
        for stretch, start_s, start_mm in zip(self._stretches, self._starts_s, self._starts_mm, strict=False):
            for from_s, to_s in stretch.one_way():
                run = _Run(stretch, start_s, start_mm, from_s, to_s)
                if run.from_mm != run.to_mm:
                    yield run
        last_mm_s = self._stretches[-1].to_mm_s
        if last_mm_s:
            forever = Stretch(FOREVER_S, last_mm_s, last_mm_s)
            yield _Run(forever, self._starts_s[-1], self._starts_mm[-1], 0.0, FOREVER_S)


class _Run:
    """One direction's part of a stretch, from `from_mm` to `to_mm`."""

    def __init__(self, stretch: Stretch, start_s: float, start_mm: float, from_s: float, to_s: float) -> None:
        self._stretch, self._start_s, self._start_mm = stretch, start_s, start_mm
        self._from_s, self._to_s = from_s, to_s
        self.from_mm = start_mm + stretch.moved_mm(from_s)
        self.to_mm = start_mm + stretch.moved_mm(to_s)
        self.forwards = self.to_mm > self.from_mm

    def at_s(self, mark_mm: float) -> float:
        return self._start_s + self._stretch.after_mm(mark_mm - self._start_mm, self._from_s, self._to_s)

    def crossings(self, mark_mm: float) -> Iterator[Crossing]:
        """Half-open upwards, so that a mark on the border of two runs is passed once, a turning point's not at all."""
        if min(self.from_mm, self.to_mm) <= mark_mm < max(self.from_mm, self.to_mm):
            yield Crossing(self.at_s(mark_mm), self.forwards)
