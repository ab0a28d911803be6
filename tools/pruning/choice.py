"""How many units of each class stay, within limits, and which.

Counts are one whole number for each class; the scores decide which units they are.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import ceil

import numpy as np

from tools.errors import ToolError
from tools.graph import Graph
from tools.pruning.cut import Plan
from tools.pruning.groups import ChannelClass, Dependencies, IntArray
from tools.pruning.scores import Scores

Cost = Callable[[Graph], float]
ROUNDING = 1e-9


@dataclass(frozen=True)
class Limits:
    """What pruning must not do.

    Widths stay multiples of `align` unless a class keeps all its channels: other widths leave Paddle Lite's fast
    kernels. `spare`: patterns (fnmatch) of layers that keep their output channels. `max_share`: at most this share of a
    class goes. Without `protect_head_input` the logits may lose what they are made of, and thresholds move.
    """

    align: int = 8
    spare: tuple[str, ...] = ()
    max_share: float = 1.0
    protect_head_input: bool = True

    def __post_init__(self) -> None:
        if self.align < 1 or not 0 <= self.max_share <= 1:
            raise ToolError(f"align {self.align} must be at least 1 and max_share {self.max_share} lie in 0..1")


@dataclass(frozen=True)
class _Row:
    """A class of units, best first, their falling scores, and the counts of them that may stay, rising to all."""

    channel_class: ChannelClass
    units: IntArray
    scores: Scores
    counts: tuple[int, ...]

    def nearest(self, wanted: float) -> int:
        return min(self.counts, key=lambda count: (abs(count - wanted), -count))

    def next_after(self, count: int) -> int:
        return self.counts[self.counts.index(count) + 1]


class Choice:
    """Turns ratios or a threshold into counts, and counts into a plan."""

    def __init__(self, dependencies: Dependencies, scores: Scores, limits: Limits) -> None:
        if scores.shape != (dependencies.unit_count,) or np.isnan(scores).any():
            raise ValueError(f"scores {scores.shape} are not one number for each of {dependencies.unit_count} units")
        for pattern in limits.spare:
            check_pattern(pattern, dependencies)
        self._dependencies = dependencies
        self._rows = [_row(channel_class, scores, limits) for channel_class in dependencies.classes]

    def check_ratio(self, pattern: str, ratio: float) -> None:
        """Raises ToolError for a share outside 0 ≤ share < 1, an unknown layer, or one that may lose nothing."""
        if not 0 <= ratio < 1:
            raise ToolError(f"ratio {ratio} of {pattern!r}: must be at least 0 and below 1, where no channel is left")
        check_pattern(pattern, self._dependencies)
        if ratio > 0 and not any(len(row.counts) > 1 for row in self._rows if _matches(row.channel_class, pattern)):
            raise ToolError(
                f"ratio {ratio} of {pattern!r}: these layers may lose nothing; they are spared, feed the head, "
                "cannot be scored, or have too few channels for the alignment"
            )

    def all_counts(self) -> list[int]:
        return [row.counts[-1] for row in self._rows]

    def least_counts(self) -> list[int]:
        return [row.counts[0] for row in self._rows]

    def counts_by_ratio(self, ratios: Mapping[str, float]) -> list[int]:
        """The last pattern that matches a class holds."""
        counts = []
        for row in self._rows:
            given = [ratio for pattern, ratio in ratios.items() if _matches(row.channel_class, pattern)]
            counts.append(row.nearest(len(row.units) * (1 - (given[-1] if given else 0.0))))
        return counts

    def counts_of_class(self, name: str, ratio: float) -> list[int]:
        shares = [1 - ratio if row.channel_class.name == name else 1.0 for row in self._rows]
        return [row.nearest(len(row.units) * share) for row, share in zip(self._rows, shares, strict=True)]

    def at_most(self, target: float, cost: Cost, what: str) -> Plan:
        """One threshold for all scores, the lowest whose cost is at or below the target; then what still fits."""

        def cost_of(counts: Sequence[int]) -> float:
            return cost(self.plan(counts).smaller_graph())

        thresholds = [-np.inf, *np.unique(np.concatenate([np.zeros(0), *(row.scores for row in self._rows)])).tolist()]
        index = bisect_left(thresholds, -target, key=lambda threshold: -cost_of(self._counts_above(threshold)))
        if index == len(thresholds):
            raise unreachable(target, cost_of(self.least_counts()), what)
        return self.plan(self._filled(self._counts_above(thresholds[index]), lambda counts: cost_of(counts) <= target))

    def plan(self, counts: Sequence[int]) -> Plan:
        stays = np.ones(self._dependencies.unit_count, bool)
        for row, count in zip(self._rows, counts, strict=True):
            stays[row.units[count:]] = False
        kept = {name: np.flatnonzero(stays[units]) for name, units in self._dependencies.unit_of.items()}
        return Plan(self._dependencies.graph, kept)

    def _counts_above(self, threshold: float) -> list[int]:
        return [row.nearest(float((row.scores > threshold).sum())) for row in self._rows]

    def _filled(self, counts: list[int], fits: Callable[[Sequence[int]], bool]) -> list[int]:
        """Widen class by class while the whole still fits, the best waiting unit first: one that did not never will."""
        waiting = {i for i, row in enumerate(self._rows) if counts[i] < row.counts[-1]}
        while waiting:
            i = max(waiting, key=lambda i: (self._rows[i].scores[counts[i]], -i))
            wider = [*counts[:i], self._rows[i].next_after(counts[i]), *counts[i + 1 :]]
            if fits(wider):
                counts = wider
            if counts[i] != wider[i] or counts[i] == self._rows[i].counts[-1]:
                waiting.discard(i)
        return counts


def _row(channel_class: ChannelClass, scores: Scores, limits: Limits) -> _Row:
    units = np.array(channel_class.units)
    units = units[np.argsort(-scores[units], kind="stable")]
    return _Row(channel_class, units, scores[units], _allowed_counts(channel_class, scores[units], limits))


def _allowed_counts(channel_class: ChannelClass, scores: Scores, limits: Limits) -> tuple[int, ...]:
    """Units without a score (infinity) stay."""
    whole = len(scores)
    spared = any(_matches(channel_class, pattern) for pattern in limits.spare)
    if spared or (limits.protect_head_input and channel_class.feeds_output):
        return (whole,)
    least = max(int(np.isinf(scores).sum()), ceil(whole * (1 - limits.max_share) - ROUNDING))
    step = channel_class.unit_step(limits.align)
    return (*(count for count in range(step, whole, step) if count >= least), whole)


def check_pattern(pattern: str, dependencies: Dependencies) -> None:
    """Raises ToolError unless `pattern` matches a layer that can lose channels."""
    names = dependencies.layer_names
    if not any(fnmatchcase(name, pattern) for name in names):
        raise ToolError(f"no layer that can be pruned matches {pattern!r}; there are {', '.join(names)}")


def unreachable(target: float, least: float, what: str) -> ToolError:
    return ToolError(
        f"{target:,.6g} {what} cannot be reached: the least is {least:,.6g}; spare fewer layers, allow a larger share "
        "of a layer to go, or a smaller alignment"
    )


def _matches(channel_class: ChannelClass, pattern: str) -> bool:
    return any(fnmatchcase(layer, pattern) for layer in channel_class.layers)
