"""`prune`: from options to a smaller network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tools.errors import ToolError
from tools.graph import Graph
from tools.prune import Pruned


def prune(
    network: Annotated[Path, typer.Argument(help="network.npz, or a folder with one.")],
    out: Annotated[Path, typer.Option(help="Folder for the smaller network.npz.")],
    method: Annotated[str, typer.Option(help="l1, fpgm or bn.")] = "l1",
    macs: Annotated[
        float | None, typer.Option(help="At most: a share up to 1, or multiply-adds for a 512 px tile.")
    ] = None,
    parameters: Annotated[float | None, typer.Option(help="At most: a share up to 1, or a number.")] = None,
    milliseconds: Annotated[float | None, typer.Option(help="At most, a tile in Paddle Lite on this x86 core.")] = None,
    ratio: Annotated[float | None, typer.Option(help="Share of each class of channels that goes.")] = None,
    ratio_of: Annotated[
        list[str] | None, typer.Option(help="PATTERN=SHARE for the layers that match; repeat, the last match holds.")
    ] = None,
    align: Annotated[int, typer.Option(help="Widths become multiples of this; Paddle Lite's fast kernels need 8.")] = 8,
    spare: Annotated[list[str] | None, typer.Option(help="Pattern of layers that keep all channels; repeat.")] = None,
    max_share: Annotated[float, typer.Option(help="At most this share of a class of channels goes.")] = 1.0,
    protect_head_input: Annotated[bool, typer.Option(help="Keep all channels that the head reads.")] = True,
) -> None:
    """Cut the least important channels out of a network; train it again afterwards."""
    from tools.prune import Wish, prune_file
    from tools.pruning.choice import Limits

    ratios = {**({"*": ratio} if ratio is not None else {}), **_ratios(ratio_of or [])}
    wish = Wish(macs, parameters, milliseconds, ratios)
    limits = Limits(align, tuple(spare or ()), max_share, protect_head_input)
    pruned = prune_file(network, out, method, wish, limits, _measure_tile_ms)
    show_pruned(Console(), pruned)


def show_pruned(console: Console, pruned: Pruned) -> None:
    widths = Table("layer", "channels before", "after", title="widths")
    for name, before, after in pruned.width_rows():
        widths.add_row(name, str(before), str(after), style=None if before == after else "bold")
    console.print(widths)
    for name, before, after, left in pruned.figures():
        console.print(f"{name}: {before:,} → {after:,} ({left})", highlight=False)


def _ratios(texts: list[str]) -> dict[str, float]:
    """PATTERN=SHARE each. Raises ToolError for anything else."""
    ratios = {}
    for text in texts:
        pattern, equals, share = text.rpartition("=")
        try:
            ratios[pattern] = float(share)
        except ValueError:
            equals = ""
        if not equals or not pattern:
            raise ToolError(f"--ratio-of {text!r}: expected PATTERN=SHARE, such as 'down*=0.5'")
    return ratios


def _measure_tile_ms(graph: Graph) -> float:
    """Paddle and Paddle Lite load only where milliseconds are wished for."""
    from tools.lite_timing import measure_ms
    from tools.pruning.plan import TILE_PX

    return measure_ms(graph, TILE_PX)
