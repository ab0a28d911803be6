"""Which channels of a graph live or die together.

A unit is the smallest such set: a channel with everything that addition, multiplication and grouped convolutions tie to
it. Units that pass through the same tensors are interchangeable and form a class, which has one width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import gcd, lcm

import numpy as np
import numpy.typing as npt

from tools.graph import INPUT, Graph, Node

IntArray = npt.NDArray[np.int64]

LAYERS = ("conv", "deconv")
_SAME_CHANNELS = ("bn", "relu", "sigmoid", "mean", "maxpool", "resize")
_TIED_CHANNELS = ("add", "mul")


@dataclass(frozen=True)
class ChannelClass:
    """Units that any pruning may exchange for each other, named after the first layer that makes them.

    `layers`: channels that one unit has in the output of each convolution that makes it. `feeds_output`: the
    convolution that gives the graph's output reads some of it.
    """

    name: str
    units: tuple[int, ...]
    layers: Mapping[str, int]
    feeds_output: bool

    def unit_step(self, align: int) -> int:
        """Fewest units that have a multiple of `align` channels in each layer."""
        return lcm(*(align // gcd(align, channels) for channels in self.layers.values()))


@dataclass(frozen=True)
class Slice:
    """Entries `index` on axis `axis` of a weight."""

    weight: str
    axis: int
    index: tuple[int, ...]


@dataclass(frozen=True)
class Dependencies:
    """`unit_of`: the unit of each channel of each tensor, the graph's input included; units count from 0.

    `classes` hold every unit that may go, in the order of the layers; units of the graph's input and output may not.
    """

    graph: Graph = field(repr=False)
    unit_of: Mapping[str, IntArray] = field(repr=False)
    unit_count: int
    classes: tuple[ChannelClass, ...] = field(repr=False)

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The convolutions that can lose output channels, in the order of the graph."""
        able = {layer for channel_class in self.classes for layer in channel_class.layers}
        return tuple(node.name for node in self.graph if node.name in able)

    def slices(self, unit: int) -> tuple[Slice, ...]:
        """Everything of the weights that goes when the unit goes: what makes its channels and what reads them."""
        found = [
            Slice(weight, axis, tuple(np.flatnonzero(self.unit_of[tensor] == unit).tolist()))
            for weight, axes in weight_axes(self.graph).items()
            for axis, tensor in axes.items()
        ]
        return tuple(one for one in found if one.index)


def weight_axes(graph: Graph) -> dict[str, dict[int, str]]:
    """For each weight, the axes that run over channels and the tensor whose channels they are.

    The inner axis of a grouped convolution is left out: its groups stay whole.
    """
    return {name: _axes(graph_node, name) for graph_node, name in _weights_with_nodes(graph)}


def find_dependencies(graph: Graph) -> Dependencies:
    """Raises ValueError for an operation whose effect on channels is not known."""
    unit_of = _units_by_tensor(graph)
    unit_count = 1 + max(int(units.max()) for units in unit_of.values())
    return Dependencies(graph, unit_of, unit_count, _classes(graph, unit_of, unit_count))


class _Ties:
    """A union-find over numbered channels."""

    def __init__(self) -> None:
        self._parents: list[int] = []

    def new(self, count: int) -> IntArray:
        first = len(self._parents)
        self._parents.extend(range(first, first + count))
        return np.arange(first, first + count)

    def tie(self, some: IntArray, others: IntArray) -> None:
        for a, b in zip(some.tolist(), others.tolist(), strict=True):
            low, high = sorted((self.find(a), self.find(b)))
            self._parents[high] = low

    def find(self, channel: int) -> int:
        while self._parents[channel] != channel:
            self._parents[channel] = self._parents[self._parents[channel]]
            channel = self._parents[channel]
        return channel


def _units_by_tensor(graph: Graph) -> dict[str, IntArray]:
    ties = _Ties()
    channels = {INPUT: ties.new(graph.input_channels)}
    for node in graph:
        channels[node.name] = _output(node, [channels[name] for name in node.inputs], ties)
    roots = {name: np.array([ties.find(i) for i in ids.tolist()], np.int64) for name, ids in channels.items()}
    numbers = np.unique(np.concatenate(list(roots.values())))
    return {name: np.searchsorted(numbers, ids) for name, ids in roots.items()}


def _output(node: Node, inputs: list[IntArray], ties: _Ties) -> IntArray:
    if node.op in LAYERS:
        made = ties.new(node.channels)
        if node.groups > 1:
            _tie_groups(node.groups, inputs[0], made, ties)
        return made
    if node.op == "concat":
        return np.concatenate(inputs)
    if node.op in _TIED_CHANNELS:
        for other in inputs[1:]:
            ties.tie(inputs[0], other)
    elif node.op not in _SAME_CHANNELS:
        raise ValueError(f"node {node.name}: nothing is known of the channels of {node.op}")
    return inputs[0]


def _tie_groups(groups: int, read: IntArray, made: IntArray, ties: _Ties) -> None:
    """A group lives or dies whole: a part of it would leave the others with another width."""
    heads = read.reshape(groups, -1)[:, 0]
    for channels in (read, made):
        ties.tie(np.repeat(heads, len(channels) // groups), channels)


def _classes(graph: Graph, unit_of: Mapping[str, IntArray], unit_count: int) -> tuple[ChannelClass, ...]:
    """Units with equal counts of channels in all tensors, classes in the order of their first unit."""
    counts = np.stack([np.bincount(units, minlength=unit_count) for units in unit_of.values()], axis=1)
    free = np.setdiff1d(np.arange(unit_count), np.concatenate([unit_of[INPUT], unit_of[graph.output]]))
    members: dict[bytes, list[int]] = {}
    for unit in free.tolist():
        members.setdefault(counts[unit].tobytes(), []).append(unit)
    read_by_output = _read_by_output(graph, unit_of)
    names: dict[str, int] = {}
    classes = []
    for units in members.values():
        present = dict(zip(unit_of, counts[units[0]].tolist(), strict=True))
        layers = {node.name: present[node.name] for node in graph if node.op in LAYERS and present[node.name]}
        feeds_output = not read_by_output.isdisjoint(units)
        classes.append(ChannelClass(_unused_name(next(iter(layers)), names), tuple(units), layers, feeds_output))
    return tuple(classes)


def _unused_name(name: str, given: dict[str, int]) -> str:
    given[name] = given.get(name, 0) + 1
    return name if given[name] == 1 else f"{name}#{given[name]}"


def _read_by_output(graph: Graph, unit_of: Mapping[str, IntArray]) -> set[int]:
    last = set(unit_of[graph.output].tolist())
    givers = [node for node in graph if node.op in LAYERS and not last.isdisjoint(unit_of[node.name].tolist())]
    return {unit for node in givers for unit in unit_of[node.inputs[0]].tolist()}


def _weights_with_nodes(graph: Graph) -> Iterable[tuple[Node, str]]:
    nodes = {node.name: node for node in graph}
    return ((nodes[name.rpartition(".")[0]], name) for name in graph.weight_shapes())


def _axes(node: Node, weight: str) -> dict[int, str]:
    if node.op == "deconv" and weight.endswith(".weight"):
        return {0: node.inputs[0], 1: node.name}
    if node.op == "conv" and weight.endswith(".weight") and node.groups == 1:
        return {0: node.name, 1: node.inputs[0]}
    return {0: node.name}
