"""Which of many is the fastest when each measurement is noisy and the device drifts. No clock, no process in here."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

Subject = TypeVar("Subject", bound=Hashable)
Measure = Callable[[Subject], "Sequence[float] | None"]
SAME_SHARE = 0.02
ONE_ROUND_SHARE = 0.15
SAME_TAIL_SHARE = 0.25
HOPELESS_TIMES = 2.5
SIGMA_OF_MAD = 1.4826


@dataclass(frozen=True)
class Standing(Generic[Subject]):
    """One subject and the milliseconds of its frames, a tuple for each visit; visit n was made in round n of all."""

    subject: Subject
    visits: tuple[tuple[float, ...], ...]

    @property
    def medians_ms(self) -> tuple[float, ...]:
        return tuple(statistics.median(visit) for visit in self.visits)

    @property
    def median_ms(self) -> float:
        """Of the visits' medians: a visit that was disturbed as a whole counts once."""
        return statistics.median(self.medians_ms)

    @property
    def best_ms(self) -> float:
        """Of the visits' medians, too: what else runs on the device only ever makes a visit longer."""
        return min(self.medians_ms)

    @property
    def p99_ms(self) -> float:
        return percentile(self._frames_ms, 99)

    @property
    def late_ms(self) -> float:
        """The 99th percentile without the latest frame: what happened once, something else on the device may have."""
        return percentile(self._frames_ms[:-1] or self._frames_ms, 99)

    @property
    def _frames_ms(self) -> list[float]:
        return sorted(time for visit in self.visits for time in visit)

    @property
    def cost_ms(self) -> float:
        """Three parts of the usual frame and one of the late one, which few frames tell with little certainty."""
        return (3 * self.median_ms + self.late_ms) / 4


@dataclass(frozen=True)
class RaceRules:
    """`keep`: how many run to the end; `rounds`: their visits, time permitting; `sure`: and in any case."""

    keep: int = 3
    rounds: int = 5
    sure: int = 0

    def __post_init__(self) -> None:
        if self.keep < 1 or self.rounds < 1:
            raise ValueError(f"a race keeps at least one and has at least one round, not {self}")


@dataclass
class Race(Generic[Subject]):
    """What came out.

    `finalists` best first; `beaten` in the order they left; `unusable` could not be measured; `untried`: no time.
    """

    finalists: list[Standing[Subject]] = field(default_factory=list)
    beaten: list[Standing[Subject]] = field(default_factory=list)
    unusable: list[Subject] = field(default_factory=list)
    untried: list[Subject] = field(default_factory=list)
    finished: bool = True


def run_race(
    subjects: Sequence[Subject],
    measure: Measure[Subject],
    rules: RaceRules,
    is_over: Callable[[], bool],
    protected: Collection[Subject] = (),
) -> Race[Subject]:
    """Visit all in turn, round after round (A B C, A B C), so that a drift meets each alike; the slower half leaves.

    After the first round only the hopeless leave: one visit may have been disturbed. The `protected` stay to the end.
    At most 3 × subjects + (keep + protected) × rounds visits. When `is_over` says so the race ends before the next
    visit, but not before the first, nor in a round that is sure.
    """
    race: Race[Subject] = Race()
    visits: dict[Subject, list[tuple[float, ...]]] = {subject: [] for subject in subjects}
    running = list(visits)
    rounds = 0
    contenders = running
    while running and (len(contenders) > rules.keep or rounds < rules.rounds) and race.finished:
        for subject in list(running):
            if rounds >= rules.sure and any(visits.values()) and is_over():
                race.finished = False
                break
            times = measure(subject)
            if times:
                visits[subject].append(tuple(times))
            else:
                running.remove(subject)
                race.unusable.append(subject)
        rounds += 1
        if race.finished:
            slower = _slower([each for each in running if each not in protected], visits, rules.keep, rounds)
            beaten = {standing.subject for standing in slower}
            running = [subject for subject in running if subject not in beaten]
            race.beaten += slower
        contenders = [subject for subject in running if subject not in protected]
    seen = [Standing(subject, tuple(visits[subject])) for subject in running if visits[subject]]
    race.untried = [subject for subject in running if not visits[subject]]
    race.finalists = sorted(seen, key=lambda standing: standing.cost_ms)
    return race


def choose(finalists: Sequence[Standing[Subject]], size_of: Callable[[Subject], Any]) -> Standing[Subject]:
    """The smallest set-up among those that are as good as the best."""
    best = min(finalists, key=lambda standing: standing.cost_ms)
    as_good = [standing for standing in finalists if not is_slower(standing, best)]
    return min(as_good, key=lambda standing: (size_of(standing.subject), standing.cost_ms))


def is_slower(one: Standing[Any], best: Standing[Any]) -> bool:
    """Whether `one` is slower beyond noise: in the rounds that both ran, or in its late frames.

    Noise is twice the standard error of the rounds' ratios, never below `SAME_SHARE`, nor, since few rounds prove
    little, below `ONE_ROUND_SHARE` over their number.
    """
    ratios = [mine / its for mine, its in zip(one.medians_ms, best.medians_ms, strict=False)]
    middle = statistics.median(ratios)
    spread = SIGMA_OF_MAD * statistics.median(abs(ratio - middle) for ratio in ratios)
    noise = max(SAME_SHARE, ONE_ROUND_SHARE / len(ratios), 2 * spread / math.sqrt(len(ratios)))
    return middle - 1 > noise or one.late_ms > best.late_ms * (1 + SAME_TAIL_SHARE)


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of all do not exceed, between neighbours in proportion."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    return low + (high - low) * (place - math.floor(place))


def _slower(
    running: Sequence[Subject], visits: Mapping[Subject, Sequence[tuple[float, ...]]], keep: int, rounds: int
) -> list[Standing[Subject]]:
    """Those that leave after a round, fastest first."""
    standings = [Standing(subject, tuple(visits[subject])) for subject in running]
    ranking = sorted(standings, key=lambda standing: standing.best_ms)
    if rounds > 1:
        return ranking[max(keep, math.ceil(len(running) / 2)) :]
    return [standing for standing in ranking if standing.best_ms > HOPELESS_TIMES * ranking[0].best_ms]
