"""How many defects a gate may miss, from how many it missed of those at hand. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, lgamma, log, log1p

from tools.errors import ToolError

STEPS = 60  # of a bisection: finer than float64


def lost_share_max(defects: int, lost: int, confidence: float) -> float:
    """The upper bound of Clopper and Pearson: with `confidence`, no larger share of such defects is lost.

    The share p at which no more than `lost` of `defects` would be lost with probability 1 - confidence. For a
    threshold that is the (lost + 1)-th smallest score of the defects it is the same number, by Wilks (1941).
    """
    if not 0 <= lost <= defects or not 0.0 < confidence < 1.0:
        raise ValueError(f"no bound for {lost} of {defects} at confidence {confidence}")
    if lost == defects:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(lost, defects, middle) > 1.0 - confidence else (low, middle)
    return high


def defects_needed(share: float, lost: int, confidence: float) -> int:
    """The fewest defects of which `lost` may be lost and the bound is still at most `share`."""
    low, high = lost, 1
    while high <= lost or lost_share_max(high, lost, confidence) > share:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if lost_share_max(middle, lost, confidence) <= share else (middle, high)
    return high


def chosen_threshold(scores: Sequence[float], lost: int, margin: float) -> float:
    """`margin` times the lowest score after the `lost` lowest are set aside: no more than those lie below it."""
    return margin * sorted(scores)[lost]


def check_bound(defects: int, lost: int, confidence: float, allowed: float) -> float:
    """The bound, which is at most `allowed`; otherwise ToolError tells how many defects it takes."""
    bound = lost_share_max(defects, lost, confidence) if lost < defects else 1.0
    if bound > allowed:
        raise ToolError(
            f"{defects} defects, {lost} of them lost, prove with confidence {confidence:g} no better than that "
            f"{bound:.3%} are missed, not {allowed:.3%}; that takes {defects_needed(allowed, lost, confidence)}: give "
            "more data or a larger --miss-bound"
        )
    return bound


def _at_most(lost: int, defects: int, share: float) -> float:
    """The probability that at most `lost` of `defects` are lost when each is with probability `share`."""
    if share <= 0.0:
        return 1.0
    if share >= 1.0:
        return float(lost >= defects)
    ways = (lgamma(defects + 1) - lgamma(k + 1) - lgamma(defects - k + 1) for k in range(lost + 1))
    return sum(exp(way + k * log(share) + (defects - k) * log1p(-share)) for k, way in enumerate(ways))
