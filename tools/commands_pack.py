"""`export`, `tiles`, `pack` and `recipe`: from a network to a bundle."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from edge_runtime.inference.targets import RKNN_TARGETS
from tools.errors import ToolError
from tools.forms import PRIOR_SHIFT, RKNN_PYTHON, TILE_RANGE_PX, InputForm, Motif, OutputForm, ThresholdsBy

NetworkFile = Annotated[Path, typer.Argument(help="network.npz, or the folder of a run.")]
Calibration = Annotated[
    Path | None,
    typer.Option(help="Tiles for onnx+int8 and rknn+int8: .npz, .npy, or a folder of .npy (C, H, W)."),
]


def _precisions(names: list[str] | None) -> list[str] | None:
    for name in names or []:
        if name not in ("bf16", "f16"):
            raise typer.BadParameter(f"{name!r}: there are bf16 and f16")
    return names


Allow = Annotated[
    list[str] | None,
    typer.Option(
        callback=_precisions,
        help="Precision of OpenVINO (bf16, f16) that may run the target onnx, as far as it moves here.",
    ),
]
TileRange = Annotated[
    tuple[int, int] | None, typer.Option(help="Smallest and largest side of tiles to offer, in pixels.")
]
PriorShift = Annotated[float, typer.Option(help="How much likelier the background is made, on its logit.")]


def export(
    network: NetworkFile,
    out: Annotated[Path, typer.Option(help="Folder for model.pdmodel and model.pdiparams; model.SIZE for several.")],
    size: Annotated[list[int] | None, typer.Option(help="Side of the tiles in pixels; repeat. Default: 512.")] = None,
    input_form: Annotated[
        InputForm, typer.Option("--input", help="float32 (NCHW), or uint8 (NHWC, scaled inside).")
    ] = "float32",
    output_form: Annotated[
        OutputForm, typer.Option("--output", help="class_and_score, score (one class), or probabilities (float32).")
    ] = "class_and_score",
    prior_shift: PriorShift = PRIOR_SHIFT,
) -> None:
    """Write a network as a float Paddle program."""
    from tools.export import MODEL_NAME, export_network
    from tools.network_file import load_network
    from tools.tile_form import TILE_PX, with_prior

    graph, weights = load_network(network)
    weights = with_prior(graph, weights, prior_shift)
    sides = size or [TILE_PX]
    for side in sides:
        prefix = out / (MODEL_NAME if len(sides) == 1 else f"{MODEL_NAME}.{side}")
        made = export_network(graph, weights, prefix, side, input_form, output_form)
        Console().print(str(made), highlight=False)


def tiles(
    out: Annotated[Path, typer.Option(help="Folder for tiles.npz.")],
    data: Annotated[list[Path], typer.Option(help="Data set folder; repeat for several.")],
    network: Annotated[Path, typer.Option(help="The network they are for: network.npz, or the folder of a run.")],
    count: Annotated[int, typer.Option(min=1, help="Number of tiles.")] = 32,
    tile: Annotated[int, typer.Option(help="Side in pixels.")] = 512,
) -> None:
    """Cut calibration tiles out of a data set, prepared as on the device."""
    from tools.calibration_tiles import write_tiles

    Console().print(str(write_tiles(out, data, network, count, tile)), highlight=False)


def pack(
    network: NetworkFile,
    out: Annotated[Path, typer.Option(help="New bundle folder, opt_models/NAME/VERSION.")],
    terms: Annotated[Path, typer.Option(help="Text file with the terms of the training data.")],
    thresholds_on: Annotated[
        list[Path] | None,
        typer.Option(help="Data set whose held-out pictures choose the thresholds; default: those of the run."),
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option(help="Data set to state the accuracy on, FOLDER or NAME=FOLDER; repeat.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Default: the folder's parent's name.")] = None,
    target: Annotated[list[str] | None, typer.Option(help="Repeat; default x86, arm, arm+fp16, onnx.")] = None,
    quantized: Annotated[Path | None, typer.Option(help="INT8 program for the target arm+int8.")] = None,
    calibration: Calibration = None,
    allow: Allow = None,
    thresholds_by: Annotated[
        ThresholdsBy, typer.Option(help="F score of boxes, or Dice of cells where the shape counts.")
    ] = "boxes",
    motif: Annotated[Motif, typer.Option(help="What the golden pictures show.")] = "boards",
    tile_range: TileRange = TILE_RANGE_PX,
    prior_shift: PriorShift = PRIOR_SHIFT,
    holdout_every: Annotated[int, typer.Option(min=2, help="Which pictures are held out; as in training.")] = 16,
    notes: Annotated[Path | None, typer.Option(help="Markdown file for the bundle's README.")] = None,
) -> None:
    """Make a bundle: convert, choose thresholds, measure, write golden tiles."""
    from tools.pack import DEFAULT_TARGETS, PackRequest, held_out, pack_network

    request = PackRequest(
        network=network,
        out=out,
        name=name or out.parent.name,
        version=out.name,
        terms=_text(terms, "the terms of the training data").strip(),
        thresholds_on=held_out(network, thresholds_on, holdout_every),
        evaluation=tuple(labelled_folder(one) for one in data or []),
        quantized=quantized,
        calibration=calibration,
        allow=tuple(allow or ()),
        motif=motif,
        tile_range_px=tile_range,
        thresholds_by=thresholds_by,
        prior_shift=prior_shift,
        notes=_text(notes, "notes") if notes else "",
        targets=tuple(target) if target else DEFAULT_TARGETS,
    )
    made = pack_network(request)
    Console().print(f"{made.folder}: {made.model_id}", highlight=False)


def repack(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder, opt_models/NAME/VERSION.")],
    out: Annotated[Path, typer.Option(help="New bundle folder, opt_models/NAME/NEW-VERSION.")],
    network: Annotated[
        Path | None,
        typer.Option(help="The network it was packed from: network.npz or a run's folder. Default: its ONNX file."),
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="Networks to add; repeat. Default: onnx, none with --tile-range.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Networks that are there already are made anew.")] = False,
    tile_range: TileRange = None,
    motif: Annotated[Motif, typer.Option(help="What the golden tile for --tile-range shows.")] = "boards",
    data: Annotated[
        list[str] | None, typer.Option(help="Data set to measure on anew, FOLDER or NAME=FOLDER; repeat.")
    ] = None,
    calibration: Calibration = None,
    allow: Allow = None,
    prior_shift: PriorShift = PRIOR_SHIFT,
    rknn_python: Annotated[
        Path, typer.Option(help="Interpreter that has rknn-toolkit2, for the targets rknn and rknn+int8.")
    ] = RKNN_PYTHON,
) -> None:
    """Make a new version of a bundle with further networks or sides of tiles; thresholds and golden tiles stay."""
    from tools.artefacts import Wanted
    from tools.calibration import load_tiles
    from tools.repack import RepackRequest
    from tools.repack import repack as write
    from tools.rknn.conversion import Request

    tiles = None if calibration is None else load_tiles(calibration)
    targets = target or ([] if tile_range else ["onnx"])
    npu = tuple(name for name in targets if name in RKNN_TARGETS)
    request = RepackRequest(
        bundle=bundle,
        out=out,
        wanted=Wanted(tuple(name for name in targets if name not in npu), calibration=tiles),
        rknn=Request(npu, rknn_python, tiles) if npu else None,
        network=network,
        prior_shift=prior_shift,
        allow=tuple(allow or ()),
        replace=replace,
        tile_range_px=tile_range,
        motif=motif,
        evaluation=tuple(labelled_folder(one) for one in data or []),
    )
    made = write(request)
    Console().print(f"{made.folder}: {made.model_id}", highlight=False)


def recipe(
    file: Annotated[Path, typer.Argument(help="Recipe, as in opt_models/recipes.")],
    until: Annotated[str | None, typer.Option(help="Stop after this step.")] = None,
    show: Annotated[bool, typer.Option("--show", help="Only list the steps and which are done.")] = False,
    trainer: Annotated[
        str, typer.Option(help="Interpreter of the training steps, where PyTorch is installed in another one.")
    ] = sys.executable,
) -> None:
    """Run a whole chain from one file: train, prune, distil, quantise, compare, pack. It goes on where it stopped."""
    from tools.recipe import read_recipe, steps
    from tools.recipe_check import check_data, check_recipe
    from tools.recipe_runner import run_recipe, show_steps

    chosen = read_recipe(file)
    check_recipe(chosen, str(file))
    names = [step.name for step in steps(chosen)]
    if until is not None and until not in names:
        raise ToolError(f"--until {until}: the steps are {', '.join(names)}")
    if show:
        show_steps(chosen, Console())
    else:
        check_data(chosen, str(file))
        run_recipe(chosen, until, trainer, Console())


def _text(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as exc:
        raise ToolError(f"{path}: {exc.strerror}; give a text file with {what}") from exc


def labelled_folder(text: str) -> tuple[str, Path]:
    """FOLDER is called by its last two parts."""
    label, equals, folder = text.partition("=")
    if equals:
        return label, Path(folder)
    return "/".join(Path(text).resolve().parts[-2:]), Path(text)
