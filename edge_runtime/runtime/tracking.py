"""Where the parts between trigger and ejector are, and what the ejector does to each. Pure: positions come in.

A position is a point on one rising axis: monotonic nanoseconds where the belt's speed is constant, encoder pulses
where it is not. Nothing here knows which.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge_runtime.values import Outcome


@dataclass(frozen=True)
class TrackRules:
    """`travel`: from the trigger to the ejector. No two parts are closer than `min_gap`. Both in the axis's unit.

    A second eye stands `eye` after the trigger, before the ejector; a part meets it within `tolerance` of its place.
    0: there is none. `on_doubled`: what a trigger closer than `min_gap` means: `ignore` it, or `reject` it together
    with its neighbours.
    `on_lost`: whether the ejector works between two parts where a trigger is known to be missing.
    """

    travel: int
    min_gap: int
    on_doubled: Literal["reject", "ignore"] = "reject"
    on_lost: Literal["reject", "count"] = "reject"
    eye: int = 0
    tolerance: int = 0

    def __post_init__(self) -> None:
        if self.travel < 1 or not 0 <= self.min_gap <= self.travel:
            raise ValueError(f"travel {self.travel} must be positive, min_gap {self.min_gap} within it")
        if not 0 <= self.tolerance <= self.eye or self.eye + self.tolerance > self.travel:
            raise ValueError(
                f"eye {self.eye} and its tolerance {self.tolerance} must lie before the ejector, {self.travel}"
            )


@dataclass(frozen=True)
class Fire:
    """A part is at the ejector: what must happen to it."""

    part_id: int
    outcome: Outcome


@dataclass
class TrackCounters:
    """Since the start of the daemon.

    `overtaken`: verdicts that came before an earlier part's. `missing`: parts that did not come to the second eye,
    `unexpected`: parts that did and were never seen. `overridden`: passed parts that were ejected, being in doubt.
    `fired_late`: parts that were a gap beyond the ejector when it was told.
    """

    doubled: int = 0
    lost: int = 0
    out_of_order: int = 0
    overtaken: int = 0
    missing: int = 0
    unexpected: int = 0
    overridden: int = 0
    fired_late: int = 0


@dataclass
class _Tracked:
    part_id: int
    at: int
    outcome: Outcome | None = None
    in_doubt: bool = False
    confirmed: bool = False


class Tracker:
    """The queue of parts between trigger and ejector.

    Each part fires exactly once, at the first position at or after its own plus `travel`, and fires PASS only when it
    was concluded PASS and its place was never in doubt. One thread owns it.
    """

    def __init__(self, rules: TrackRules, start: int) -> None:
        """Parts that passed the trigger before `start` are unknown, so the ejector works until they are through."""
        self.rules = rules
        self.counters = TrackCounters()
        self._parts: list[_Tracked] = []  # by position
        self._last_at: int | None = None
        self._blind: list[tuple[int, int]] = []
        self.lose_sight(start)

    def __len__(self) -> int:
        return len(self._parts)

    def lose_sight(self, position: int) -> None:
        """Triggers before `position` may have been missed: nothing that is on its way now is let through."""
        self.doubt_all()
        self._last_at = None
        self._blind.append((position, position + self.rules.travel))

    def doubt_all(self) -> None:
        """Nobody knows any more where the parts are."""
        for part in self._parts:
            part.in_doubt = True

    def may_have_missed(self, start: int, end: int) -> None:
        """A trigger between these positions may be lost: what passed it there meets a working ejector."""
        if self.rules.on_lost == "reject":
            first, last = sorted((start, end))
            self._blind.append((first + self.rules.travel, last + self.rules.travel + max(1, self.rules.min_gap // 2)))

    def is_doubled(self, at: int) -> bool:
        """Whether a trigger at this position is too close to another to be a part of its own."""
        return bool(self._too_close_to(at))

    def ignore_doubled(self) -> None:
        self.counters.doubled += 1

    def see(self, part_id: int, at: int, lost_before: int = 0) -> tuple[int, ...]:
        """A part is at the trigger. Returns the parts, itself included, that cannot be told apart from it."""
        close = self._too_close_to(at)
        if lost_before:
            self._lost(at, lost_before)
        if self._last_at is None:
            self._end_blindness(at + self.rules.travel - self.rules.min_gap)
        elif at < self._last_at:
            self.counters.out_of_order += 1
        self._parts.append(_Tracked(part_id, at))
        self._parts.sort(key=lambda part: part.at)
        self._last_at = at if self._last_at is None else max(at, self._last_at)
        return self._doubled([*close, part_id]) if close else ()

    def conclude(self, part_id: int, outcome: Outcome) -> None:
        """The verdict on a part; one that has already fired, or was never seen, is left alone."""
        for index, part in enumerate(self._parts):
            if part.part_id == part_id and part.outcome is None:
                part.outcome = outcome
                self.counters.overtaken += any(earlier.outcome is None for earlier in self._parts[:index])

    def arrive(self, at: int) -> None:
        """Something is at the second eye: a part where it should be, or one that nobody has seen."""
        trigger_at, tolerance = at - self.rules.eye, self.rules.tolerance
        near = [part for part in self._parts if not part.confirmed and abs(part.at - trigger_at) <= tolerance]
        if near:
            part = min(near, key=lambda part: abs(part.at - trigger_at))
            part.confirmed, part.at = True, trigger_at
            self._parts.sort(key=lambda part: part.at)
            return
        self.counters.unexpected += 1
        due = trigger_at + self.rules.travel
        self._blind.append((due - tolerance, due + tolerance))

    def undecided(self, position: int) -> list[int]:
        """Parts at the ejector that have no verdict yet."""
        return [part.part_id for part in self._due(position) if part.outcome is None]

    def advance(self, position: int) -> list[Fire]:
        """The parts that have come to the ejector since the last call, in order."""
        self._notice_missing(position)
        due = self._due(position)
        beyond = position - self.rules.travel - self.rules.min_gap
        self.counters.fired_late += sum(part.at < beyond for part in due) if self.rules.min_gap else 0
        self._parts = self._parts[len(due) :]
        self._blind = [span for span in self._blind if span[1] > position]
        return [self._fire(part) for part in due]

    def is_blind(self, position: int) -> bool:
        """Whether a part at the ejector now may be one that nobody has seen."""
        return any(start <= position < end for start, end in self._blind)

    def next_change(self, position: int) -> int | None:
        """The next position after this one at which `advance` or `is_blind` has something new to say."""
        ends = [point for span in self._blind for point in span if point > position]
        dues = [self._parts[0].at + self.rules.travel] if self._parts else []
        return min([*ends, *dues], default=None)

    # -- inside -------------------------------------------------------------------------------------------------

    def _notice_missing(self, position: int) -> None:
        """A part that should have met the second eye has slipped, was taken away, or was never one."""
        overdue = position - self.rules.eye - self.rules.tolerance
        for part in self._parts if self.rules.eye else ():
            if part.at < overdue and not part.confirmed and not part.in_doubt:
                part.in_doubt = True
                self.counters.missing += 1

    def _due(self, position: int) -> list[_Tracked]:
        return [part for part in self._parts if part.at + self.rules.travel <= position]

    def _too_close_to(self, at: int) -> list[int]:
        return [part.part_id for part in self._parts if abs(part.at - at) < self.rules.min_gap]

    def _doubled(self, part_ids: list[int]) -> tuple[int, ...]:
        self.counters.doubled += 1
        for part in self._parts:
            part.in_doubt |= part.part_id in part_ids
        return tuple(part_ids)

    def _lost(self, at: int, count: int) -> None:
        """A part lies somewhere after the last seen one and before this, at least a gap away from both."""
        self.counters.lost += count
        if self.rules.on_lost == "reject" and self._last_at is not None:
            start, end = (self._last_at + self.rules.min_gap, at - self.rules.min_gap)
            if start < end:
                self._blind.append((start + self.rules.travel, end + self.rules.travel))

    def _end_blindness(self, position: int) -> None:
        """The part seen now has no unseen neighbour closer than the gap."""
        self._blind = [(start, min(end, position)) for start, end in self._blind if start < position]

    def _fire(self, part: _Tracked) -> Fire:
        outcome = part.outcome or Outcome.NOT_INSPECTED
        if part.in_doubt and outcome is Outcome.PASS:
            self.counters.overridden += 1
            outcome = Outcome.NOT_INSPECTED
        return Fire(part.part_id, outcome)
