"""What can go wrong on a line, as a table, and a seeded plan of when it does. Pure."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum

from edge_runtime.errors import ConfigError


class Excuse(Enum):
    """Which good parts may be thrown out because of a fault; a defective part that is let through never is excused."""

    NONE = "none"
    OWN_PART = "the part whose edge it is"
    UNINSPECTED = "parts on their way without a verdict"
    ALL = "all parts on their way"


@dataclass(frozen=True)
class FaultKind:
    """`lasts_s` the cause is there; `settle_s` later at the latest the line should be well.

    `of_belt`: it is planned into the belt, else it is done to the daemon or its wires. `raises`: the fault code by
    which the daemon tells that it has noticed, `start` for one started anew. `in_all`: whether `--faults all` has it.
    """

    name: str
    lasts_s: float
    settle_s: float
    excuse: Excuse
    of_belt: bool = False
    raises: str = ""
    in_all: bool = True


FAULTS = {
    kind.name: kind
    for kind in (
        FaultKind("jitter", 2.0, 0.0, Excuse.NONE, of_belt=True),
        FaultKind("bounce", 2.0, 0.0, Excuse.NONE, of_belt=True),
        FaultKind("doubled_edge", 0.0, 0.5, Excuse.OWN_PART, of_belt=True),
        FaultKind("lost_edge", 0.0, 0.5, Excuse.OWN_PART, of_belt=True),
        FaultKind("part_slips", 0.0, 0.5, Excuse.NONE, of_belt=True),
        FaultKind("part_taken", 0.0, 0.5, Excuse.NONE, of_belt=True),
        FaultKind("part_laid", 0.0, 0.5, Excuse.NONE, of_belt=True),
        FaultKind("speed_change", 2.4, 0.0, Excuse.NONE, of_belt=True),
        FaultKind("belt_stop", 1.4, 0.0, Excuse.NONE, of_belt=True),
        FaultKind("belt_reverse", 1.2, 0.0, Excuse.OWN_PART, of_belt=True, in_all=False),
        FaultKind("noise", 1.5, 0.5, Excuse.NONE),
        FaultKind("cut_sentence", 1.0, 0.5, Excuse.NONE),
        FaultKind("cut_cable", 0.6, 1.5, Excuse.NONE),
        FaultKind("lost_ack", 1.0, 0.5, Excuse.NONE),
        FaultKind("late_ack", 1.0, 0.5, Excuse.NONE),
        FaultKind("worker_kill", 0.0, 2.0, Excuse.UNINSPECTED, raises="worker"),
        FaultKind("capture_kill", 0.0, 2.0, Excuse.UNINSPECTED, raises="camera"),
        FaultKind("office_kill", 0.0, 2.0, Excuse.NONE, raises="office"),
        FaultKind("camera_hang", 0.3, 3.0, Excuse.UNINSPECTED, raises="camera"),
        FaultKind("gpio_lost", 0.5, 1.5, Excuse.ALL, raises="gpio"),
        FaultKind("daemon_kill", 0.0, 4.0, Excuse.ALL, raises="start"),
        FaultKind("daemon_stop", 0.0, 5.0, Excuse.ALL, raises="start"),
        FaultKind("daemon_freeze", 0.0, 8.0, Excuse.ALL, raises="start", in_all=False),
    )
}


NEED_ENCODER = frozenset({"speed_change", "belt_stop", "belt_reverse"})
NEED_SECOND_EYE = frozenset({"part_slips", "part_taken", "part_laid"})
NEED_RECORDING = frozenset({"lost_edge"})


@dataclass(frozen=True)
class Injection:
    """A fault of this kind begins `at_s` after the belt's start and its cause ends at `until_s`."""

    kind: FaultKind
    at_s: float

    @property
    def until_s(self) -> float:
        return self.at_s + self.kind.lasts_s


def named_faults(wish: str, cannot: Collection[str] = ()) -> tuple[FaultKind, ...]:
    """`all`, `none`, or names separated by commas. `all` leaves out those that this line `cannot` have."""
    if wish == "none":
        return ()
    if wish == "all":
        return tuple(kind for kind in FAULTS.values() if kind.in_all and kind.name not in cannot)
    names = [name.strip() for name in wish.split(",")]
    if unknown := [name for name in names if name not in FAULTS]:
        raise ConfigError(f"--faults: no fault {', '.join(unknown)}; known are all, none, {', '.join(FAULTS)}")
    return tuple(FAULTS[name] for name in dict.fromkeys(names))


def plan_faults(kinds: Sequence[FaultKind], from_s: float, to_s: float, gap_s: float, seed: int) -> list[Injection]:
    """Each kind at least once, in an order drawn anew each round, as often as fits between `from_s` and `to_s`.

    After each one and its settling the line is left alone for `gap_s`. Raises ConfigError when not all fit.
    """
    chance, injections, at_s = random.Random(seed), list[Injection](), from_s
    needed_s = sum(kind.lasts_s + kind.settle_s + gap_s for kind in kinds)
    if kinds and needed_s > to_s - from_s:
        raise ConfigError(
            f"--faults: {len(kinds)} kinds of fault need {needed_s:.0f} s of parts, "
            f"there are {max(0.0, to_s - from_s):.0f} s; take more --parts or fewer faults"
        )
    while kinds:
        for kind in chance.sample(kinds, len(kinds)):
            if at_s + kind.lasts_s + kind.settle_s + gap_s > to_s + 1e-9:
                return injections
            injections.append(Injection(kind, at_s))
            at_s += kind.lasts_s + kind.settle_s + gap_s
    return injections
