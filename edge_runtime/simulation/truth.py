"""Which parts the ejector really hit, and whether it should have: belt against recorded outputs. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise

from edge_runtime.interfaces import Output
from edge_runtime.signal_io.recording import Driven
from edge_runtime.simulation.faults import Excuse, FaultKind

Span = tuple[int, int]
FOR_EVER_NS = 2**62
BEATS_AWAITED = 3


class Fate(str, Enum):
    """What became of a part."""

    PASSED = "passed"
    EJECTED_RIGHT = "ejected_right"
    EJECTED_WRONG = "ejected_wrong"
    MISSED = "missed"
    NOT_INSPECTED = "not_inspected"
    TAKEN = "taken_away"


@dataclass(frozen=True)
class Window:
    """A fault and its consequences, from the injection until the line was well again and one part more (monotonic)."""

    kind: FaultKind
    from_ns: int
    to_ns: int
    part: int = 0

    def meets(self, way: Way) -> bool:
        """Whether the part was between photo-eye and ejector at some time of it; of an edge's fault, its own part."""
        if self.part:
            return way.number == self.part
        return way.seen_ns < self.to_ns and self.from_ns < way.gone_ns


@dataclass(frozen=True)
class Way:
    """A part's way past photo-eye and ejector (monotonic) and the truth about it; `at_ejector` is empty where it was
    taken away."""

    number: int
    defective: bool
    seen_ns: int
    at_ejector: tuple[Span, ...]
    laid: bool = False

    @property
    def gone_ns(self) -> int:
        return self.at_ejector[-1][1] if self.at_ejector else self.seen_ns


@dataclass
class FaultTally:
    """How often a fault was injected, how long its windows were, and the fates of the parts in them."""

    times: int = 0
    window_ms: float = 0.0
    parts: int = 0
    fates: Counter[Fate] = field(default_factory=Counter)


def active_spans(driven: Iterable[Driven], output: Output, until_ns: int = FOR_EVER_NS) -> list[Span]:
    """When the output was active, in order; a level holds until the next one, or `until_ns`."""
    spans: list[Span] = []
    since_ns: int | None = None
    for each in driven:
        if each.output is not output:
            continue
        if each.active and since_ns is None:
            since_ns = each.at_ns
        elif not each.active and since_ns is not None:
            spans.append((since_ns, each.at_ns))
            since_ns = None
    return spans if since_ns is None else [*spans, (since_ns, until_ns)]


def still_spans(driven: Iterable[Driven], beat_ns: int) -> list[Span]:
    """When a controller that watches the heartbeat line rejects: from three beats without a change until the next."""
    changes_ns: list[int] = []
    level: bool | None = None
    for each in driven:
        if each.output is Output.HEARTBEAT and each.active is not level:
            changes_ns.append(each.at_ns)
            level = each.active
    limit_ns = BEATS_AWAITED * beat_ns
    return [(a + limit_ns, b) for a, b in pairwise([*changes_ns, FOR_EVER_NS]) if b - a > limit_ns]


def joined(spans: Iterable[Span]) -> list[Span]:
    """The same times as spans that neither touch nor overlap, in order."""
    result: list[Span] = []
    for from_ns, to_ns in sorted(spans):
        if result and from_ns <= result[-1][1]:
            result[-1] = (result[-1][0], max(result[-1][1], to_ns))
        else:
            result.append((from_ns, to_ns))
    return result


def is_hit(way: Way, ejecting: Sequence[Span]) -> bool:
    """Whether the ejector worked at any time while the part lay in it. `ejecting` is as `joined` makes it."""
    for from_ns, to_ns in way.at_ejector:
        index = bisect_right(ejecting, from_ns, key=lambda span: span[0]) - 1
        for work in ejecting[max(0, index) : index + 2]:
            if work[0] < to_ns and from_ns < work[1]:
                return True
    return False


def missed_by_ns(way: Way, ejecting: Sequence[Span]) -> int | None:
    """How long after the part had left the ejector it worked, or, negative, before the part came: the nearer one.

    None where it worked in no other time than that of the part.
    """
    gaps = [from_ns - way.at_ejector[-1][1] for from_ns, _ in ejecting if from_ns >= way.at_ejector[-1][1]]
    gaps += [to_ns - way.at_ejector[0][0] for _, to_ns in ejecting if to_ns <= way.at_ejector[0][0]]
    return min(gaps, key=abs, default=None)


def fate_of(way: Way, hit: bool, inspected: bool, windows: Iterable[Window]) -> tuple[Fate, Window | None]:
    """What became of the part and, unless it met none, the latest fault window that it met.

    `inspected`: the ejector was told so by a verdict that came from its picture. An ejected good part is excused by a
    window alone.
    """
    met = [window for window in windows if window.meets(way)]
    latest = max(met, key=lambda window: window.from_ns, default=None)
    if not way.at_ejector:
        return Fate.TAKEN, latest
    if way.defective:
        return (Fate.EJECTED_RIGHT if hit else Fate.MISSED), latest
    if not hit:
        return Fate.PASSED, latest
    excuse = next((window for window in met if _excuses(window.kind.excuse, inspected)), None)
    return (Fate.EJECTED_WRONG, latest) if excuse is None else (Fate.NOT_INSPECTED, excuse)


def _excuses(excuse: Excuse, inspected: bool) -> bool:
    return excuse in (Excuse.ALL, Excuse.OWN_PART) or (excuse is Excuse.UNINSPECTED and not inspected)
