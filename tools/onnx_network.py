"""A network read back from the ONNX file that `onnx_file.py` wrote: what it computes, as graph and weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edge_runtime.inference.planes import INPUT_NAME
from tools.errors import ToolError
from tools.graph import INPUT, FloatArray, Graph, Node, Weights, check_weights

PREFIX = "n."
PLAIN = {
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "GlobalAveragePool": "mean",
    "MaxPool": "maxpool",
    "Add": "add",
    "Mul": "mul",
    "Concat": "concat",
}
BN_PARTS = ("scale", "offset", "mean", "variance")


def read_onnx(data: bytes, where: str) -> tuple[Graph, Weights]:
    """Graph and weights up to the logits; batch norm that was folded stays folded. Raises ToolError for other files."""
    try:
        model = onnx.load_from_string(data)
        reading = _Reading({each.name: numpy_helper.to_array(each) for each in model.graph.initializer})
        logits = logits_name(model)
        for node in _before_answer(model.graph.node):
            reading.take(node)
        channels = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
        graph = Graph(channels, tuple(reading.nodes), _plain_name(logits))
        check_weights(graph, reading.weights)
    except Exception as exc:  # a damaged protobuf, an absent part, a graph that does not fit: no common base
        raise ToolError(f"{where}: not an ONNX network of these tools ({exc}); pack the bundle again") from exc
    return graph, reading.weights


def logits_name(model: Any) -> str:
    """The value that the answer's softmax reads. Raises StopIteration where there is none."""
    return str(next(node.input[0] for node in model.graph.node if node.op_type == "Softmax"))


def _before_answer(nodes: Iterable[Any]) -> list[Any]:
    return [node for node in nodes if node.output[0].startswith(PREFIX)]


def _plain_name(value: str) -> str:
    return INPUT if value == INPUT_NAME else value.removeprefix(PREFIX)


@dataclass
class _Reading:
    constants: dict[str, Any]
    nodes: list[Node] = field(default_factory=list)
    weights: dict[str, FloatArray] = field(default_factory=dict)

    def take(self, node: Any) -> None:
        name = _plain_name(node.output[0])
        values = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        inputs = tuple(_plain_name(each) for each in node.input if each and each not in self.constants)
        parts = [self.constants[each] for each in node.input if each in self.constants]
        if node.op_type in ("Conv", "ConvTranspose"):
            self._take_convolution(node.op_type, name, inputs, parts, values)
        elif node.op_type == "BatchNormalization":
            self.nodes.append(Node(name, "bn", inputs))
            self.weights |= {f"{name}.{part}": np.array(each) for part, each in zip(BN_PARTS, parts, strict=True)}
        elif node.op_type == "Resize":
            self.nodes.append(Node(name, "resize", inputs, stride=int(parts[0][2])))
        else:
            self.nodes.append(Node(name, PLAIN[node.op_type], inputs))

    def _take_convolution(
        self, kind: str, name: str, inputs: tuple[str, ...], parts: list[Any], values: dict[str, Any]
    ) -> None:
        weight, *bias = parts
        (kernel, _), (stride, _), groups = values["kernel_shape"], values["strides"], values.get("group", 1)
        op, channels = ("conv", weight.shape[0]) if kind == "Conv" else ("deconv", weight.shape[1])
        self.nodes.append(Node(name, op, inputs, channels, kernel, stride, groups, bool(bias)))
        named = dict(zip(("weight", "bias"), parts, strict=False))
        self.weights |= {f"{name}.{part}": np.array(each) for part, each in named.items()}
