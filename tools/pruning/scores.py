"""What units are worth by their weights alone; the lowest go first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from tools.errors import ToolError
from tools.graph import FloatArray, Node
from tools.pruning.groups import LAYERS, Dependencies

Scores = npt.NDArray[np.float64]
NodeScore = Callable[[Node, Mapping[str, FloatArray]], Scores | None]


def score_units(dependencies: Dependencies, weights: Mapping[str, FloatArray], method: str) -> Scores:
    """The mean over all channels of a unit that the method can judge; infinity where there is none.

    Raises ToolError for an unknown method.
    """
    check_method(method)
    sums, counts = np.zeros(dependencies.unit_count), np.zeros(dependencies.unit_count)
    for node in dependencies.graph:
        values = METHODS[method](node, weights)
        if values is not None:
            np.add.at(sums, dependencies.unit_of[node.name], values)
            np.add.at(counts, dependencies.unit_of[node.name], 1.0)
    return np.divide(sums, counts, out=np.full_like(sums, np.inf), where=counts > 0)


def check_method(method: str) -> None:
    if method not in METHODS:
        raise ToolError(f"no pruning method is called {method!r}; allowed: {', '.join(METHODS)}")


def _l1(node: Node, weights: Mapping[str, FloatArray]) -> Scores | None:
    """L1 norm of each filter over the layer's mean. Source: Li et al. 2017, arXiv:1608.08710."""
    return _over_mean(np.abs(_filters(node, weights)).sum(axis=1)) if node.op in LAYERS else None


def _fpgm(node: Node, weights: Mapping[str, FloatArray]) -> Scores | None:
    """Summed distance of each filter to its layer's others, over the layer's mean: small is replaceable.

    Source: He et al. 2019, arXiv:1811.00250 (FPGM, equation 6).
    """
    if node.op not in LAYERS:
        return None
    filters = _filters(node, weights)
    norms = (filters**2).sum(axis=1)
    squares = norms[:, None] + norms[None, :] - 2 * filters @ filters.T
    np.fill_diagonal(squares, 0.0)
    return _over_mean(np.sqrt(np.maximum(squares, 0.0)).sum(axis=1))


def _bn(node: Node, weights: Mapping[str, FloatArray]) -> Scores | None:
    """|scale| of batch norm, comparable between layers as it is. Source: Liu et al. 2017, arXiv:1708.06519."""
    return np.abs(weights[f"{node.name}.scale"].astype(np.float64)) if node.op == "bn" else None


METHODS: Mapping[str, NodeScore] = MappingProxyType({"l1": _l1, "fpgm": _fpgm, "bn": _bn})


def _filters(node: Node, weights: Mapping[str, FloatArray]) -> Scores:
    """(output channels, everything that one reads)."""
    values = weights[f"{node.name}.weight"].astype(np.float64)
    return (values.swapaxes(0, 1) if node.op == "deconv" else values).reshape(node.channels, -1)


def _over_mean(values: Scores) -> Scores:
    mean = values.mean()
    return values / mean if mean > 0 else values
