"""Which engine was the fastest for a bundle on this machine: measured once, kept in a file until something changes."""

from __future__ import annotations

import fcntl
import hashlib
import math
import os
import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, Field, ValidationError, model_validator
from typing_extensions import Self

from edge_runtime.files import write_atomically
from edge_runtime.validation import StrictModel

MAX_FILE_BYTES = 64 * 1024
CPU_LINES = re.compile(r"^(?:model name|flags|Features|CPU implementer|CPU part|Hardware)\s*:.*$", re.MULTILINE)
MAX_ATTEMPTS = 3
AGAIN_AFTER_S = 600.0  # workers that start together, or again, do not measure once more
WAITED_SHARE = 0.25  # of a tile's time, waiting for a processor: others had it
SAME_SHARE = 0.05  # engines are as fast as each other: the first, more exact one is taken
Milliseconds = Annotated[float, Field(gt=0)]


class Trial(StrictModel):
    """One engine tried: the time of a tile, or what was wrong; `wall_ms` is how long it took beside what else ran.

    The tile has `tile_px`; of a picture, `tiles` of them fall to one worker. `out_of_time`: with more time the answer
    may be another.
    """

    backend: str
    target: str
    precision: str
    tile_px: int = Field(default=0, ge=0)
    tiles: int = Field(default=1, ge=1)
    tile_ms: Milliseconds | None = None
    wall_ms: Milliseconds | None = None
    problem: str | None = None
    out_of_time: bool = False

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.tile_ms is None) == (self.problem is None):
            raise ValueError("a trial has a time or a problem")
        return self

    @property
    def name(self) -> str:
        """As people read it: the backend, then what is not as usual."""
        unusual = [self.target] if self.target.endswith("+int8") else []
        unusual += [self.precision] if self.precision != "f32" else []
        return " ".join([self.backend, *unusual])

    @property
    def frame_ms(self) -> float:
        """What decides among engines, whose tiles may have other sides; without a time: for ever."""
        return math.inf if self.tile_ms is None else self.tile_ms * self.tiles

    @property
    def waited(self) -> bool:
        """Whether something else had its processor for a good part of the time, in its best turn."""
        return bool(self.tile_ms and self.wall_ms and self.wall_ms > (1 + WAITED_SHARE) * self.tile_ms)

    def better(self, other: Trial) -> Trial:
        """Of two trials of one engine: with a time, and the shorter. What else runs only ever makes it longer."""
        return other if other.frame_ms < self.frame_ms else self

    def __str__(self) -> str:
        return f"{self.name}: {self.problem}" if self.tile_ms is None else f"{self.name} {self.tile_ms:.1f} ms"


class Choice(StrictModel):
    """Every trial, and what they depend on: with another `key` they must be made anew.

    The more exact engines come first. `loaded`: something else was computing meanwhile.
    """

    key: dict[str, str]
    measured_at: AwareDatetime
    trials: tuple[Trial, ...]
    attempts: int = 1
    loaded: bool = False

    @property
    def is_partial(self) -> bool:
        """Whether an engine had too little time, which may have been the machine's load."""
        return any(trial.out_of_time for trial in self.trials)

    @property
    def is_doubtful(self) -> bool:
        """Whether a quiet machine may choose otherwise."""
        return self.is_partial or self.loaded

    @property
    def is_worth_repeating(self) -> bool:
        """Doubtful, and not for lack of trying; without any time there is always something to win."""
        return self.is_doubtful and (self.attempts < MAX_ATTEMPTS or self.best is None or self.best.tile_ms is None)

    def stands_at(self, utc_now: datetime) -> bool:
        """Whether it need not be measured again: of just now, or as good as it gets."""
        age_s = (utc_now - self.measured_at).total_seconds()
        return not self.is_worth_repeating or 0 <= age_s < AGAIN_AFTER_S

    @property
    def best(self) -> Trial | None:
        """The fastest, or of several as fast the first; where no time was enough, the first that lacked nothing else.

        None: none can be used.
        """
        fastest_ms = min((trial.frame_ms for trial in self.trials), default=math.inf)
        good = [trial for trial in self.trials if trial.tile_ms and trial.frame_ms <= (1 + SAME_SHARE) * fastest_ms]
        return next(iter(good or (trial for trial in self.trials if trial.out_of_time)), None)

    def joined(self, before: Choice) -> Choice:
        """This one with what was better in an earlier one for the same key."""
        earlier = {(trial.backend, trial.target, trial.precision): trial for trial in before.trials}
        trials = tuple(
            trial.better(earlier.get((trial.backend, trial.target, trial.precision), trial)) for trial in self.trials
        )
        return self.model_copy(update={"trials": trials, "attempts": before.attempts + 1})

    def __str__(self) -> str:
        best, sides_px = self.best, {trial.tile_px for trial in self.trials}
        others = "; ".join(str(trial) for trial in self.trials if trial is not best or trial.tile_ms is None)
        told = best if best is None or best.tile_ms else f"{best.name}, as none was measured in time"
        rest = f" ({others})" if others else ""
        where = f", tiles of {' or '.join(map(str, sorted(sides_px)))} px" if sides_px - {0} else ""
        return f"{told or 'none'}{rest}{where}, measured {self.measured_at:%Y-%m-%d %H:%M} UTC{self._doubts()}"

    def _doubts(self) -> str:
        doubts = ["an engine had too little time"] if self.is_partial else []
        doubts += ["the machine was busy with other work meanwhile"] if self.loaded else []
        again = ": measured again at a later start" if self.is_worth_repeating else ""
        return f"; {' and '.join(doubts)}{again}" if doubts else ""


def machine_key() -> dict[str, str]:
    """What of this machine decides how fast an engine is: its processors, how many of them, its system.

    The same in every worker, whichever processors it is kept to.
    """
    try:
        found = sorted(set(CPU_LINES.findall(Path("/proc/cpuinfo").read_text())))
    except OSError:
        found = []
    cpu = hashlib.sha256("\n".join(found).encode()).hexdigest()[:16]
    return {"machine": platform.machine(), "cpu": cpu, "cores": str(os.cpu_count())}


def read_choice(path: Path, key: Mapping[str, str]) -> Choice | None:
    """The kept choice if it was made for the same key; None for any other, a damaged or a missing file."""
    try:
        with open(path, "rb") as file:
            choice = Choice.model_validate_json(file.read(MAX_FILE_BYTES))
    except (OSError, ValidationError):
        return None
    return choice if choice.key == key and choice.best is not None else None


def keep_choice(path: Path, choice: Choice) -> None:
    """Write a choice, whole or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, choice.model_dump_json(indent=1).encode() + b"\n")


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Held by one process at a time, so that measurements do not disturb each other. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
