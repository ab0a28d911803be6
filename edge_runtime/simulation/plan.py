"""A whole run, planned from a seed before anything moves: the belt, its faults, and when the others happen. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge_runtime.camera.belt import BeltScript, InView
from edge_runtime.clock import NS_PER_S
from edge_runtime.errors import ConfigError
from edge_runtime.simulation.belt import Belt, BeltPart, Geometry, lay_parts
from edge_runtime.simulation.faults import FaultKind, Injection, plan_faults
from edge_runtime.simulation.motion import Motion, Stretch

LEAD_S = 1.0
SPACING_JITTER, FAULTY_JITTER = 0.03, 0.15
PART_SHARE, EJECTOR_SHARE, VIEW_SHARE = 0.4, 0.3, 0.6
SLIP = 0.1


@dataclass(frozen=True)
class RunWish:
    """What was asked for."""

    parts: int
    rate_hz: float
    speed_mm_s: float
    eye_to_ejector_mm: float
    pulses_per_mm: float
    defect_share: float
    faults: tuple[FaultKind, ...]
    seed: int
    second_eye_mm: float = 0.0

    @property
    def pitch_mm(self) -> float:
        """From part to part."""
        return self.speed_mm_s / self.rate_hz

    def geometry(self) -> Geometry:
        pitch_mm = self.pitch_mm
        return Geometry(
            self.eye_to_ejector_mm,
            part_mm=PART_SHARE * pitch_mm,
            ejector_mm=EJECTOR_SHARE * pitch_mm,
            view_mm=VIEW_SHARE * pitch_mm,
            pulses_per_mm=self.pulses_per_mm,
            second_eye_mm=self.second_eye_mm,
        )

    @property
    def transit_s(self) -> float:
        """From photo-eye to ejector at the usual speed."""
        return self.geometry().to_ejector_mm / self.speed_mm_s


@dataclass(frozen=True)
class RunPlan:
    """The belt and the injections in order of time; all in seconds after the belt's start."""

    wish: RunWish
    belt: Belt
    injections: tuple[Injection, ...]
    end_s: float

    def own_parts(self, injection: Injection) -> tuple[int, ...]:
        """The numbers of the parts whose edges this fault spoils; none where it is not about edges."""
        name, belt = injection.kind.name, self.belt
        if name in ("doubled_edge", "lost_edge"):
            spoilt = [part for part in belt.parts if (part.doubled if name == "doubled_edge" else part.lost)]
            return (_first_from(spoilt, [belt.seen_s(part) for part in spoilt], injection.at_s).number,)
        if name == "belt_reverse":
            crossed = [belt.motion.crossings(part.front_mm) for part in belt.parts]
            marks = zip(belt.parts, crossed, strict=True)
            return tuple(
                part.number for part, at in marks if len(at) > 1 and injection.at_s <= at[0].at_s <= at[1].at_s
            )
        return ()

    def script(self, start_ns: int) -> BeltScript:
        """What the camera sees when the belt starts at `start_ns` (monotonic)."""
        spans = [(span, part) for part in self.belt.parts for span in self.belt.in_view(part) if math.isfinite(span[1])]
        spans.sort(key=lambda each: each[0])
        views = [InView(_ns(a, start_ns), _ns(b, start_ns), part.number, part.defective) for (a, b), part in spans]
        hangs = [
            (_ns(each.at_s, start_ns), _ns(each.until_s, start_ns))
            for each in self.injections
            if each.kind.name == "camera_hang"
        ]
        return BeltScript(tuple(views), tuple(hangs))


def _ns(at_s: float, start_ns: int) -> int:
    return start_ns + round(at_s * NS_PER_S)


def plan_run(wish: RunWish) -> RunPlan:
    """The same wish gives the same plan. Raises ConfigError when the faults do not fit into the run."""
    if wish.second_eye_mm >= wish.eye_to_ejector_mm:
        raise ConfigError(
            f"--second-eye {wish.second_eye_mm:g} must be less than --eye-to-ejector {wish.eye_to_ejector_mm:g}: it "
            "stands before the ejector"
        )
    duration_s = LEAD_S + wish.parts / wish.rate_hz
    injections = plan_faults(wish.faults, 2 * LEAD_S, duration_s, wish.transit_s + 1 / wish.rate_hz, wish.seed)
    motion = _motion(wish, injections)
    jitter = _jitter(wish, motion, injections)
    first_mm = LEAD_S * wish.speed_mm_s
    chance = random.Random(wish.seed)
    parts = lay_parts(wish.parts, wish.pitch_mm, first_mm, jitter, wish.defect_share, chance)
    bare = Belt(wish.geometry(), motion, parts, wish.seed)
    belt = Belt(wish.geometry(), motion, _with_bad_parts(bare, injections, wish), wish.seed)
    return RunPlan(wish, belt, tuple(injections), bare.at_ejector(parts[-1])[-1][1])


def _motion(wish: RunWish, injections: Sequence[Injection]) -> Motion:
    usual, stretches, at_s = wish.speed_mm_s, list[Stretch](), 0.0
    for injection in injections:
        bend = _bend(injection.kind.name, usual)
        if bend:
            stretches += [Stretch(injection.at_s - at_s, usual, usual), *bend]
            at_s = injection.at_s + sum(each.duration_s for each in bend)
    return Motion([*stretches, Stretch(1.0, usual, usual)])


def _bend(fault: str, usual: float) -> list[Stretch]:
    """How a fault moves the belt, in the time that it lasts; the belt has its usual speed before and after."""
    slow, fast, back = 0.5 * usual, 1.25 * usual, -0.2 * usual
    speeds = {
        "speed_change": [(0.4, slow), (0.6, slow), (0.6, fast), (0.4, fast), (0.4, usual)],
        "belt_stop": [(0.3, 0.0), (0.8, 0.0), (0.3, usual)],
        "belt_reverse": [(0.3, 0.0), (0.2, back), (0.2, back), (0.2, 0.0), (0.3, usual)],
    }
    stretches, before = [], usual
    for duration_s, after in speeds.get(fault, []):
        stretches.append(Stretch(duration_s, before, after))
        before = after
    return stretches


def _jitter(wish: RunWish, motion: Motion, injections: Sequence[Injection]) -> list[float]:
    """How far from its place each part may lie, in pitches: more during a `jitter` fault."""
    first_mm = LEAD_S * wish.speed_mm_s
    spans_mm = [
        (motion.position_mm(each.at_s), motion.position_mm(each.until_s))
        for each in injections
        if each.kind.name == "jitter"
    ]
    places_mm = [first_mm + index * wish.pitch_mm for index in range(wish.parts)]
    return [FAULTY_JITTER if any(a <= place < b for a, b in spans_mm) else SPACING_JITTER for place in places_mm]


def _first_from(parts: Sequence[BeltPart], seen_s: Sequence[float], at_s: float) -> BeltPart:
    """The first part that comes to the photo-eye from then on, or the last one of all."""
    return next((part for part, each_s in zip(parts, seen_s, strict=True) if each_s >= at_s), parts[-1])


def _with_bad_parts(belt: Belt, injections: Sequence[Injection], wish: RunWish) -> list[BeltPart]:
    """The same parts with the faults that are theirs, and those that somebody lays between them."""
    parts = {part.number: part for part in belt.parts}
    seen_s = [belt.seen_s(part) for part in belt.parts]
    for injection in injections:
        name, first = injection.kind.name, _first_from(belt.parts, seen_s, injection.at_s)
        if name == "doubled_edge":
            parts[first.number] = replace(parts[first.number], doubled=True)
        elif name == "lost_edge":
            parts[first.number] = replace(parts[first.number], lost=True)
        elif name == "bounce":
            bouncing = [n for n, at_s in enumerate(seen_s, 1) if injection.at_s <= at_s < injection.until_s]
            parts |= {number: replace(parts[number], bounces=True) for number in bouncing}
        elif name == "part_slips":
            parts[first.number] = replace(parts[first.number], slip_mm=SLIP * wish.pitch_mm)
        elif name == "part_taken":
            parts[first.number] = replace(parts[first.number], taken=True)
        elif name == "part_laid":
            number = len(parts) + 1
            parts[number] = BeltPart(number, first.front_mm + wish.pitch_mm / 2, defective=True, laid=True)
    return list(parts.values())
