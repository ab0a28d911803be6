"""`analyse`: what a network's layers cost and what it could do without."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tools.graph import Graph, Weights
from tools.sensitivity import Quality

HELD_OUT_EVERY = 16
RATIOS = (0.25, 0.5, 0.75)


def analyse(
    network: Annotated[Path, typer.Argument(help="network.npz, or a folder with one.")],
    out: Annotated[Path, typer.Option(help="Folder for tables and pictures; sensitivity goes on where it stopped.")],
    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="Data set whose held-out pictures (every 16th) judge the pruned networks; repeat for several."
        ),
    ] = None,
    ratios: Annotated[list[float] | None, typer.Option(help="Share of a class to prune; repeat for several.")] = None,
    method: Annotated[str, typer.Option(help="l1, fpgm or bn.")] = "l1",
    align: Annotated[int, typer.Option(min=1, help="Widths stay multiples of this.")] = 8,
    engine: Annotated[
        str, typer.Option(help="What runs the pruned networks: paddle, or torch where installed.")
    ] = "paddle",
    timing: Annotated[bool, typer.Option(help="Time each layer in Paddle Lite on x86.")] = True,
) -> None:
    """Tabulate layers with their times, scales of batch norm and, with --data, the sensitivity to pruning."""
    from tools.analysis import analyse_layers, analyse_scales, analyse_sensitivity
    from tools.network_file import load_network
    from tools.sensitivity import Study

    graph, weights = load_network(network)
    judged_on = ", ".join(str(folder.resolve()) for folder in data or [])
    study = Study(graph, weights, method, tuple(ratios or RATIOS), align, judged_on)
    quality = _held_out_quality(data, graph, engine) if data else None
    out.mkdir(parents=True, exist_ok=True)
    console = Console()
    analyse_scales(graph, weights, out)
    if timing:
        from tools.lite_timing import measure_ms

        analyse_layers(graph, out, measure_ms, console)
    if quality:
        analyse_sensitivity(study, quality, out, console)
    console.print(f"{out}: {', '.join(sorted(path.name for path in out.iterdir()))}", highlight=False)


def _held_out_quality(folders: list[Path], graph: Graph, engine: str) -> Quality:
    """Mean IoU on every 16th picture. Raises ToolError, before hours are spent, for data that does not fit."""
    from tools.dataset import check_pictures, load_dataset, same_classes
    from tools.engines import check_engine, predictor
    from tools.errors import ToolError
    from tools.validation import mean_iou

    check_engine(engine)
    datasets = [load_dataset(folder).split(HELD_OUT_EVERY)[1] for folder in folders]
    names = same_classes(datasets)
    if len(names) + 1 != graph.class_count:
        raise ToolError(
            f"{folders[0]} has {len(names)} defect classes, the network {graph.class_count - 1}; give data it learned"
        )
    for dataset in datasets:
        check_pictures(dataset, graph.input_channels == 2)

    def quality(pruned: Graph, weights: Weights) -> float:
        return mean_iou(predictor(engine, pruned, weights), pruned, datasets)

    return quality
