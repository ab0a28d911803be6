"""When a made-up exposure happens: at a fixed rate, or at its trigger."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from edge_runtime.clock import NS_PER_MS, NS_PER_S

if TYPE_CHECKING:
    from edge_runtime.clock import Clock

WaitMs = Callable[[float], None]


def sleep_ms(duration_ms: float) -> None:
    time.sleep(duration_ms / 1000)


class Pacer:
    """Free run exposes at `rate_hz` (None: as fast as asked), a trigger at its own moment.

    Nothing is skipped: who comes late gets the next exposure at once, and the rate goes on from there. All waiting
    goes through `wait_ms`, so that with a manual clock `clock.advance_ms` takes the place of sleep.
    """

    def __init__(self, rate_hz: float | None, clock: Clock, wait_ms: WaitMs = sleep_ms) -> None:
        if rate_hz is not None and rate_hz <= 0:
            raise ValueError(f"rate_hz must be positive, not {rate_hz}")
        self._period_ns = 0 if rate_hz is None else round(NS_PER_S / rate_hz)
        self._clock = clock
        self._wait_ms = wait_ms
        self._due_ns: int | None = None

    def wait_for_exposure(self, trigger_ns: int | None, timeout_ms: float) -> int | None:
        """Wait until the next exposure and return its time; None after `timeout_ms` without one."""
        now_ns = self._clock.monotonic_ns()
        due_ns = next(at_ns for at_ns in (trigger_ns, self._due_ns, now_ns) if at_ns is not None)
        if due_ns > now_ns:
            self._wait_ms(min((due_ns - now_ns) / NS_PER_MS, max(0.0, timeout_ms)))
            now_ns = self._clock.monotonic_ns()
            if now_ns < due_ns:
                return None
        self._due_ns = max(due_ns + self._period_ns, now_ns)
        return now_ns
