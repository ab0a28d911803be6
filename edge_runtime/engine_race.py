"""Engines tried side by side, each in a process of its own that may abort or hang: golden tiles, then a tile's time.

What else the machine does meanwhile must not decide. All are proved first; then they compute in turns, a few tiles
each, and each one's best turn counts; on one thread without a GPU by the processor's time, which no neighbour takes.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from pydantic import Field, ValidationError

from edge_runtime.config_inspection import InspectionSettings
from edge_runtime.engines import target_of
from edge_runtime.inference.engine_choice import Trial
from edge_runtime.validation import StrictModel

TURNS = 5
PROVING_SHARE = 0.7  # of the whole time; the rest is for the turns
ALONE_SHARE = 1 / 3  # of what is left for proving: on a loaded machine all beside each other would all be late
ANSWER_BYTES = 64 * 1024
ENDS_WITHIN_S = 1.0  # once killed; one that is stuck in a driver is left behind


class Answer(StrictModel):
    """A line of a trial's process: it has passed the golden tiles, a turn's median tile, or what is wrong."""

    proved: bool = False
    wall_ms: float | None = Field(default=None, gt=0)
    cpu_ms: float | None = Field(default=None, ge=0)
    problem: str | None = None


class Racer:
    """One engine's process. `problem` is set for good once it is out. One thread owns it."""

    def __init__(self, inspection: InspectionSettings) -> None:
        self.inspection = inspection
        self.is_proved = False
        self.is_late = False
        self.problem: str | None = None
        self._began_s = time.monotonic()
        self._turns: list[Answer] = []
        self._rest = b""
        command = [sys.executable, "-m", "edge_runtime.engine_trial"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._say(inspection.model_dump_json().encode())

    @property
    def waits_for_nothing(self) -> bool:
        """Proved or out."""
        return self.is_proved or self.problem is not None

    @property
    def age_s(self) -> float:
        """Since its process was started."""
        return time.monotonic() - self._began_s

    def fileno(self) -> int:
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def take_turn(self, until_s: float) -> None:
        """Have it compute a few tiles; without an answer in time it keeps the turns it had, or is out."""
        turns = len(self._turns)
        self._say(b"turn")
        while self.problem is None and len(self._turns) == turns:
            if not self.hear(until_s):
                self.give_up("the time was over before it had computed a tile" if not turns else None)
                return

    def hear(self, until_s: float) -> bool:
        """Take what it says next; False when that takes longer."""
        timeout_s = max(0.0, until_s - time.monotonic())
        if not select.select([self.fileno()], [], [], timeout_s)[0]:
            return False
        assert self._process.stdout is not None
        data = self._process.stdout.read1(ANSWER_BYTES)  # type: ignore[attr-defined]
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line)
        if not data and self.problem is None:
            self.problem = f"its process died (exit code {self._end()})"
        return True

    def give_up(self, problem: str | None) -> None:
        """End it for lack of time: its other measurements count if there is no `problem`."""
        self.is_late, self.problem = True, self.problem or problem
        self._process.kill()

    def trial(self) -> Trial:
        """What came of it. The process is ended, and not waited for longer than `ENDS_WITHIN_S`."""
        self._process.kill()
        self._end()
        named: dict[str, Any] = {
            "backend": self.inspection.backend,
            "target": target_of(self.inspection),
            "precision": self.inspection.openvino_precision,
            "tile_px": self.inspection.tile_px or 0,
        }
        if self.problem is not None:
            return Trial(**named, problem=self.problem, out_of_time=self.is_late)
        walls_ms = [turn.wall_ms for turn in self._turns if turn.wall_ms]
        cpus_ms = [turn.cpu_ms for turn in self._turns if turn.cpu_ms]
        wall_ms = min(walls_ms)
        tile_ms = min([wall_ms, *cpus_ms]) if computes_alone(self.inspection) else wall_ms
        return Trial(**named, tile_ms=tile_ms, wall_ms=wall_ms, out_of_time=self.is_late)

    def _take(self, line: bytes) -> None:
        try:
            answer = Answer.model_validate(json.loads(line))
        except (ValidationError, ValueError):
            self.problem = f"it said {line[:80]!r}"
            return
        self.is_proved |= answer.proved
        self.problem = answer.problem or self.problem
        if answer.wall_ms is not None:
            self._turns.append(answer)

    def _end(self) -> int | None:
        """The exit code of one that is dying; None: it takes too long."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdout.close()
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(ENDS_WITHIN_S)
        return None

    def _say(self, line: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return  # it is dead: what it said last, and how it ended, is read


def race(candidates: Iterable[InspectionSettings], limit_s: float) -> list[Trial]:
    """A trial for each, in their order, within `limit_s`; with tiles of `tile_px`, where it is set.

    They are proved one after the other; one that takes more than its share of the time goes on beside the next. Those
    that are not proved when 0.7 of the time is over are out, `out_of_time`; if that are all, the first to be proved in
    the rest of the time is left.
    """
    waiting, racers = list(candidates), []
    proved_by_s, until_s = (time.monotonic() + limit_s * share for share in (PROVING_SHARE, 1.0))
    try:
        while waiting:
            share_s = (proved_by_s - time.monotonic()) * max(ALONE_SHARE, 1 / len(waiting))
            racers.append(Racer(waiting.pop(0)))
            _await_proof([racers[-1]], time.monotonic() + share_s)
        _await_proof(racers, proved_by_s)
        _await_first(racers, until_s)
        for late in (each for each in racers if not each.waits_for_nothing):
            late.give_up(f"not ready within {late.age_s:.1f} s; raise inspection.start_timeout_ms")
        _take_turns(racers, until_s)
    finally:
        trials = [racer.trial() for racer in racers]
    return trials


def _await_proof(racers: Sequence[Racer], until_s: float) -> None:
    """Until every one is proved or out."""
    while time.monotonic() < until_s and not all(each.waits_for_nothing for each in racers):
        _hear(racers, until_s)


def _await_first(racers: Sequence[Racer], until_s: float) -> None:
    """Until one is proved, or all are out."""
    while time.monotonic() < until_s and not any(each.is_proved for each in racers):
        if all(each.waits_for_nothing for each in racers):
            return
        _hear(racers, until_s)


def _hear(racers: Sequence[Racer], until_s: float) -> None:
    """What those say next that are not yet proved."""
    open_ones = [each for each in racers if not each.waits_for_nothing]
    readable, _, _ = select.select(open_ones, [], [], max(0.0, until_s - time.monotonic()))
    for racer in readable:
        racer.hear(until_s)


def _take_turns(racers: Sequence[Racer], until_s: float) -> None:
    for _ in range(TURNS):
        for racer in racers:
            if racer.problem is None and not racer.is_late:
                racer.take_turn(until_s)


def computes_alone(inspection: InspectionSettings) -> bool:
    """Whether the time that its processor gives it is all that an engine needs: one thread, no GPU."""
    on_processor = inspection.backend != "onnxruntime" or inspection.onnxruntime_providers == ("cpu",)
    return inspection.threads == 1 and on_processor and not target_of(inspection).startswith(("rknn", "arm+"))
