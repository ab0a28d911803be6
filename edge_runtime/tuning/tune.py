"""One tune, from warm-up to choice: engines, workers × threads, processors, tiles; each race is of the winners."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Literal

from edge_runtime.device_state import DeviceState, read_state
from edge_runtime.errors import InferenceError
from edge_runtime.processors import Processor, fastest
from edge_runtime.tuning.search import Race, RaceRules, Standing, choose, run_race
from edge_runtime.tuning.setups import Engine, Setup, fits, with_affinities, with_layouts
from edge_runtime.tuning.stand import Stand
from edge_runtime.tuning.steady import Window, is_steady

Goal = Literal["latency", "throughput"]
WARM_UP_WINDOWS, VISITS_IN_BUDGET = 12, 120
FINALISTS = 3


@dataclass(frozen=True)
class TuneRules:
    """`warm_up_s` and `budget_s`: at most, the warm-up being within the budget."""

    goal: Goal = "latency"
    budget_s: float = 210.0
    warm_up_s: float = 45.0

    @property
    def visit_s(self) -> float:
        return self.budget_s / VISITS_IN_BUDGET


@dataclass(frozen=True)
class Stage:
    """A race of a tune: how it is called, and the share of the budget at which it ends."""

    name: str
    until_share: float
    rules: RaceRules


ENGINES = Stage("engine", 0.4, RaceRules(keep=2, rounds=3))
LAYOUTS = Stage("workers × threads", 0.6, RaceRules(keep=FINALISTS, rounds=3))
PROCESSORS = Stage("processors", 0.8, RaceRules(keep=FINALISTS, rounds=10, sure=1))
TILES = Stage("tiles", 0.95, RaceRules(keep=2, rounds=8, sure=1))


@dataclass(frozen=True)
class Tuned:
    """What came out. `now`: the settings as they are, visited in turn with the choice; None where they cannot run here.

    `steady`: whether warm-up ended because nothing moved any more. `races` by stage.
    """

    chosen: Standing[Setup]
    now: Standing[Setup] | None
    races: dict[str, Race[Setup]]
    steady: bool
    begin: DeviceState
    warm: DeviceState
    end: DeviceState
    seconds: float


class Tuner:
    """Runs the races on a stand. `tell` hears what is being done and the share of the budget that is used up.

    `other_sides`: a set-up with each other side of tiles that is worth trying. `check` is asked before each visit and
    raises where the measurement must not go on.
    """

    def __init__(
        self,
        stand: Stand,
        processors: Sequence[Processor],
        rules: TuneRules,
        other_sides: Callable[[Setup], Sequence[Setup]],
        tell: Callable[[str, float], None],
        check: Callable[[], None],
    ) -> None:
        self._stand = stand
        self._processors = processors
        self._rules = rules
        self._other_sides = other_sides
        self._tell = tell
        self._check = check
        self._began_s = 0.0
        self._races: dict[str, Race[Setup]] = {}

    def tune(self, engines: Sequence[Engine], now: Setup, is_open: bool = False) -> Tuned:
        """`now`: the settings as they are, with the first of the engines; `is_open`: with whichever is the best.

        Raises InferenceError when nothing can run, and what `check` raises.
        """
        self._began_s, begin = time.monotonic(), self._state()
        setups = [Setup(engine, len(fastest(self._processors)), 1, tile_px=now.tile_px) for engine in engines]
        steady = self._warm_up([now, *setups])
        warm = self._state()
        best = self._race(ENGINES, setups) if len(engines) > 1 else setups
        now = replace(now, engine=best[0].engine) if is_open else now
        best = self._race(LAYOUTS, self._all(with_layouts(setup, self._processors) for setup in best))
        finals = self._all(with_affinities(setup, self._processors) for setup in best)
        self._race(PROCESSORS, list(dict.fromkeys([now, *finals])), protected=(now,))
        finalists = self._races[PROCESSORS.name].finalists
        chosen = choose(finalists, lambda setup: (setup.size, setup != now, setup.engine != engines[0]))
        chosen, finalists = self._with_best_side(chosen, finalists, now)
        before = next((standing for standing in finalists if standing.subject == now), None)
        seconds = time.monotonic() - self._began_s
        return Tuned(chosen, before, self._races, steady, begin, warm, self._state(), seconds)

    def _with_best_side(
        self, chosen: Standing[Setup], finalists: list[Standing[Setup]], now: Setup
    ) -> tuple[Standing[Setup], list[Standing[Setup]]]:
        """The choice with the side of tiles that is faster beyond noise, if one is; and the last race's finalists."""
        usual = chosen.subject
        others = self._other_sides(usual)
        if not others:
            return chosen, finalists
        there = [standing.subject for standing in finalists]
        setups = list(dict.fromkeys([*([now] if now in there else []), usual, *others]))
        for setup in there:
            if setup not in setups:
                self._stand.drop(setup)
        self._race(TILES, setups, protected=(now, usual))
        finalists = self._races[TILES.name].finalists
        sides = [standing for standing in finalists if standing.subject in (usual, *others)]
        return choose(sides or [chosen], lambda setup: setup != usual), finalists

    def _all(self, groups: Iterable[Iterable[Setup]]) -> list[Setup]:
        """Those that this machine can run, each once."""
        return [each for each in dict.fromkeys(chain.from_iterable(groups)) if fits(each, self._processors)]

    def _warm_up(self, setups: Sequence[Setup]) -> bool:
        """Load the device with the first set-up that runs until nothing moves; whether it came to that."""
        windows: list[Window] = []
        limit_s = min(self._rules.warm_up_s, self._rules.budget_s / 4)
        for setup in setups:
            while self._passed_s < limit_s and not is_steady(windows):
                self._say(f"warming up: {setup}, {self._state()}")
                times = self._stand.frames_ms(setup, limit_s / WARM_UP_WINDOWS)
                if times is None:
                    break
                state = self._state()
                windows.append(Window(statistics.median(times), state.temperature_c, state.clock_mhz))
            if windows:
                break
        return is_steady(windows)

    def _race(self, stage: Stage, setups: Sequence[Setup], protected: Sequence[Setup] = ()) -> list[Setup]:
        """The finalists of a stage, best first; all others' workers end."""
        is_over = partial(self._is_past, stage.until_share)
        race = run_race(setups, self._visit(stage.name), stage.rules, is_over, protected)
        self._races[stage.name] = race
        if not race.finalists:
            problems = "; ".join(f"{setup}: {self._stand.problems.get(setup, 'not tried')}" for setup in setups)
            raise InferenceError(f"no set-up can run: {problems}")
        finalists = [standing.subject for standing in race.finalists]
        for setup in setups:
            if setup not in finalists:
                self._stand.drop(setup)
        return finalists

    def _visit(self, stage: str) -> Callable[[Setup], list[float] | None]:
        measure = self._stand.frames_ms if self._rules.goal == "latency" else self._stand.pace_ms

        def visit(setup: Setup) -> list[float] | None:
            self._check()
            self._say(f"{stage}: {setup}")
            return measure(setup, self._rules.visit_s)

        return visit

    def _state(self) -> DeviceState:
        return read_state([processor.number for processor in self._processors])

    def _is_past(self, share: float) -> bool:
        return self._passed_s > share * self._rules.budget_s

    def _say(self, text: str) -> None:
        self._tell(text, min(1.0, self._passed_s / self._rules.budget_s))

    @property
    def _passed_s(self) -> float:
        return time.monotonic() - self._began_s
