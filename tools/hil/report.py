"""What a check says, and the table of all of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from tools.hil.workshop import BenchError

COLOURS = {"passed": "green", "failed": "red", "not possible": "yellow"}


class NotPossible(Exception):
    """What a check would need is not there; says what."""


@dataclass(frozen=True)
class Finding:
    """How one check ended: `figure` is what was measured, or why it failed or could not be made."""

    name: str
    result: Literal["passed", "failed", "not possible"]
    figure: str
    took_s: float


def expect(holds: bool, otherwise: str) -> None:
    """Raise BenchError, the check's failure, unless it holds."""
    if not holds:
        raise BenchError(otherwise)


def carry_out(name: str, check: Callable[[], str]) -> Finding:
    """Make one check; whatever the bench meets in it is its failure."""
    print(f"{name} …", flush=True)
    started_s = time.monotonic()

    def finding(result: Literal["passed", "failed", "not possible"], figure: str) -> Finding:
        print(f"{name}: {result}. {figure}", flush=True)
        return Finding(name, result, figure, round(time.monotonic() - started_s, 1))

    try:
        return finding("passed", check())
    except NotPossible as exc:
        return finding("not possible", str(exc))
    except BenchError as exc:
        return finding("failed", str(exc))


def show(findings: Sequence[Finding], console: Console) -> None:
    table = Table("check", "result", "figure", "s", title="Virtual box (emulated: no figure here is a latency)")
    for finding in findings:
        first_line = finding.figure.partition("\n")[0]
        result = f"[{COLOURS[finding.result]}]{finding.result}[/]"
        table.add_row(finding.name, result, first_line, f"{finding.took_s:.0f}")
    console.print(table)


def save(findings: Sequence[Finding], path: Path) -> None:
    path.write_text(json.dumps([asdict(finding) for finding in findings], indent=2) + "\n")
