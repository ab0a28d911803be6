"""The result of a benchmark as one value: what was measured, on what machine, and rows of figures."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edge_runtime import __version__
from edge_runtime.files import write_atomically
from tools.errors import ToolError
from tools.machine import Machine, this_machine

FORMAT = 1
Row = dict[str, Any]


@dataclass(frozen=True)
class Report:
    """`conditions`: what holds for all rows. `load_1min`: what else the machine had to do when the benchmark began."""

    benchmark: str
    conditions: Mapping[str, Any]
    rows: Sequence[Row]
    summary: Mapping[str, Any] = field(default_factory=dict)
    machine: Machine = field(default_factory=this_machine)
    measured_at: str = ""
    load_1min: float = 0.0
    version: str = __version__
    format: int = FORMAT


class Clerk:
    """Notes when a benchmark begins and how busy the machine is, and makes its report."""

    def __init__(self, benchmark: str) -> None:
        self._benchmark = benchmark
        self._began = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._load = round(os.getloadavg()[0], 2)

    def report(
        self, conditions: Mapping[str, Any], rows: Sequence[Row], summary: Mapping[str, Any] | None = None
    ) -> Report:
        return Report(self._benchmark, conditions, rows, summary or {}, measured_at=self._began, load_1min=self._load)


def to_json(report: Report) -> str:
    return json.dumps(asdict(report), indent=1) + "\n"


def from_json(text: str, where: str) -> Report:
    """Raises ToolError for anything but a report of this format."""
    try:
        raw = json.loads(text)
        report = Report(**{**raw, "machine": Machine(**raw["machine"])})
    except (ValueError, TypeError, KeyError) as exc:
        raise ToolError(f"{where}: not a benchmark's result ({exc}); make it with `bench … --json FILE`") from exc
    if report.format != FORMAT or not report.rows:
        raise ToolError(f"{where}: format {report.format} with {len(report.rows)} rows; measure it again")
    return report


def save(path: Path, report: Report) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, to_json(report).encode())


def load(path: Path) -> Report:
    """Raises ToolError for what is no report, OSError for what cannot be read."""
    return from_json(path.read_text(encoding="utf-8"), str(path))
