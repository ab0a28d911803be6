"""`bench …`: what surrounds a model, side by side with the model alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

bench = typer.Typer(no_args_is_help=True, help="Measure what surrounds a model, side by side with the model alone.")


@bench.command()
def pipeline(
    bundle: Annotated[Path, typer.Option(help="Bundle folder.")] = Path("opt_models/board-unet/1"),
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


@bench.callback()
def _bench() -> None:
    pass
