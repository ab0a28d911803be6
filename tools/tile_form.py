"""What leaves the tools, whatever engine it is for: the side of a tile, and the background's prior."""

from __future__ import annotations

import numpy as np

from tools.errors import ToolError
from tools.forms import PRIOR_SHIFT
from tools.graph import Graph, Weights

TILE_PX = 512


def with_prior(graph: Graph, weights: Weights, shift: float = PRIOR_SHIFT) -> Weights:
    """The same weights with the background made likelier by `shift` on its logit.

    Training sees defects far more often than the line does (crops around them, class weights, Dice) and is too sure of
    them: without the shift all useful thresholds would crowd at the end of a byte.
    """
    name = f"{graph.output}.bias"
    if name not in weights:
        raise ToolError(f"the network's last node {graph.output} has no bias to hold the background's prior")
    bias = weights[name].copy()
    bias[0] += np.float32(shift)
    return {**weights, name: bias}


def offered_range(wanted_px: tuple[int, int], stride_px: int, margin_px: int) -> tuple[int, int]:
    """The sides to offer of those wanted: multiples of the stride with a core as wide as a margin, or more.

    Raises ToolError for none.
    """
    first = max(wanted_px[0], 3 * margin_px)
    found = -(-first // stride_px) * stride_px, wanted_px[1] // stride_px * stride_px
    if found[0] > found[1]:
        raise ToolError(
            f"tiles of {wanted_px[0]} to {wanted_px[1]} px: none is a multiple of the stride {stride_px} px and "
            f"three times the margin {margin_px} px or more; offer larger ones"
        )
    return found


def check_tile(graph: Graph, tile_px: int) -> None:
    """Raise ToolError for a side the network cannot take."""
    if tile_px < graph.total_stride_px or tile_px % graph.total_stride_px:
        raise ToolError(
            f"tile {tile_px} px: must be a multiple of the network's total stride {graph.total_stride_px} px"
        )
