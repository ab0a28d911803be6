"""`python -m tools.hil`: build the box, make the checks, print the table.

Exit codes: 0 well, 1 a check failed, 2 the bench itself could not go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tools.hil import image
from tools.hil.checks import CHECKS
from tools.hil.machine import Box
from tools.hil.report import Finding, carry_out, save, show
from tools.hil.station import Station
from tools.hil.workshop import REPOSITORY, BenchError, remove, run

BUILD = REPOSITORY / "build" / "hil"
# The others stand on what these two leave behind.
ALWAYS = ("user, groups, device files", "start to READY", "adapter plugged in after the start")


def bench(
    only: Annotated[list[str] | None, typer.Option(help="Make only the checks whose name holds this.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Build everything anew, with the newest kernel.")] = False,
) -> None:
    """Boot the virtual box and make the checks."""
    if fresh:
        remove(BUILD)
    names = [name for name in CHECKS if not only or name in ALWAYS or any(part in name for part in only)]
    try:
        findings = make_checks(names, BUILD)
    except BenchError as exc:
        typer.echo(f"error: {exc}", err=True)
        raise typer.Exit(2) from exc
    show(findings, Console())
    raise typer.Exit(1 if any(finding.result == "failed" for finding in findings) else 0)


def make_checks(names: Sequence[str], folder: Path) -> list[Finding]:
    """One box, the checks in their order; `folder`/run keeps console, journal and findings."""
    kernel, initramfs, disk = image.prepare(folder)
    remove(folder / "run")
    (folder / "run").mkdir()
    project, overlay = folder / "run" / "project.tar", folder / "run" / "overlay.qcow2"
    image.write_project(project)
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", disk, overlay])
    station = Station(lambda: Box(kernel, initramfs, overlay, project, folder / "run"))
    findings = []
    try:
        for name in names:
            findings.append(carry_out(name, partial(CHECKS[name], station)))
            save(findings, folder / "run" / "findings.json")
        (folder / "run" / "journal.txt").write_text(station.box.shell("journalctl -o short-monotonic --no-pager"))
    finally:
        station.box.cut_power()
    return findings


if __name__ == "__main__":
    typer.run(bench)
