"""Time as an argument: monotonic nanoseconds for durations, UTC for labels."""

import time
from datetime import datetime, timedelta, timezone
from typing import Protocol

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000


class Clock(Protocol):
    """Source of time, shared by all processes of one machine (CLOCK_MONOTONIC)."""

    def monotonic_ns(self) -> int: ...

    def utc_now(self) -> datetime: ...


class SystemClock:
    """The machine's own clocks."""

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def utc_now(self) -> datetime:
        return datetime.now(timezone.utc)


class ManualClock:
    """A clock that moves only when told to, for replays and tests."""

    def __init__(self, start_ns: int = 0, start_utc: datetime = datetime(2026, 1, 1, tzinfo=timezone.utc)) -> None:
        self._now_ns = start_ns
        self._epoch_utc = start_utc - timedelta(microseconds=start_ns / 1000)

    def monotonic_ns(self) -> int:
        return self._now_ns

    def utc_now(self) -> datetime:
        return self._epoch_utc + timedelta(microseconds=self._now_ns / 1000)

    def advance_ms(self, duration_ms: float) -> None:
        """Move forward by `duration_ms` ≥ 0."""
        if duration_ms < 0:
            raise ValueError(f"a monotonic clock cannot go back by {-duration_ms} ms")
        self._now_ns += round(duration_ms * NS_PER_MS)
