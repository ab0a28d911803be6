"""Parts on a belt that passes a photo-eye, a camera and an ejector: what each of them meets, and when. Pure.

Times are seconds since the belt's start, positions are millimetres of belt that have passed the photo-eye.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import merge
from itertools import chain

from edge_runtime.interfaces import Input
from edge_runtime.simulation.motion import Motion

BOUNCE_WITHIN_S = 0.0006
GAP_IN_PART_S = 0.004


@dataclass(frozen=True)
class Geometry:
    """The machine. The photo-eye sees a part from its front edge to its back edge.

    `eye_to_ejector_mm` is from the photo-eye to the middle of the ejector, which throws out whatever lies with its
    centre in the `ejector_mm` around it. The camera has a part in its picture while the front edge is at most
    `view_mm` past the photo-eye. The encoder makes `pulses_per_mm` full periods of A and B. `second_eye_mm` is from the
    photo-eye to a second one before the ejector, 0 without.
    """

    eye_to_ejector_mm: float
    part_mm: float
    ejector_mm: float
    view_mm: float
    pulses_per_mm: float
    second_eye_mm: float = 0.0

    def __post_init__(self) -> None:
        if min(self.eye_to_ejector_mm, self.part_mm, self.ejector_mm, self.view_mm, self.pulses_per_mm) <= 0:
            raise ValueError(f"all lengths must be positive: {self}")
        if not 0 <= self.second_eye_mm < self.eye_to_ejector_mm:
            raise ValueError(f"the second photo-eye must lie between the first one and the ejector: {self}")

    @property
    def to_ejector_mm(self) -> float:
        """Belt travel from a part's front edge at the photo-eye to its centre at the ejector's middle."""
        return self.eye_to_ejector_mm + self.part_mm / 2


@dataclass(frozen=True)
class BeltPart:
    """One part: number from 1, the belt position at which its front edge reaches the photo-eye, and the truth.

    After the photo-eye it may slip back by `slip_mm`, or be `taken` away; one that was `laid` there comes to neither
    photo-eye nor camera. Of its edges one may bounce, come twice or be lost.
    """

    number: int
    front_mm: float
    defective: bool
    bounces: bool = False
    doubled: bool = False
    lost: bool = False
    slip_mm: float = 0.0
    taken: bool = False
    laid: bool = False

    @property
    def place_mm(self) -> float:
        """Where its front edge lies on the belt once it is past the photo-eye."""
        return self.front_mm + self.slip_mm


@dataclass(frozen=True)
class Level:
    """A wire's new level. `lost`: the kernel has no room for this edge, and nobody is told of it.

    `part` is the number of the part that made it, 0 for the encoder.
    """

    at_s: float
    input: Input
    active: bool
    lost: bool = False
    part: int = 0


def lay_parts(
    count: int, pitch_mm: float, first_mm: float, jitter: Sequence[float], defect_share: float, chance: random.Random
) -> list[BeltPart]:
    """`count` parts, `pitch_mm` apart; part i is off its place by up to ± jitter[i] pitches."""
    parts = []
    for index in range(count):
        front_mm = first_mm + (index + jitter[index] * chance.uniform(-1, 1)) * pitch_mm
        parts.append(BeltPart(index + 1, front_mm, chance.random() < defect_share))
    return parts


class Belt:
    """Parts, motion and geometry together. Immutable; the same seed makes the same belt."""

    def __init__(self, geometry: Geometry, motion: Motion, parts: Sequence[BeltPart], seed: int = 0) -> None:
        self.geometry = geometry
        self.motion = motion
        self.parts = tuple(parts)
        self._seed = seed

    def seen_s(self, part: BeltPart) -> float:
        """When the part's front edge first reaches the photo-eye, or would have; inf when it never does."""
        crossings = self.motion.crossings(part.front_mm)
        return crossings[0].at_s if crossings else math.inf

    def in_view(self, part: BeltPart) -> list[tuple[float, float]]:
        """While the camera has the part in its picture."""
        if part.laid:
            return []
        return self.motion.spans_between(part.front_mm, part.front_mm + self.geometry.view_mm)

    def at_ejector(self, part: BeltPart) -> list[tuple[float, float]]:
        """While the ejector would throw this part out; never where it was taken away."""
        if part.taken:
            return []
        middle_mm = part.place_mm + self.geometry.to_ejector_mm
        half_mm = self.geometry.ejector_mm / 2
        return self.motion.spans_between(middle_mm - half_mm, middle_mm + half_mm)

    def eye_levels(self) -> Iterator[Level]:
        """What the photo-eye's wire does, in order, bounces and gaps included."""
        levels = [level for part in self.parts if not part.laid for level in self._eye_levels_of(part)]
        return iter(sorted(levels, key=lambda level: level.at_s))

    def second_eye_levels(self) -> Iterator[Level]:
        """What the wire of the second photo-eye does, in order; nothing without one."""
        seen = [part for part in self.parts if self.geometry.second_eye_mm and not part.taken]
        levels = []
        for part in seen:
            front_mm = part.place_mm + self.geometry.second_eye_mm
            for from_s, to_s in self.motion.spans_between(front_mm, front_mm + self.geometry.part_mm):
                levels += [Level(from_s, Input.EYE, True, part=part.number), Level(to_s, Input.EYE, False)]
        return iter(sorted(levels, key=lambda level: level.at_s))

    def _eye_levels_of(self, part: BeltPart) -> Iterator[Level]:
        chance = random.Random(f"{self._seed}/{part.number}")
        for from_s, to_s in self.motion.spans_between(part.front_mm, part.front_mm + self.geometry.part_mm):
            changes = [(from_s, True), (to_s, False)]
            if part.bounces:
                changes += [*_bounces(from_s, True, chance), *_bounces(to_s, False, chance)]
            if part.doubled:
                middle_s = (from_s + to_s) / 2
                changes += [(middle_s, False), (min(middle_s + GAP_IN_PART_S, (middle_s + to_s) / 2), True)]
            for at_s, active in changes:
                yield Level(at_s, Input.TRIGGER, active, part.lost and at_s == from_s, part.number)

    def encoder_levels(self) -> Iterator[Level]:
        """What the encoder's two wires do, in order: A leads B on the way forwards. Lazy, for long runs have many."""
        period_mm = 1 / self.geometry.pulses_per_mm
        for number, crossing in self.motion.grid_crossings(period_mm / 4):
            # Quarter q of a period: A is high in quarters 0 and 1, B in 1 and 2.
            quarter = number % 4 if crossing.forwards else (number - 1) % 4
            wire = Input.ENCODER_A if number % 2 == 0 else Input.ENCODER_B
            yield Level(crossing.at_s, wire, quarter in (0, 1) if wire is Input.ENCODER_A else quarter in (1, 2))

    def kernel_levels(self, debounce_s: Mapping[Input, float], with_encoder: bool) -> Iterator[Level]:
        """All wires together, in order, as the kernel stamps them; an encoder's are not debounced."""
        encoder = self.encoder_levels() if with_encoder else iter(())
        eye = settled(self.eye_levels(), debounce_s.get(Input.TRIGGER, 0.0))
        second = settled(self.second_eye_levels(), debounce_s.get(Input.EYE, 0.0))
        return merge(eye, second, encoder, key=lambda level: level.at_s)


def _bounces(at_s: float, active: bool, chance: random.Random) -> list[tuple[float, bool]]:
    """The contact opens and closes a few times before it stays as it is."""
    times_s = sorted(at_s + chance.uniform(0.00002, BOUNCE_WITHIN_S) for _ in range(2 * chance.randint(1, 3)))
    return [(bounce_s, active if index % 2 else not active) for index, bounce_s in enumerate(times_s)]


def settled(levels: Iterable[Level], debounce_s: float) -> Iterator[Level]:
    """What the kernel makes of one wire, low at first: a level counts, and is stamped, once it held for `debounce_s`.

    Where one of the edges that bounced together is lost, the settled one is.
    """
    active, lost, waiting = False, False, None
    for level in chain(levels, [None]):
        if waiting is not None and (level is None or level.at_s - waiting.at_s >= debounce_s):
            if waiting.active is not active:
                active = waiting.active
                yield replace(waiting, at_s=waiting.at_s + debounce_s, lost=lost)
            lost = False
        waiting = level
        lost = lost or (level is not None and level.lost)
