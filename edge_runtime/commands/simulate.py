"""`edge-runtime simulate`: a whole line around the real daemon, and what the ejector hit."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from edge_runtime.config import load_settings
from edge_runtime.simulation.daemon_settings import Mode
from edge_runtime.simulation.faults import NEED_ENCODER, NEED_RECORDING, NEED_SECOND_EYE, FaultKind, named_faults
from edge_runtime.simulation.findings import Findings, percentile
from edge_runtime.simulation.run import RunOptions, simulate
from edge_runtime.simulation.truth import Fate

SHOWN = 20
TOO_LATE_MS = 10.0


def mode_of(settings: Path | None, wish: Mode) -> Mode:
    """How the ejector is timed: as the settings say, where there are any. Raises ConfigError."""
    ejection = None if settings is None else load_settings(settings).ejection
    return wish if ejection is None else ejection.mode


def able_faults(wish: str, mode: str, second_eye_mm: float, wires: str) -> tuple[FaultKind, ...]:
    """The faults wished for; `all` means all that such a line can have. Raises ConfigError for an unknown name."""
    needs = {NEED_ENCODER: mode == "encoder", NEED_SECOND_EYE: second_eye_mm > 0, NEED_RECORDING: wires == "recording"}
    return named_faults(wish, cannot=[name for names, is_here in needs.items() if not is_here for name in names])


def run_simulation(options: RunOptions, as_json: bool) -> int:
    """Run it and print the findings; 0 when nothing was wrong or missed."""
    columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(f"{options.wish.parts} parts on the belt", total=None)
        findings = simulate(options, lambda done_s, all_s: progress.update(task, completed=done_s, total=all_s))
    if as_json:
        print(json.dumps(findings.as_json()))
    else:
        print_findings(Console(soft_wrap=True), findings)
    return 0 if findings.is_good else 1


def print_findings(console: Console, findings: Findings) -> None:
    """The figures as tables, then the parts that went wrong, one a line."""
    console.print(_faults_table(findings))
    latencies = " / ".join(str(percentile(findings.latency_ms, share)) for share in (0.5, 0.99, 1.0))
    console.print(f"result on the wire after p50 / p99 / max {latencies} ms, outside of fault windows")
    console.print(f"{findings.repeats} results repeated, the daemon was started {findings.daemon_starts} times")
    if findings.machine_late_ms > TOO_LATE_MS:
        late = f"up to {findings.machine_late_ms} ms"
        console.print(f"[yellow]the simulated machine itself was {late} late: this computer is too busy for it[/]")
    if aside_ms := percentile(findings.missed_by_ms, 0.5):
        when = f"{aside_ms:.0f} ms after they had left it" if aside_ms > 0 else f"{-aside_ms:.0f} ms before they came"
        console.print(f"[yellow]missed parts outside of faults: the ejector worked {when} (median)[/]")
    for each in findings.wrong[:SHOWN]:
        told = "; ".join(each.outcomes) or "no verdict"
        console.print(f"[red]part {each.number}[/] {each.fate.value} at {each.seen_s} s, during {each.during}: {told}")
    for problem in findings.problems[:SHOWN]:
        console.print(f"[red]{problem}[/]", markup=True, highlight=False)
    more = max(0, len(findings.wrong) - SHOWN) + max(0, len(findings.problems) - SHOWN)
    if more:
        console.print(f"and {more} more; --json has them all")
    verdict = "nothing was wrong or missed" if findings.is_good else "[red]parts or results were wrong[/]"
    console.print(f"{findings.parts} parts, {findings.defective} of them defective: {verdict}")


def _faults_table(findings: Findings) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False)  # within 80 columns
    table.add_column("fault", no_wrap=True)
    for heading in (
        "times",
        "seconds",
        "parts",
        "passed",
        "ejected\nright",
        "ejected\nwrong",
        "missed",
        "not\ninspected",
        "taken\naway",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, tally in findings.by_fault.items():
        figures = (tally.times or "", f"{tally.window_ms / 1000:.1f}" if tally.times else "", tally.parts)
        table.add_row(name, *(str(each) for each in figures), *(str(tally.fates[fate]) for fate in Fate))
    table.add_section()
    table.add_row("all", "", "", str(findings.parts), *(str(findings.fates[fate]) for fate in Fate), style="bold")
    return table
