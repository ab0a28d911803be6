"""Which engine was the fastest for a bundle on this machine: measured once, kept in a file until something changes."""

from __future__ import annotations

import fcntl
import hashlib
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
PARTIAL_FOR_S = 600.0  # workers that start together, or again, do not measure once more
Milliseconds = Annotated[float, Field(gt=0)]


class Trial(StrictModel):
    """One engine tried: the time of a tile, or what was wrong; `wall_ms` is how long it took beside what else ran.

    `out_of_time`: with more time the answer may be another.
    """

    backend: str
    target: str
    precision: str
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

    def __str__(self) -> str:
        return f"{self.name}: {self.problem}" if self.tile_ms is None else f"{self.name} {self.tile_ms:.1f} ms"


class Choice(StrictModel):
    """Every trial, and what they depend on: with another `key` they must be made anew."""

    key: dict[str, str]
    measured_at: AwareDatetime
    trials: tuple[Trial, ...]
    attempts: int = 1

    @property
    def is_partial(self) -> bool:
        """Whether an engine had too little time, which may have been the machine's load."""
        return any(trial.out_of_time for trial in self.trials)

    def stands_at(self, utc_now: datetime) -> bool:
        """Whether it need not be measured again: complete, of just now, or as partial as it always was."""
        age_s = (utc_now - self.measured_at).total_seconds()
        return not self.is_partial or self.attempts >= MAX_ATTEMPTS or 0 <= age_s < PARTIAL_FOR_S

    @property
    def best(self) -> Trial | None:
        """The fastest that passed; None: none did."""
        passed = [trial for trial in self.trials if trial.tile_ms is not None]
        return min(passed, key=lambda trial: trial.tile_ms or 0.0, default=None)

    def __str__(self) -> str:
        others = "; ".join(str(trial) for trial in self.trials if trial is not self.best)
        rest = f" ({others})" if others else ""
        again = "; an engine had too little time: measured again at a later start" if self.is_partial else ""
        return f"{self.best or 'none'}{rest}, measured {self.measured_at:%Y-%m-%d %H:%M} UTC{again}"


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
