"""How the scales of batch norm are distributed: many near 0 promise that channels can go (Liu et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tools.graph import FloatArray, Graph

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def scale_magnitudes(graph: Graph, weights: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """|scale| of each batch norm, in the order of the graph."""
    return {node.name: np.abs(weights[f"{node.name}.scale"]) for node in graph if node.op == "bn"}


def quantile_rows(magnitudes: Mapping[str, FloatArray]) -> list[tuple[str, int, list[float]]]:
    """(batch norm, channels, its quantiles at `QUANTILES`)."""
    return [(name, len(values), np.quantile(values, QUANTILES).tolist()) for name, values in magnitudes.items()]
