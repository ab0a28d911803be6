"""Taking channels out of a network: smaller graph, smaller weights, nothing else changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from tools.graph import FloatArray, Graph, Node, Weights
from tools.pruning.groups import LAYERS, IntArray, weight_axes


@dataclass(frozen=True)
class Plan:
    """`kept`: for each tensor of a graph, its input included, the channels that stay, rising."""

    graph: Graph
    kept: Mapping[str, IntArray]

    def smaller_graph(self) -> Graph:
        """The graph without the other channels. A grouped convolution has fewer groups of the same width."""
        widths = self.graph.channels()
        layers = [node for node in self.graph if node.op in LAYERS]
        return self.graph.with_nodes({node.name: self._smaller(node, widths[node.inputs[0]]) for node in layers})

    def _smaller(self, node: Node, inputs: int) -> Node:
        groups = len(self.kept[node.inputs[0]]) // (inputs // node.groups) if node.groups > 1 else 1
        return replace(node, channels=len(self.kept[node.name]), groups=groups)


def cut(weights: Mapping[str, FloatArray], plan: Plan) -> tuple[Graph, Weights]:
    """The network that computes what the old one does when no convolution reads the channels that go."""
    smaller = {}
    for name, axes in weight_axes(plan.graph).items():
        values = weights[name]
        for axis, tensor in axes.items():
            values = np.take(values, plan.kept[tensor], axis)
        smaller[name] = np.ascontiguousarray(values)
    return plan.smaller_graph(), smaller
