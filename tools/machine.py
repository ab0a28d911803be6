"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

WIDE_UNITS = frozenset(
    ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "asimddp", "i8mm", "bf16")
)


@dataclass(frozen=True)
class Machine:
    """`cores`: that this process may use. `units`: the vector and matrix units that predictors ask for."""

    cpu: str
    cores: int
    memory_gib: int
    units: tuple[str, ...]
    kernel: str
    python: str

    def __str__(self) -> str:
        return f"{self.cpu}, {self.cores} cores"


def this_machine() -> Machine:
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    flags = set(_first("flags", "Features").split())
    return Machine(
        cpu=cpu_name(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(memory_bytes / 2**30),
        units=tuple(sorted(WIDE_UNITS & flags)),
        kernel=f"{platform.system()} {platform.release().partition('-')[0]}",
        python=platform.python_version(),
    )


def cpu_name() -> str:
    """The machine's own name of its processor."""
    return _first("model name", "Hardware", "Model") or "unknown CPU"


def _first(*names: str) -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(names)), "")
