"""`evaluate` and `diff`, ready to be registered: `app.command()(evaluate)`, `app.command()(diff)`."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tools.options import BundleTarget, OneBackend, OpenVinoForm, predictor_of
from tools.progress import progress_bar

DataFolder = Annotated[Path, typer.Option(help="Data set folder (annotations.json, COCO style).")]
Workers = Annotated[int | None, typer.Option(min=1, max=256, help="Processes; default: one a core.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder, opt_models/NAME/VERSION.")],
    data: DataFolder,
    out: Annotated[Path, typer.Option(help="Folder for report, figures, curves and overlays.")],
    workers: Workers = None,
    overlays: Annotated[int, typer.Option(min=0, max=1000, help="How many of the worst pictures to draw.")] = 20,
    choose_thresholds: Annotated[
        bool, typer.Option("--choose-thresholds", help="Find each class's best threshold on these pictures.")
    ] = False,
    allow_absent: Annotated[
        bool, typer.Option("--allow-absent", help="Go on although a class has no example in the data.")
    ] = False,
    backend: OneBackend = None,
    target: BundleTarget = None,
    precision: OpenVinoForm = "f32",
) -> None:
    """Measure a bundle on labelled pictures through the device's own code.

    OUT gets report.md, report.html, figures.json, curves.csv, curves.png, candidates.csv and overlays of the worst
    pictures; with --choose-thresholds also thresholds.csv and thresholds.png.
    """
    from tools.evaluation.processes import core_count
    from tools.evaluation.run import evaluate_bundle
    from tools.evaluation.values import Request
    from tools.reports import show_evaluation

    predictor = predictor_of(backend, target, precision)
    request = Request(bundle, data, out, workers or core_count(), overlays, choose_thresholds, allow_absent, predictor)
    with progress_bar("segmenting") as advance:
        done = evaluate_bundle(request, advance)
    show_evaluation(Console(), done)


def diff(
    bundle_a: Annotated[Path, typer.Argument(metavar="A", help="Bundle folder of the model in use.")],
    bundle_b: Annotated[Path, typer.Argument(metavar="B", help="Bundle folder of the model to take its place.")],
    data: DataFolder,
    recipe: Annotated[Path | None, typer.Option(help="Recipe file (TOML); default: every defect rejects.")] = None,
    workers: Workers = None,
    json: Json = False,
) -> None:
    """What changes when bundle B takes the place of A: defects, verdicts, size, speed, contract.

    Exit code 1 when a verdict changed on any picture, 0 when none did.
    """
    from tools.evaluation.bundle_diff import as_json, diff_bundles
    from tools.evaluation.processes import core_count
    from tools.reports import show_diff

    with progress_bar("segmenting") as advance:
        done = diff_bundles(bundle_a, bundle_b, data, recipe, workers or core_count(), advance)
    if json:
        print(json_module.dumps(as_json(done, data)))
    else:
        show_diff(Console(), done)
    raise typer.Exit(int(done.totals.verdicts_changed > 0))
