"""A graph as a Paddle layer: for training without PyTorch, for export, and as the reference of all parity."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tools.graph import FloatArray, Graph, Node, Weights, run_nodes
from tools.paddle_first import paddle

nn = paddle.nn
functional = paddle.nn.functional
BN_PARTS = {"scale": "weight", "offset": "bias", "mean": "_mean", "variance": "_variance"}


class PaddleNetwork(nn.Layer):  # type: ignore[misc,name-defined]
    """(N, graph.input_channels, H, W) float32, sides multiples of the total stride → logits (N, classes, H/s, W/s)."""

    def __init__(self, graph: Graph, weights: Mapping[str, FloatArray] | None = None) -> None:
        super().__init__()
        self.graph = graph
        widths = graph.channels()
        for node in graph:
            layer = _layer(node, widths[node.inputs[0]], widths[node.name])
            if layer is not None:
                self.add_sublayer(sublayer_name(node.name), layer)
        # Kept, because a layer that is wrapped for INT8 goes on with the same tensors in another place.
        self._tensors = {name: self._find(name) for name in graph.weight_shapes()}
        if weights is not None:
            self.set_weights(weights)

    def forward(self, x: Any) -> Any:
        return self.features(x, ())[0]

    def features(self, x: Any, names: tuple[str, ...]) -> tuple[Any, ...]:
        """The logits, then the outputs of the nodes `names`."""
        values = run_nodes(self.graph, x, self._run)
        return tuple(values[name] for name in (self.graph.output, *names))

    def _run(self, node: Node, inputs: list[Any]) -> Any:
        layer = getattr(self, sublayer_name(node.name), None)
        return layer(inputs[0]) if layer is not None else _FUNCTIONS[node.op](node, inputs)

    def layer(self, node_name: str) -> Any:
        return getattr(self, sublayer_name(node_name))

    def tensor(self, name: str) -> Any:
        """The parameter or statistic that the graph calls `name`."""
        return self._tensors[name]

    def _find(self, name: str) -> Any:
        node_name, _, part = name.rpartition(".")
        return getattr(self.layer(node_name), BN_PARTS.get(part, part) if self.graph[node_name].op == "bn" else part)

    def set_weights(self, weights: Mapping[str, FloatArray]) -> None:
        """Take over weights by name; those not given stay. Raises ValueError for a wrong shape."""
        for name, values in weights.items():
            self.tensor(name).set_value(values)

    def weights(self) -> Weights:
        return {name: np.array(self.tensor(name).numpy(), np.float32) for name in self.graph.weight_shapes()}


def sublayer_name(name: str) -> str:
    """What Paddle calls the layer of the node `name`: its names of sublayers hold no dots."""
    return name.replace(".", "_")


def _layer(node: Node, inputs: int, outputs: int) -> Any:
    if node.op == "conv":
        bias = None if node.bias else False
        padding = node.kernel // 2
        return nn.Conv2D(inputs, outputs, node.kernel, node.stride, padding, groups=node.groups, bias_attr=bias)
    if node.op == "deconv":
        bias = None if node.bias else False
        return nn.Conv2DTranspose(inputs, outputs, node.kernel, stride=node.stride, bias_attr=bias)
    return nn.BatchNorm2D(outputs) if node.op == "bn" else None


def _resize(node: Node, inputs: list[Any]) -> Any:
    return functional.interpolate(inputs[0], scale_factor=node.stride, mode="bilinear", align_corners=False)


_FUNCTIONS: dict[str, Callable[[Node, list[Any]], Any]] = {
    "relu": lambda node, inputs: functional.relu(inputs[0]),
    "sigmoid": lambda node, inputs: functional.sigmoid(inputs[0]),
    "mean": lambda node, inputs: functional.adaptive_avg_pool2d(inputs[0], 1),
    "maxpool": lambda node, inputs: functional.max_pool2d(inputs[0], 2, stride=2),
    "resize": _resize,
    "add": lambda node, inputs: sum(inputs[1:], inputs[0]),
    "mul": lambda node, inputs: inputs[0] * inputs[1],
    "concat": lambda node, inputs: paddle.concat(inputs, axis=1),
}


def evaluating(graph: Graph, weights: Mapping[str, FloatArray]) -> PaddleNetwork:
    """The network in evaluation mode."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="When training, we now always track")
        network = PaddleNetwork(graph, weights)
    network.eval()
    return network


def predict_logits(network: Any, images: FloatArray) -> FloatArray:
    with paddle.no_grad():
        return np.asarray(network(paddle.to_tensor(images)).numpy(), np.float32)
