"""What the figures were measured on."""

from __future__ import annotations

from pathlib import Path


def cpu_name() -> str:
    """The machine's own name of its processor."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Hardware", "Model")))
    return next(names, "unknown CPU")
