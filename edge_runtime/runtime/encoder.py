"""The belt's position from the edges of its encoder. Pure: edges come in with the kernel's time stamps."""

from __future__ import annotations

from collections import deque

from edge_runtime.clock import NS_PER_MS, NS_PER_S
from edge_runtime.interfaces import ENCODER_CHANNELS, Edge, Input

SPEED_OVER_PULSES = 32


class Encoder:
    """Counts every edge of one channel, or of two in quadrature with their direction (A before B is forward).

    So one line of the disc gives two pulses with one channel and four with two. One thread owns it.
    """

    def __init__(self, quadrature: bool, standstill_ms: float) -> None:
        self.position = 0
        self.stops = 0
        self.lost = 0
        self._quadrature = quadrature
        self._standstill_ns = round(standstill_ms * NS_PER_MS)
        self._active = dict.fromkeys(ENCODER_CHANNELS, False)
        self._edge_at_ns: dict[Input, int | None] = dict.fromkeys(
            ENCODER_CHANNELS if quadrature else ENCODER_CHANNELS[:1]
        )
        self._direction = 1
        self._recent: deque[tuple[int, int]] = deque(maxlen=SPEED_OVER_PULSES)
        self._stop_counted = True

    def settle(self, a_active: bool, b_active: bool) -> None:
        """Take the channels' levels as they are, before the first edge."""
        self._active = {Input.ENCODER_A: a_active, Input.ENCODER_B: b_active}
        self._recent.clear()
        self._edge_at_ns = dict.fromkeys(self._edge_at_ns)

    def feed(self, edge: Edge, lost_before: int = 0) -> None:
        """An edge of channel A or B; edges lost before it are counted on in the direction the belt had."""
        self.lost += lost_before
        self.position += lost_before * self._direction
        self._active[edge.name] = edge.active
        if self._quadrature:
            self._direction = self._direction_of(edge)
        self.position += self._direction
        self._recent.append((edge.at_ns, self.position))
        self._edge_at_ns[edge.name] = edge.at_ns
        self._stop_counted &= self.is_stopped(edge.at_ns)

    def is_stopped(self, now_ns: int) -> bool:
        """Whether a channel has had no edge for the time that counts as a stand-still.

        One channel alone counts back and forth: the belt trembles, or the other channel's wire is broken.
        """
        return any(at_ns is None or now_ns - at_ns >= self._standstill_ns for at_ns in self._edge_at_ns.values())

    def next_stop_ns(self) -> int | None:
        """When the belt will count as standing, if no edge comes; None when it does already."""
        times_ns = [at_ns for at_ns in self._edge_at_ns.values() if at_ns is not None]
        return min(times_ns) + self._standstill_ns if len(times_ns) == len(self._edge_at_ns) else None

    def note_standstill(self, now_ns: int) -> None:
        """Count a stop of the belt, each once."""
        if self.is_stopped(now_ns) and not self._stop_counted:
            self.stops += 1
            self._stop_counted = True

    def speed_per_s(self, now_ns: int) -> float:
        """Pulses a second over the last ones, negative backwards, 0 at a stand-still."""
        if self.is_stopped(now_ns) or len(self._recent) < 2:
            return 0.0
        (first_ns, first), (last_ns, last) = self._recent[0], self._recent[-1]
        return (last - first) * NS_PER_S / max(1, last_ns - first_ns)

    def _direction_of(self, edge: Edge) -> int:
        same = self._active[Input.ENCODER_A] == self._active[Input.ENCODER_B]
        forward = same if edge.name is Input.ENCODER_B else not same
        return 1 if forward else -1
