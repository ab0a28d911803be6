"""`python -m tools …`: the model engineer's commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from edge_runtime.errors import EdgeRuntimeError

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)


@app.callback()
def commands() -> None:
    """Keeps the command's name even while it is the only one."""


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    data: Annotated[list[Path] | None, typer.Option(help="Data set folder; repeat for several.")] = None,
    share: Annotated[list[float] | None, typer.Option(help="Share of crops, one per --data; together 1.")] = None,
    steps: int = 3000,
    batch: int = 16,
    crop: Annotated[int, typer.Option(help="Side of a training crop in pixels.")] = 256,
    seed: int = 1,
    replicas: Annotated[int, typer.Option(help="Processes; one per free core.")] = 2,
    resume: Annotated[bool, typer.Option(help="Go on from the run's checkpoint with the run's settings.")] = False,
) -> None:
    """Train the network on crops of labelled pictures."""
    from tools.runs import DataShare, TrainSettings
    from tools.train import resume_run, run_training, start_run

    if resume:
        settings = resume_run(out)
    else:
        folders = data or []
        shares = share or [1.0 / len(folders) for _ in folders]
        sources = [DataShare(str(folder), part) for folder, part in zip(folders, shares, strict=False)]
        settings = start_run(
            out,
            TrainSettings(tuple(sources), steps=steps, batch=batch, crop_px=crop, seed=seed, replicas=replicas),
        )
    run_training(out, settings, resume, Console())


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


def main() -> None:
    """Run one command; an expected error becomes one line and exit code 2."""
    try:
        app()
    except EdgeRuntimeError as exc:
        Console(stderr=True).print(f"[red]error:[/red] {exc}", highlight=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
