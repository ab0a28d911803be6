"""When so many parts are bad that the line itself must be stopped. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from edge_runtime.values import Outcome


@dataclass(frozen=True)
class StopLimits:
    """So many rejects in a row, or this share of the last `rate_window` parts; 0 switches a rule off."""

    consecutive_rejects: int = 0
    reject_rate: float = 0.0
    rate_window: int = 100


class StopRule:
    """Demands a stop, and goes on demanding it until `reset`. A part that was not inspected counts as a reject."""

    def __init__(self, limits: StopLimits) -> None:
        self._limits = limits
        self._recent: deque[bool] = deque(maxlen=limits.rate_window)
        self._rejected = 0  # of the recent ones
        self._in_a_row = 0
        self.demands = 0
        self.reason = ""

    def concluded(self, outcome: Outcome) -> None:
        rejected = outcome is not Outcome.PASS
        self._in_a_row = self._in_a_row + 1 if rejected else 0
        if len(self._recent) == self._recent.maxlen:
            self._rejected -= self._recent[0]
        self._recent.append(rejected)
        self._rejected += rejected
        reason = self._broken_rule()
        if reason and not self.reason:
            self.reason, self.demands = reason, self.demands + 1

    def reset(self) -> None:
        """Start counting anew."""
        self.reason, self._in_a_row, self._rejected = "", 0, 0
        self._recent.clear()

    def _broken_rule(self) -> str:
        limits = self._limits
        if limits.consecutive_rejects and self._in_a_row >= limits.consecutive_rejects:
            return "consecutive_rejects"
        is_full = len(self._recent) == limits.rate_window
        if limits.reject_rate and is_full and self._rejected >= limits.reject_rate * limits.rate_window:
            return "reject_rate"
        return ""
