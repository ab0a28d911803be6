"""A network layer by layer: what each computes, holds and takes.

A layer is a node with the batch norm and rectifier that follow it alone, because opt folds these into it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isinf, prod

from tools.graph import INPUT, Graph, Node, macs_by_node

Measure = Callable[[Graph, int], float]
FOLDED = ("bn", "relu")
CARRIER = Node("carrier", "bn", (INPUT,))


@dataclass(frozen=True)
class Layer:
    """`input_cells`: side of the square input. `kernel`, `stride`, `groups` are 1 where the operation has none."""

    name: str
    ops: str
    channels: int
    kernel: int
    stride: int
    groups: int
    input_cells: int
    macs: int
    parameters: int
    ms: float | None = None


@dataclass(frozen=True)
class Fragment(Graph):
    """A part of a network: unlike an answer, its output may be finer than its input, or have one cell."""

    def __post_init__(self) -> None:
        self.channels()


@dataclass(frozen=True)
class Probe:
    """A layer alone as a graph; its time is that of `graph` less that of `without`."""

    graph: Graph
    without: Graph | None
    side_px: int


def split_layers(graph: Graph) -> list[tuple[Node, ...]]:
    """Each node in exactly one layer, in the order of the graph."""
    readers = Counter(name for node in graph for name in node.inputs)
    layers: list[list[Node]] = []
    for node in graph:
        home = next((layer for layer in layers if layer[-1].name == node.inputs[0]), None)
        if node.op in FOLDED and home and readers[node.inputs[0]] == 1 and node.inputs[0] != graph.output:
            home.append(node)
        else:
            layers.append([node])
    return [tuple(layer) for layer in layers]


def describe_layers(graph: Graph, tile_px: int) -> list[Layer]:
    return [_describe(graph, nodes, tile_px) for nodes in split_layers(graph)]


def time_layers(graph: Graph, tile_px: int, measure: Measure, advance: Callable[[], None]) -> list[Layer]:
    """The layers with their milliseconds by `measure(graph, input side)`; equal ones are measured once."""
    known: dict[tuple[Graph, int], float] = {}

    def once(one: Graph, side_px: int) -> float:
        if (one, side_px) not in known:
            known[one, side_px] = measure(one, side_px)
        return known[one, side_px]

    timed = []
    for nodes in split_layers(graph):
        probe = probe_layer(graph, nodes, tile_px)
        base_ms = once(probe.without, probe.side_px) if probe.without else 0.0
        ms = max(0.0, once(probe.graph, probe.side_px) - base_ms)
        timed.append(replace(_describe(graph, nodes, tile_px), ms=ms))
        advance()
    return timed


def probe_layer(graph: Graph, nodes: tuple[Node, ...], tile_px: int) -> Probe:
    """A graph of one input for one layer, its nodes named alike for all that are alike.

    opt reads no program without weights: such a layer rides on a batch norm, whose time goes off. A sum adds the input
    to itself, a concatenation joins inputs of the mean width, and the small input of a product is its large one's mean.
    """
    inputs = [graph.channels()[name] for name in nodes[0].inputs]
    wide = -(-sum(inputs) // len(inputs)) if nodes[0].op == "concat" else inputs[0]
    before: tuple[Node, ...] = () if _has_weights(nodes) else (CARRIER,)
    source = before[-1].name if before else INPUT
    sources = (source,) * len(inputs)
    if nodes[0].op == "mul":
        before = (*before, Node("gate", "mean", (source,)))
        sources = (source, "gate")
    named = [replace(nodes[0], name="0", inputs=sources)]
    named += [replace(node, name=str(i), inputs=(str(i - 1),)) for i, node in enumerate(nodes[1:], 1)]
    without = Fragment(wide, before, before[-1].name) if before else None
    return Probe(Fragment(wide, (*before, *named), named[-1].name), without, _input_cells(graph, nodes, tile_px))


def _describe(graph: Graph, nodes: tuple[Node, ...], tile_px: int) -> Layer:
    first, names = nodes[0], {node.name for node in nodes}
    shapes = {name: shape for name, shape in graph.trained_shapes().items() if name.rpartition(".")[0] in names}
    return Layer(
        name=first.name,
        ops="+".join(node.op for node in nodes),
        channels=graph.channels()[first.name],
        kernel=first.kernel,
        stride=first.stride,
        groups=first.groups,
        input_cells=_input_cells(graph, nodes, tile_px),
        macs=sum(macs for name, macs in macs_by_node(graph, tile_px).items() if name in names),
        parameters=sum(prod(shape) for shape in shapes.values()),
    )


def _has_weights(nodes: tuple[Node, ...]) -> bool:
    return any(node.op in ("conv", "deconv", "bn") for node in nodes)


def _input_cells(graph: Graph, nodes: tuple[Node, ...], tile_px: int) -> int:
    side_px = min(graph.cell_px()[name] for name in nodes[0].inputs)
    return 1 if isinf(side_px) else int(tile_px / side_px)
