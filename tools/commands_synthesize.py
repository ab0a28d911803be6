"""`synthesize`: made-up boards as a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def synthesize(
    out: Annotated[Path, typer.Option(help="Folder of the new data set.")],
    count: Annotated[int, typer.Option(min=1, help="Number of boards.")] = 200,
    side: Annotated[int, typer.Option(min=64, max=8192, help="Side of a board in pixels.")] = 640,
    seed: Annotated[int, typer.Option(min=0, help="The same seed paints the same boards.")] = 1,
    defects: Annotated[float, typer.Option(min=0, max=10_000, help="Mean number of defects on a board.")] = 8.0,
    binary: Annotated[bool, typer.Option(help="Two-level scans with black copper, not camera pictures.")] = False,
) -> None:
    """Paint made-up boards with known defects as a data set."""
    from dataclasses import replace

    from edge_runtime.vision.boards import BINARY, CAMERA
    from tools.synthesize import write_boards

    style = replace(BINARY if binary else CAMERA, defects_mean=defects, clean_share=0.1)
    write_boards(out, seed, count, side, style)
