"""Networks as data: a graph of a dozen kinds of nodes, its weights by name, and pure arithmetic on both.

Paddle and PyTorch build the same computation from it (`paddle_network.py`, `torch_network.py`), the pruner cuts
channels out of it (`pruning/`), and a file holds it (`network_file.py`). None of that needs a tensor library here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Weights = dict[str, FloatArray]

INPUT = "input"
OPS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "conv": (1, 1),
        "deconv": (1, 1),
        "bn": (1, 1),
        "relu": (1, 1),
        "sigmoid": (1, 1),
        "mean": (1, 1),
        "maxpool": (1, 1),
        "resize": (1, 1),
        "add": (2, 64),
        "mul": (2, 2),
        "concat": (2, 64),
    }
)
BN_STATISTICS = ("mean", "variance")


@dataclass(frozen=True)
class Node:
    """One operation; `name` names its output and its weights.

    conv: `kernel` x `kernel`, zero padding kernel // 2, `stride`, `groups`, `bias`. deconv: kernel = stride = factor
    (2), no padding. bn, relu, sigmoid: cell by cell. mean: global average, 1 x 1 cells. maxpool: 2 x 2, stride 2.
    resize: bilinear, `stride` times the size, half-pixel centres. mul: the second input has 1 x 1 cells.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    channels: int = 0
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    bias: bool = False

    def __post_init__(self) -> None:
        if self.op not in OPS:
            raise ValueError(f"node {self.name}: operation {self.op!r}; known are {', '.join(OPS)}")
        low, high = OPS[self.op]
        if not low <= len(self.inputs) <= high:
            raise ValueError(f"node {self.name}: {self.op} takes {low} to {high} inputs, not {len(self.inputs)}")
        if self.op in ("conv", "deconv") and (
            self.channels < 1 or self.groups < 1 or self.channels % self.groups or self.kernel < 1 or self.stride < 1
        ):
            raise ValueError(f"node {self.name}: channels, kernel, stride and groups do not fit: {self}")
        if self.op == "conv" and self.kernel % 2 == 0:
            raise ValueError(f"node {self.name}: kernel {self.kernel}; only odd ones keep the cells in their places")
        if self.op == "deconv" and (self.groups != 1 or self.kernel != self.stride):
            raise ValueError(f"node {self.name}: a deconv has one group and taps that do not overlap: {self}")
        if self.op == "resize" and self.stride < 2:
            raise ValueError(f"node {self.name}: a resize makes the size {self.stride} times as large; at least 2")


@dataclass(frozen=True)
class Graph:
    """Nodes in the order they run; `output` names the node that gives the logits, one channel a class.

    Raises ValueError for an input that no earlier node gives, a name given twice, and channels or resolutions that do
    not fit.
    """

    input_channels: int
    nodes: tuple[Node, ...]
    output: str

    def __post_init__(self) -> None:
        widths = self.channels()
        if self.output not in widths or self.input_channels < 1:
            raise ValueError(f"output {self.output!r} is no node, or {self.input_channels} input channels")
        if np.isinf(self.cell_px()[self.output]):
            raise ValueError(f"output {self.output!r} lies behind a global mean: one answer for the whole picture")

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __getitem__(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def channels(self) -> dict[str, int]:
        """Channels of each node's output, the graph's input included under `INPUT`."""
        widths = {INPUT: self.input_channels}
        for node in self.nodes:
            if node.name in widths:
                raise ValueError(f"node {node.name}: the name is given twice")
            missing = [name for name in node.inputs if name not in widths]
            if missing:
                raise ValueError(f"node {node.name}: no earlier node gives {', '.join(missing)}")
            widths[node.name] = _output_channels(node, [widths[name] for name in node.inputs])
        return widths

    def cell_px(self) -> dict[str, float]:
        """Side of one output cell of each node in input pixels; infinity behind a global mean."""
        sides = {INPUT: 1.0}
        for node in self.nodes:
            sides[node.name] = _input_cell_px(node, [sides[name] for name in node.inputs]) * _cell_growth(node)
        return sides

    @property
    def output_stride_px(self) -> int:
        return int(self.cell_px()[self.output])

    @property
    def total_stride_px(self) -> int:
        """What the sides of an input must be multiples of."""
        return int(max(side_px for side_px in self.cell_px().values() if np.isfinite(side_px)))

    @property
    def class_count(self) -> int:
        """Classes including the background."""
        return self.channels()[self.output]

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Every weight and statistic by name, in the order of the nodes."""
        widths = self.channels()
        return {
            f"{node.name}.{part}": shape
            for node in self.nodes
            for part, shape in _weight_shapes(node, widths[node.inputs[0]], widths[node.name]).items()
        }

    def trained_shapes(self) -> dict[str, tuple[int, ...]]:
        """The weights that training changes by gradient: all but the statistics of batch norm."""
        return {name: shape for name, shape in self.weight_shapes().items() if not is_statistic(name)}

    def statistic_shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: shape for name, shape in self.weight_shapes().items() if is_statistic(name)}

    def with_nodes(self, changed: Mapping[str, Node]) -> Graph:
        """The same graph with some nodes replaced by name."""
        return replace(self, nodes=tuple(changed.get(node.name, node) for node in self.nodes))


def _input_cell_px(node: Node, sides_px: list[float]) -> float:
    compared = sides_px[:1] if node.op == "mul" else sides_px
    if len(set(compared)) != 1 or not (node.op != "mul" or np.isinf(sides_px[1])):
        raise ValueError(f"node {node.name}: {node.op} of cells of {sides_px} px; they do not fit")
    return sides_px[0]


def _cell_growth(node: Node) -> float:
    if node.op in ("deconv", "resize"):
        return 1.0 / node.stride
    return {"conv": float(node.stride), "maxpool": 2.0, "mean": float("inf")}.get(node.op, 1.0)


def run_nodes(graph: Graph, x: Any, run: Callable[[Node, list[Any]], Any]) -> dict[str, Any]:
    """Every node's output for the input `x`, by name; `run` computes one node from its inputs."""
    values = {INPUT: x}
    for node in graph:
        values[node.name] = run(node, [values[name] for name in node.inputs])
    return values


def is_statistic(name: str) -> bool:
    """Whether a weight is a running statistic of batch norm."""
    return name.rpartition(".")[2] in BN_STATISTICS


def count_parameters(graph: Graph) -> int:
    return sum(prod(shape) for shape in graph.trained_shapes().values())


def count_macs(graph: Graph, tile_px: int) -> int:
    """Multiply-adds of all convolutions for one square tile; everything else is below a few per cent."""
    return sum(macs_by_node(graph, tile_px).values())


def macs_by_node(graph: Graph, tile_px: int) -> dict[str, int]:
    """Multiply-adds of each convolution. A deconvolution's taps do not overlap: each input cell meets every weight."""
    sides, shapes = graph.cell_px(), graph.weight_shapes()
    counts = {}
    for node in graph:
        if node.op in ("conv", "deconv"):
            side_px = sides[node.name] if node.op == "conv" else sides[node.inputs[0]]
            cells = 1 if np.isinf(side_px) else int(tile_px / side_px) ** 2
            counts[node.name] = prod(shapes[f"{node.name}.weight"]) * cells
    return counts


def receptive_radius_px(graph: Graph) -> int:
    """How far outside an output cell's own pixels an input pixel can still change it, at worst over all cells.

    Walks the intervals of cells each node needs back to the input, on one axis (kernels are square). A global mean
    sees the whole tile and is left out: stitching with squeeze-excitation is not exact.
    """
    cells = graph.total_stride_px // graph.output_stride_px
    return max(_cell_radius_px(graph, cell) for cell in range(cells))


def _cell_radius_px(graph: Graph, cell: int) -> int:
    needed = {graph.output: (cell, cell)}
    for node in reversed(graph.nodes):
        if node.name not in needed or node.op == "mean":
            continue
        interval = _needed_cells(node, needed.pop(node.name))
        for name in node.inputs:
            low, high = needed.get(name, interval)
            needed[name] = (min(low, interval[0]), max(high, interval[1]))
    low, high = needed[INPUT]
    stride_px = graph.output_stride_px
    return max(cell * stride_px - low, high - ((cell + 1) * stride_px - 1))


def _needed_cells(node: Node, wanted: tuple[int, int]) -> tuple[int, int]:
    """The input cells that the output cells `wanted` (first, last) depend on."""
    low, high = wanted
    if node.op == "conv":
        pad = node.kernel // 2
        return low * node.stride - pad, high * node.stride - pad + node.kernel - 1
    if node.op == "deconv":
        return low // node.stride, high // node.stride
    if node.op == "resize":
        reach = node.stride // 2
        return (low - reach) // node.stride, (high + reach) // node.stride
    if node.op == "maxpool":
        return low * 2, high * 2 + 1
    return wanted


def _output_channels(node: Node, inputs: list[int]) -> int:
    if node.op in ("conv", "deconv"):
        if inputs[0] % node.groups:
            raise ValueError(f"node {node.name}: {inputs[0]} input channels in {node.groups} groups")
        return node.channels
    if node.op == "concat":
        return sum(inputs)
    if len(set(inputs)) != 1:
        raise ValueError(f"node {node.name}: {node.op} of {inputs} channels; they must be equal")
    return inputs[0]


def _weight_shapes(node: Node, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    if node.op == "bn":
        return dict.fromkeys(("scale", "offset", *BN_STATISTICS), (outputs,))
    if node.op not in ("conv", "deconv"):
        return {}
    kernel = (node.kernel, node.kernel)
    first = (outputs, inputs // node.groups) if node.op == "conv" else (inputs, outputs)
    return {"weight": (*first, *kernel), **({"bias": (outputs,)} if node.bias else {})}


def initial_weights(graph: Graph, seed: int) -> Weights:
    """He-normal convolutions, batch norm as identity, biases 0. Source: He et al. 2015, arXiv:1502.01852."""
    rng = np.random.default_rng(seed)
    return {name: _initial(name, shape, rng) for name, shape in graph.weight_shapes().items()}


def _initial(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    part = name.rpartition(".")[2]
    if part != "weight":
        return np.full(shape, 1.0 if part in ("scale", "variance") else 0.0, np.float32)
    deviation = np.sqrt(2.0 / prod(shape[1:]))
    return np.asarray(rng.standard_normal(shape) * deviation, np.float32)


def check_weights(graph: Graph, weights: Mapping[str, FloatArray]) -> None:
    """Raise ValueError unless `weights` are exactly those of the graph, finite float32."""
    shapes = graph.weight_shapes()
    if set(weights) != set(shapes):
        wrong = sorted(set(weights) ^ set(shapes))
        raise ValueError(f"weights do not belong to the graph: {', '.join(wrong[:5])}")
    for name, shape in shapes.items():
        values = weights[name]
        if values.shape != shape or values.dtype != np.float32 or not np.isfinite(values).all():
            raise ValueError(f"weight {name}: {values.dtype} {values.shape}, the graph needs finite float32 {shape}")
