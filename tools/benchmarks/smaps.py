"""A process's memory as the kernel counts it, from /proc/PID/smaps."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

RING = "/memfd:frame-ring"
_HEAD = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ [0-9a-f]+ \S+ \d+\s*(.*)$")


@dataclass(frozen=True)
class Footprint:
    """kB. `pss`: each page divided by the number of processes that have it; `uss`: pages that nobody else has.

    `ring`: the part of `pss` that is the frame ring. Summed over the processes of a daemon, `pss` counts every shared
    page once.
    """

    pss_kb: int
    uss_kb: int
    ring_kb: int

    def __add__(self, other: Footprint) -> Footprint:
        return Footprint(self.pss_kb + other.pss_kb, self.uss_kb + other.uss_kb, self.ring_kb + other.ring_kb)


NOTHING = Footprint(0, 0, 0)


def footprint(pid: int) -> Footprint:
    """Of one process; nothing for one that has ended. Raises PermissionError for somebody else's."""
    try:
        return parse_smaps(Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8", errors="replace"))
    except (FileNotFoundError, ProcessLookupError):
        return NOTHING


def parse_smaps(text: str) -> Footprint:
    """The sum over all mappings."""
    pss = uss = ring = 0
    name = ""
    for line in text.splitlines():
        if head := _HEAD.match(line):
            name = head[1]
            continue
        key, _, rest = line.partition(":")
        if key == "Pss":
            kb = int(rest.split()[0])
            pss += kb
            ring += kb if name.startswith(RING) else 0
        elif key in ("Private_Clean", "Private_Dirty"):
            uss += int(rest.split()[0])
    return Footprint(pss, uss, ring)


def together(footprints: Iterable[Footprint]) -> Footprint:
    return sum(footprints, NOTHING)
