"""Time and encoder edges become positions, positions become what the ejector does. Pure: no port, no clock."""

from __future__ import annotations

import logging

from edge_runtime.interfaces import Edge
from edge_runtime.runtime.encoder import Encoder
from edge_runtime.runtime.events import PartSeen
from edge_runtime.runtime.tracking import Fire, Tracker, TrackRules
from edge_runtime.values import Outcome

log = logging.getLogger(__name__)
SILENT_TRIGGERS = 3


class Ejection:
    """The tracker on its axis: encoder pulses with an encoder, nanoseconds without.

    Nothing is tracked before `begin`; until then the ejector works. One thread owns it.
    """

    def __init__(self, rules: TrackRules, encoder: Encoder | None, rejects_at_standstill: bool = False) -> None:
        """`rejects_at_standstill`: the ejector works while the encoder says that the belt stands."""
        self.encoder = encoder
        self._rejects_at_standstill = rejects_at_standstill
        self.tracker: Tracker | None = None
        self._rules = rules
        self._silent_triggers = 0
        self._last_trigger: tuple[int, int] | None = None

    def begin(self, now_ns: int) -> None:
        """From now on every trigger is heard of; called again after the lines were lost."""
        position = self.position(now_ns)
        if self.tracker is None:
            self.tracker = Tracker(self._rules, position)
        else:
            self.tracker.lose_sight(position)

    def position(self, now_ns: int) -> int:
        return now_ns if self.encoder is None else self.encoder.position

    @property
    def encoder_is_silent(self) -> bool:
        """Whether parts come although the belt seems to stand: the encoder or its cable is broken."""
        return self._silent_triggers >= SILENT_TRIGGERS

    def feed(self, edge: Edge, lost_before: int) -> None:
        """An edge of the encoder. With too many edges lost nobody knows where the parts are.

        The kernel loses edges of all lines together: with the encoder's a trigger may be gone that nobody misses yet.
        """
        if self.encoder is None:
            return
        before = self.encoder.position
        self.encoder.feed(edge, lost_before)
        if self.tracker is not None and lost_before:
            self.tracker.may_have_missed(before, self.encoder.position)
        if self.tracker is not None and 2 * lost_before > self._rules.min_gap:
            log.error("%d encoder edges were lost: the parts on their way are rejected", lost_before)
            self.tracker.doubt_all()

    def arrive(self, at_ns: int) -> None:
        """Something is at the second eye."""
        if self.tracker is not None:
            self.tracker.arrive(self.position(at_ns))

    def ignores(self, seen: PartSeen) -> bool:
        """Whether this trigger is a double that is no part of its own; if so it is counted."""
        tracker = self.tracker
        if tracker is None or self._rules.on_doubled != "ignore" or not tracker.is_doubled(self._place(seen)):
            return False
        tracker.ignore_doubled()
        return True

    def see(self, part_id: int, seen: PartSeen) -> tuple[int, ...]:
        """Track a part; the parts that cannot be told apart from it, itself included."""
        if self.tracker is None:
            return ()
        self._notice_silence(seen)
        return self.tracker.see(part_id, self._place(seen), seen.lost_before)

    def conclude(self, part_id: int, outcome: Outcome) -> None:
        if self.tracker is not None:
            self.tracker.conclude(part_id, outcome)

    def undecided(self, now_ns: int) -> list[int]:
        return [] if self.tracker is None else self.tracker.undecided(self.position(now_ns))

    def advance(self, now_ns: int) -> list[Fire]:
        """What the ejector must do now; a belt that has come to a stand-still is counted on the way."""
        if self.encoder is not None:
            self.encoder.note_standstill(now_ns)
        return [] if self.tracker is None else self.tracker.advance(self.position(now_ns))

    def is_blind(self, now_ns: int) -> bool:
        """Whether the ejector must work although no part is known to be there."""
        if self.tracker is None or self.encoder_is_silent:
            return True
        if self._rejects_at_standstill and self.encoder is not None and self.encoder.is_stopped(now_ns):
            return True
        return self.tracker.is_blind(self.position(now_ns))

    def next_wake_ns(self, now_ns: int) -> int | None:
        """When time alone changes something; encoder edges come as input."""
        if self.encoder is not None:
            stop_ns = self.encoder.next_stop_ns() if self._rejects_at_standstill else None
            return stop_ns if stop_ns is not None and stop_ns > now_ns else None
        return self.tracker.next_change(now_ns) if self.tracker is not None else None

    def counts(self, now_ns: int) -> dict[str, float]:
        """What was seen on the way, by name, for the Snapshot."""
        counters = vars(self.tracker.counters) if self.tracker is not None else {}
        return {**counters, **self._belt(now_ns), "tracked": len(self.tracker or ())}

    def _belt(self, now_ns: int) -> dict[str, float]:
        encoder = self.encoder
        if encoder is None:
            return {}
        speed = round(encoder.speed_per_s(now_ns), 1)
        return {"belt_stops": encoder.stops, "encoder_lost": encoder.lost, "pulses_per_s": speed}

    # -- inside -------------------------------------------------------------------------------------------------

    def _place(self, seen: PartSeen) -> int:
        if self.encoder is None:
            return seen.at_ns
        return self.encoder.position if seen.position is None else seen.position

    def _notice_silence(self, seen: PartSeen) -> None:
        """Parts with time between them but no pulse, or pulses of one channel of two.

        A moving belt ends it, but tells nothing of those parts.
        """
        if self.encoder is None:
            return
        place, last = self._place(seen), self._last_trigger
        stuck = last is not None and abs(place - last[1]) <= 1 and self.encoder.is_stopped(seen.at_ns)
        was_silent = self.encoder_is_silent
        self._silent_triggers = max(1, self._silent_triggers) + 1 if stuck else 0
        self._last_trigger = (seen.at_ns, place)
        if self.tracker is not None and was_silent is not self.encoder_is_silent:
            self.tracker.lose_sight(place)
