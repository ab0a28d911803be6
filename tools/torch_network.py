"""A graph as a PyTorch module, for training; its results equal Paddle's within rounding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tools.graph import FloatArray, Graph, Node, Weights, run_nodes

BN_PARTS = {"scale": "weight", "offset": "bias", "mean": "running_mean", "variance": "running_var"}


class TorchNetwork(nn.Module):  # type: ignore[misc]
    """(N, graph.input_channels, H, W) float32, sides multiples of the total stride → logits (N, classes, H/s, W/s)."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        widths = graph.channels()
        layers = {n.name: _layer(n, widths[n.inputs[0]], widths[n.name]) for n in graph}
        self.layers = nn.ModuleDict({_key(name): layer for name, layer in layers.items() if layer is not None})

    def forward(self, x: Any) -> Any:
        return self.features(x, ())[0]

    def features(self, x: Any, names: tuple[str, ...]) -> tuple[Any, ...]:
        """The logits, then the outputs of the nodes `names`."""
        values = run_nodes(self.graph, x, self._run)
        return tuple(values[name] for name in (self.graph.output, *names))

    def _run(self, node: Node, inputs: list[Any]) -> Any:
        key = _key(node.name)
        return self.layers[key](inputs[0]) if key in self.layers else _FUNCTIONS[node.op](node, inputs)

    def layer(self, node_name: str) -> Any:
        return self.layers[_key(node_name)]

    def tensor(self, name: str) -> Any:
        """The parameter or statistic that the graph calls `name`."""
        node_name, _, part = name.rpartition(".")
        return getattr(self.layer(node_name), BN_PARTS.get(part, part) if self.graph[node_name].op == "bn" else part)

    def set_weights(self, weights: Mapping[str, FloatArray]) -> None:
        """Take over weights by name; those not given stay."""
        with torch.no_grad():
            for name, values in weights.items():
                self.tensor(name).copy_(torch.from_numpy(np.ascontiguousarray(values)))

    def weights(self) -> Weights:
        named = ((name, self.tensor(name).detach()) for name in self.graph.weight_shapes())
        return {name: np.array(tensor.cpu().float().numpy()) for name, tensor in named}


def _key(name: str) -> str:
    return name.replace(".", "_")


def _layer(node: Node, inputs: int, outputs: int) -> Any:
    if node.op == "conv":
        padding = node.kernel // 2
        return nn.Conv2d(inputs, outputs, node.kernel, node.stride, padding, groups=node.groups, bias=node.bias)
    if node.op == "deconv":
        return nn.ConvTranspose2d(inputs, outputs, node.kernel, node.stride, bias=node.bias)
    return nn.BatchNorm2d(outputs) if node.op == "bn" else None


def _resize(node: Node, inputs: list[Any]) -> Any:
    return functional.interpolate(inputs[0], scale_factor=node.stride, mode="bilinear", align_corners=False)


_FUNCTIONS: dict[str, Callable[[Node, list[Any]], Any]] = {
    "relu": lambda node, inputs: functional.relu(inputs[0]),
    "sigmoid": lambda node, inputs: torch.sigmoid(inputs[0]),
    "mean": lambda node, inputs: inputs[0].mean((2, 3), keepdim=True),
    "maxpool": lambda node, inputs: functional.max_pool2d(inputs[0], 2),
    "resize": _resize,
    "add": lambda node, inputs: sum(inputs[1:], inputs[0]),
    "mul": lambda node, inputs: inputs[0] * inputs[1],
    "concat": lambda node, inputs: torch.cat(inputs, 1),
}
