"""`python -m tools …`: the model engineer's commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from edge_runtime.errors import EdgeRuntimeError
from tools.commands_train import distill, train

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

DataFolder = Annotated[Path, typer.Option(help="Data set folder (annotations.json, COCO style).")]
RunFolder = Annotated[Path, typer.Argument(help="Folder of a training run.")]
BundleFolder = Annotated[Path, typer.Argument(help="Bundle folder, opt_models/NAME/VERSION.")]


app.command()(train)
app.command()(distill)


@app.command()
def synthesize(
    out: Annotated[Path, typer.Option(help="Folder of the new data set.")],
    count: int = 200,
    side: Annotated[int, typer.Option(help="Side of a board in pixels.")] = 640,
    seed: int = 1,
    defects: Annotated[float, typer.Option(help="Mean number of defects on a board.")] = 8.0,
    binary: Annotated[bool, typer.Option(help="Two-level scans with black copper, not camera pictures.")] = False,
) -> None:
    """Paint made-up boards with known defects as a data set."""
    from dataclasses import replace

    from edge_runtime.vision.boards import BINARY, CAMERA
    from tools.synthesize import write_boards

    style = replace(BINARY if binary else CAMERA, defects_mean=defects, clean_share=0.1)
    write_boards(out, seed, count, side, style)


@app.command()
def export(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="Folder for model.pdmodel and model.pdiparams.")],
) -> None:
    """Write a run's network as a float Paddle program."""
    from tools.export import export_run

    Console().print(str(export_run(run, out)))


@app.command()
def convert(
    models: Annotated[list[Path], typer.Argument(help=".pdmodel, .pdiparams, __model__, __params__ or a folder.")],
    out: Annotated[Path, typer.Option(help="Folder for NAME.TARGET.nb.")],
    target: Annotated[list[str] | None, typer.Option(help="x86 or arm; repeat for several. Default: both.")] = None,
) -> None:
    """Convert Paddle models for Paddle Lite and prove the x86 twin against Paddle."""
    from tools.convert import TARGETS, convert_model
    from tools.reports import show_converted

    for model in models:
        show_converted(Console(), convert_model(model, out, target or TARGETS))


@app.command()
def verify(
    bundle: BundleFolder,
    run: Annotated[Path, typer.Option(help="The training run the bundle was made from.")],
    data: Annotated[list[Path] | None, typer.Option(help="Data set whose pictures are compared too.")] = None,
) -> None:
    """Compare a bundle's x86 artefact with the float network and measure the receptive radius."""
    from tools.dataset import load_dataset
    from tools.networks import receptive_radius_px
    from tools.reports import show_parity
    from tools.verify import verify_bundle

    parity, measured_px, network = verify_bundle(bundle, run, [load_dataset(folder) for folder in data or []])
    show_parity(Console(), parity, receptive_radius_px(network), measured_px)


@app.command()
def evaluate(
    bundle: BundleFolder,
    data: DataFolder,
) -> None:
    """Score a bundle on labelled pictures by the DeepPCB protocol."""
    from tools.dataset import check_pictures, load_dataset
    from tools.evaluate import evaluate_bundle
    from tools.reports import show_scores

    dataset = load_dataset(data)
    check_pictures(dataset)
    show_scores(Console(), f"{bundle} on {data}", evaluate_bundle(bundle, dataset))


@app.command()
def pack(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="New bundle folder, opt_models/NAME/VERSION.")],
    terms: Annotated[Path, typer.Option(help="Text file with the terms of the training data.")],
    data: Annotated[list[Path] | None, typer.Option(help="Data set to state the accuracy on; repeat for several.")],
) -> None:
    """Make a bundle from a run: convert, choose thresholds, measure, write golden tiles."""
    from tools.pack import PackRequest, pack_run

    evaluation = tuple(("/".join(folder.resolve().parts[-2:]), folder) for folder in data or [])
    text = terms.read_text(encoding="utf-8").strip()
    made = pack_run(PackRequest(run, out, out.parent.name, out.name, text, evaluation))
    Console().print(f"{made.folder}: {made.model_id}")


bench_app = typer.Typer(no_args_is_help=True, help="Measure what surrounds a model, side by side with the model alone.")
app.add_typer(bench_app, name="bench")


@bench_app.command()
def pipeline(
    bundle: Annotated[Path, typer.Option(help="Bundle folder.")] = Path("opt_models/pcb-unet/1"),
    side: Annotated[int, typer.Option(help="Side of the picture in pixels.")] = 2048,
    workers: Annotated[
        list[int] | None, typer.Option(help="Worker count; repeat for several (default 1 and 2).")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the median is shown.")] = 7,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line for each worker count.")] = False,
) -> None:
    """Frame time against the pure predictor time of its tiles."""
    from tools.bench import bench_pipeline

    bench_pipeline(bundle, side, workers or [1, 2], rounds, json)


@bench_app.callback()
def _bench() -> None:
    pass


def main() -> None:
    """Run one command; an expected error becomes one line and exit code 2."""
    try:
        app()
    except EdgeRuntimeError as exc:
        Console(stderr=True).print(f"[red]error:[/red] {exc}", highlight=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
