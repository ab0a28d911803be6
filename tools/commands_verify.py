"""`verify` and `compare-stages`: what changed on the way from the float network to the artefacts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from tools.forms import PRIOR_SHIFT, Motif


def verify(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder, opt_models/NAME/VERSION.")],
    network: Annotated[Path, typer.Option(help="The network it was packed from: network.npz or a run's folder.")],
    data: Annotated[Path, typer.Option(help="Data set whose defects and verdicts are compared.")],
    out: Annotated[Path, typer.Option(help="Folder for report.md, report.html, verify.json and pictures.")],
    quantized: Annotated[Path | None, typer.Option(help="INT8 program to compare too, simulated by Paddle.")] = None,
    motif: Annotated[Motif, typer.Option(help="What the made-up pictures show that are compared too.")] = "boards",
    prior_shift: Annotated[float, typer.Option(help="As it was packed with.")] = PRIOR_SHIFT,
) -> None:
    """Hold every artefact that runs here against the float network; exit code 1 when it must not be trusted."""
    from tools.verification import picture_count, report_text, verify_bundle

    with _progress("comparing", picture_count(bundle, data, quantized is not None)) as advance:
        report = verify_bundle(bundle, network, data, quantized, motif, prior_shift, out, advance)
    Console().print(report_text(report).split("The pictures")[0], highlight=False)
    Console().print(f"{out / 'report.html'}", highlight=False)
    if report.failures():
        raise typer.Exit(1)


def compare_stages(
    out: Annotated[Path, typer.Option(help="Folder for stages.md and stages.json.")],
    stage: Annotated[list[Path], typer.Option(help="A stage's bundle; repeat, in order.")],
    data: Annotated[list[str], typer.Option(help="Data set, NAME=FOLDER; repeat.")],
    quantized: Annotated[Path | None, typer.Option(help="INT8 program made from the last stage.")] = None,
) -> None:
    """Measure the stages of a chain side by side."""
    from edge_runtime.inference.bundle import load_bundle
    from tools import stages
    from tools.commands_pack import labelled_folder

    bundles = [load_bundle(folder) for folder in stage]
    named = [labelled_folder(text) for text in data]
    with _progress("measuring", stages.picture_count(bundles, quantized is not None, named)) as advance:
        rows = stages.compare_stages(bundles, quantized, named, out, advance)
    Console().print(stages.stages_text(rows), highlight=False, soft_wrap=True)


@contextmanager
def _progress(title: str, total: int) -> Iterator[Callable[[], None]]:
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield lambda: progress.advance(task)
