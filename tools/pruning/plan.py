"""Which channels stay: by ratios, or by one threshold on the scores that meets a target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tools.graph import Graph, count_macs, count_parameters
from tools.pruning.choice import Choice, Cost, Limits, unreachable
from tools.pruning.cut import Plan
from tools.pruning.groups import Dependencies
from tools.pruning.scores import Scores

TILE_PX = 512
CLOSE_ENOUGH = 0.02
STEP_INTO_BRACKET = 0.1


def plan_ratios(dependencies: Dependencies, scores: Scores, ratios: Mapping[str, float], limits: Limits) -> Plan:
    """Take from each class the share of units that the last pattern matching one of its layers gives.

    `ratios`: pattern (fnmatch) to share, {"*": 0.5} for all alike. The count is the nearest that `limits` allow.
    Raises ToolError for a share outside 0 ≤ share < 1, an unknown layer, or one that may lose nothing.
    """
    choice = Choice(dependencies, scores, limits)
    for pattern, ratio in ratios.items():
        choice.check_ratio(pattern, ratio)
    return choice.plan(choice.counts_by_ratio(ratios))


def plan_class(dependencies: Dependencies, scores: Scores, name: str, ratio: float, limits: Limits) -> Plan:
    """Take the share `ratio` from the class `name` alone; no class of that name leaves everything."""
    choice = Choice(dependencies, scores, limits)
    return choice.plan(choice.counts_of_class(name, ratio))


def plan_macs(dependencies: Dependencies, scores: Scores, target: float, limits: Limits) -> Plan:
    """At or below `target` multiply-adds for a tile of 512 px, as near as `Choice.at_most` comes.

    Raises ToolError with the least that can be reached.
    """
    return Choice(dependencies, scores, limits).at_most(target, _tile_macs, "MACs")


def plan_parameters(dependencies: Dependencies, scores: Scores, target: float, limits: Limits) -> Plan:
    """At or below `target` parameters, as near as `Choice.at_most` comes; raises ToolError like `plan_macs`."""
    return Choice(dependencies, scores, limits).at_most(target, count_parameters, "parameters")


def plan_milliseconds(
    dependencies: Dependencies,
    scores: Scores,
    target_ms: float,
    limits: Limits,
    measure: Cost,
    evaluations: int = 8,
) -> Plan:
    """The slowest found, with at most `evaluations` calls of `measure`, at or below `target_ms`; ends early within 2 %.

    Walks along the multiply-adds, with which time grows. Raises ToolError with the least that was measured.
    """
    choice = Choice(dependencies, scores, limits)
    best, whole = choice.plan(choice.least_counts()), choice.plan(choice.all_counts())
    low, high = _timed(best, measure), _timed(whole, measure)
    if high.ms <= target_ms:
        return whole
    if low.ms > target_ms:
        raise unreachable(target_ms, low.ms, "milliseconds")
    for _ in range(evaluations - 2):
        if low.ms >= target_ms * (1 - CLOSE_ENOUGH):
            break
        plan = choice.at_most(_macs_between(low, high, target_ms), _tile_macs, "MACs")
        point = _timed(plan, measure)
        if point.ms <= target_ms:
            best, low = plan, point
        else:
            high = point
    return best


class _Point(NamedTuple):
    macs: float
    ms: float


def _timed(plan: Plan, measure: Cost) -> _Point:
    graph = plan.smaller_graph()
    return _Point(_tile_macs(graph), measure(graph))


def _tile_macs(graph: Graph) -> float:
    return float(count_macs(graph, TILE_PX))


def _macs_between(low: _Point, high: _Point, target_ms: float) -> float:
    """Where a straight line meets the target, kept off both ends."""
    share = (target_ms - low.ms) / max(high.ms - low.ms, 1e-9)
    share = min(max(share, STEP_INTO_BRACKET), 1 - STEP_INTO_BRACKET)
    return low.macs + share * (high.macs - low.macs)
