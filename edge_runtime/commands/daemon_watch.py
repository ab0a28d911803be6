"""Whether the daemon runs on this device: nothing may be measured beside it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import PurePath

import psutil

from edge_runtime.errors import ConfigError

PROGRAMS = ("edge-runtime", "edge_runtime", "edge_runtime/__main__.py")


def refuse_beside_daemon() -> None:
    """Raise ConfigError when a daemon runs here: it would be late, and what is measured would be wrong."""
    pids = [str(pid) for pid, words in _processes() if pid != os.getpid() and is_daemon(words)]
    if pids:
        raise ConfigError(
            f"the daemon runs on this device (process {', '.join(pids)}): its parts would be late and the measurement "
            "wrong; stop it first (`systemctl stop edge-runtime`), or --force"
        )


def is_daemon(words: Sequence[str]) -> bool:
    """Whether a command line is `edge-runtime run …`, in any of the ways to start it."""
    return any(_is_program(word) and following == "run" for word, following in pairwise(words))


def _is_program(word: str) -> bool:
    path = PurePath(word)
    return path.name == PROGRAMS[0] or word == PROGRAMS[1] or "/".join(path.parts[-2:]) == PROGRAMS[2]


def _processes() -> Iterable[tuple[int, list[str]]]:
    for process in psutil.process_iter():
        try:
            yield process.pid, process.cmdline()
        except psutil.Error:
            continue
