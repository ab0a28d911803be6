"""`verify` and `compare-stages`: what changed on the way from the float network to the artefacts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tools.forms import PRIOR_SHIFT, Motif
from tools.options import BundleTarget, OpenVinoForm, predictor_of
from tools.progress import progress_bar


def verify(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder, opt_models/NAME/VERSION.")],
    network: Annotated[Path, typer.Option(help="The network it was packed from: network.npz or a run's folder.")],
    data: Annotated[Path, typer.Option(help="Data set whose defects and verdicts are compared.")],
    out: Annotated[Path, typer.Option(help="Folder for report.md, report.html, verify.json and pictures.")],
    quantized: Annotated[Path | None, typer.Option(help="INT8 program to compare too, simulated by Paddle.")] = None,
    motif: Annotated[Motif, typer.Option(help="What the made-up pictures show that are compared too.")] = "boards",
    prior_shift: Annotated[float, typer.Option(help="As it was packed with.")] = PRIOR_SHIFT,
    backend: Annotated[list[str] | None, typer.Option(help="What runs it; repeat. As for evaluate.")] = None,
    target: BundleTarget = None,
    precision: OpenVinoForm = "f32",
) -> None:
    """Hold every artefact that runs here against the float network; exit code 1 when it must not be trusted."""
    from tools.verification import VerifyRequest, report_text, verify_bundle

    named: list[str | None] = [*backend] if backend else [None]
    predictors = tuple(predictor_of(name, target, precision) for name in named)
    request = VerifyRequest(bundle, network, data, out, quantized, motif, prior_shift, predictors)
    with progress_bar("comparing") as advance:
        report = verify_bundle(request, advance)
    Console().print(report_text(report, with_pictures=False), highlight=False, markup=False)
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
    from tools.commands_pack import labelled_folder
    from tools.stages import compare_bundles, stages_text

    bundles = [load_bundle(folder) for folder in stage]
    named = [labelled_folder(text) for text in data]
    with progress_bar("measuring") as advance:
        rows = compare_bundles(bundles, quantized, named, out, advance)
    Console().print(stages_text(rows), highlight=False, soft_wrap=True, markup=False)
