"""`quantize` and `convert`: from a float Paddle program to an INT8 one, and from either to Paddle Lite files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tools.calibration import load_tiles
from tools.convert import Converted, convert_model
from tools.opt_targets import ALL_TARGETS, PRECISIONS, TARGETS
from tools.quantize import Algorithm, Quantized, quantize_model
from tools.simulate import Agreement

Models = Annotated[list[Path], typer.Argument(help=".pdmodel, .pdiparams, __model__, __params__ or a folder.")]
SHOWN_LAYERS = 12


def quantize(
    model: Annotated[Path, typer.Argument(help="Float program: .pdmodel, .pdiparams or a folder.")],
    calibration: Annotated[Path, typer.Option(help="Preprocessed tiles: .npz, .npy, or a folder of .npy (C, H, W).")],
    out: Annotated[Path, typer.Option(help="Folder for the INT8 NAME.pdmodel and .pdiparams.")],
    algorithm: Annotated[Algorithm, typer.Option(help="How scales are chosen: avg, hist or KL.")] = "avg",
    tolerance: Annotated[
        float | None,
        typer.Option(help="Leave layers in float until no more than this share of the output moves by over 2 of 255."),
    ] = None,
    transposed: Annotated[bool, typer.Option(help="Transposed convolutions too: for NPUs, never for x86.")] = False,
) -> None:
    """Quantise a float program to INT8, judged by Paddle's own simulation."""
    tiles = load_tiles(calibration)
    quality = None if tolerance is None else Agreement(model, tiles)
    made = quantize_model(
        model, tiles, out, algorithm, quality=quality, tolerance=tolerance or 0.0, transposed=transposed
    )
    show_quantized(Console(), made)


def convert(
    models: Models,
    out: Annotated[Path, typer.Option(help="Folder for NAME[.SIZE].TARGET[.PRECISION].nb.")],
    target: Annotated[
        list[str] | None, typer.Option(help=f"Repeat for several: {' '.join(ALL_TARGETS)}. Default: x86 and arm.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help=f"{' '.join(PRECISIONS)}. Default: as the program and the target say.")
    ] = None,
    size: Annotated[list[int] | None, typer.Option(help="Side of the tiles in pixels; repeat: one file each.")] = None,
) -> None:
    """Convert Paddle models for Paddle Lite and prove the x86 twin against Paddle."""
    for model in models:
        for made in convert_model(model, out, target or TARGETS, precision, size or ()):
            Console().print(describe_converted(made), highlight=False)


def describe_converted(made: Converted) -> str:
    """One line: the file, its size, and what is known of its answers."""
    checked = "not run here"
    if made.parity is not None:
        worst = max(parity.max_difference for parity in made.parity)
        checked = f"equals Paddle within {worst:.3g}"
        if not made.agrees:
            checked = (
                f"differs from Paddle by up to {worst:.3g}, as 8-bit arithmetic on x86 does; judge it on the device"
            )
    return f"{made.path}: {made.path.stat().st_size:,} bytes, {made.precision}, opt {made.opt_version}, {checked}"


def show_quantized(console: Console, made: Quantized) -> None:
    """The layers that lose most, the steps, and where the program lies."""
    table = Table("layer", "kind", "weight", "error alone", "stays", title=f"most harmful of {len(made.layers)} layers")
    for layer in made.layers[:SHOWN_LAYERS]:
        shape = "x".join(map(str, layer.weight_shape))
        table.add_row(layer.name, layer.kind, shape, f"{layer.error:.4f}", "float" if layer.kept_float else "int8")
    console.print(table)
    for step in made.steps:
        console.print(f"{len(step.float_layers)} layers in float: quality {step.quality:.5f}")
    console.print(f"{made.path}: {made.algorithm}, all layers together {made.error:.4f} of the answer's spread")
