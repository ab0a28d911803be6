"""A network as an ONNX file of one tile size, node by node from the graph; it answers in bytes as the `.nb` does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_runtime.inference.planes import FREE_CELLS, FREE_TILE, INPUT_NAME, OUTPUT_NAMES
from tools.graph import INPUT, FloatArray, Graph, Node, Weights
from tools.tile_form import check_tile

OPSET = 17
IR_VERSION = 8  # what opset 17 came with: onnxruntime from 1.12 reads it
BN_EPSILON = 1e-5
FOLDED = ("conv", "deconv")


@dataclass
class _Draft:
    """The file while it grows."""

    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, values: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name


def onnx_bytes(graph: Graph, weights: Mapping[str, FloatArray], tile_px: int) -> bytes:
    """Input `tile` float32 (1, C, tile_px, tile_px), outputs `class_ids` and `scores` uint8 (1, cells, cells).

    Batch norm is folded into the convolution before it where nothing else hears that. The bytes depend on the arguments
    alone. Raises ToolError for a side the network cannot take.
    """
    check_tile(graph, tile_px)
    draft = _Draft()
    folded, alias = fold_batch_norm(graph, weights)
    for node in graph:
        if node.name not in alias:
            inputs = [_value(alias.get(name, name)) for name in node.inputs]
            _WRITERS[node.op](draft, node, inputs, folded)
    _answer(draft, _value(alias.get(graph.output, graph.output)), graph.class_count)
    cells = tile_px // graph.output_stride_px
    shape = [1, graph.input_channels, tile_px, tile_px]
    made = helper.make_graph(
        draft.nodes,
        "segmentation",
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.UINT8, [1, cells, cells])
            for name in OUTPUT_NAMES["class_and_score"]
        ],
        initializer=draft.constants,
    )
    model = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="edge-defect-runtime"
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def with_free_sides(data: bytes) -> bytes:
    """The same network for tiles of any side: who opens it says how large `FREE_TILE` and `FREE_CELLS` are."""
    model = onnx.load_from_string(data)
    del model.graph.value_info[:]  # sizes within the network, for one side
    named = [(model.graph.input, FREE_TILE), (model.graph.output, FREE_CELLS)]
    for dim, name in ((dim, name) for ports, name in named for port in ports for dim in _sides(port)):
        dim.ClearField("dim_value")
        dim.dim_param = name
    return bytes(model.SerializeToString(deterministic=True))


def _sides(port: Any) -> Any:
    return port.type.tensor_type.shape.dim[-2:]


def fold_batch_norm(graph: Graph, weights: Mapping[str, FloatArray]) -> tuple[Weights, dict[str, str]]:
    """Weights with each foldable batch norm inside its convolution, and the convolution's name for each such node.

    y = scale (w x + b - mean) / sqrt(variance + epsilon) + offset, computed in double precision.
    """
    heard: dict[str, int] = {}
    for name in (*(name for node in graph for name in node.inputs), graph.output):
        heard[name] = heard.get(name, 0) + 1
    folded, alias = dict(weights), {}
    for node in graph:
        source = node.inputs[0]
        if node.op != "bn" or heard[source] != 1 or source == INPUT or graph[source].op not in FOLDED:
            continue
        scale, offset, mean, variance = (
            weights[f"{node.name}.{part}"].astype(np.float64) for part in ("scale", "offset", "mean", "variance")
        )
        factor = scale / np.sqrt(variance + BN_EPSILON)
        along = (-1, 1, 1, 1) if graph[source].op == "conv" else (1, -1, 1, 1)
        bias = weights[f"{source}.bias"].astype(np.float64) if graph[source].bias else 0.0
        folded[f"{source}.weight"] = (weights[f"{source}.weight"] * factor.reshape(along)).astype(np.float32)
        folded[f"{source}.bias"] = np.asarray((bias - mean) * factor + offset, np.float32)
        alias[node.name] = source
    return folded, alias


def _value(name: str) -> str:
    return INPUT_NAME if name == INPUT else f"n.{name}"


def _convolve(draft: _Draft, node: Node, inputs: list[str], weights: Weights) -> None:
    parts = [draft.constant(f"{node.name}.weight", weights[f"{node.name}.weight"])]
    if f"{node.name}.bias" in weights:
        parts.append(draft.constant(f"{node.name}.bias", weights[f"{node.name}.bias"]))
    square = {"kernel_shape": [node.kernel] * 2, "strides": [node.stride] * 2}
    if node.op == "conv":
        draft.add(
            "Conv", [*inputs, *parts], _value(node.name), **square, pads=[node.kernel // 2] * 4, group=node.groups
        )
    else:
        draft.add("ConvTranspose", [*inputs, *parts], _value(node.name), **square)


def _normalise(draft: _Draft, node: Node, inputs: list[str], weights: Weights) -> None:
    names = (f"{node.name}.{part}" for part in ("scale", "offset", "mean", "variance"))
    parts = [draft.constant(name, weights[name]) for name in names]
    draft.add("BatchNormalization", [*inputs, *parts], _value(node.name), epsilon=BN_EPSILON)


def _plain(op: str, **attributes: Any) -> Any:
    def write(draft: _Draft, node: Node, inputs: list[str], weights: Weights) -> None:
        draft.add(op, inputs, _value(node.name), **attributes)

    return write


def _add(draft: _Draft, node: Node, inputs: list[str], weights: Weights) -> None:
    total = inputs[0]
    for number, other in enumerate(inputs[1:], 1):
        last = number == len(inputs) - 1
        total = draft.add("Add", [total, other], _value(node.name) if last else f"{_value(node.name)}.{number}")


def _resize(draft: _Draft, node: Node, inputs: list[str], weights: Weights) -> None:
    scales = draft.constant(f"{node.name}.scales", np.array([1, 1, node.stride, node.stride], np.float32))
    half_pixel = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    draft.add("Resize", [*inputs, "", scales], _value(node.name), **half_pixel)


_WRITERS: dict[str, Any] = {
    "conv": _convolve,
    "deconv": _convolve,
    "bn": _normalise,
    "relu": _plain("Relu"),
    "sigmoid": _plain("Sigmoid"),
    "mean": _plain("GlobalAveragePool"),
    "maxpool": _plain("MaxPool", kernel_shape=[2, 2], strides=[2, 2]),
    "resize": _resize,
    "add": _add,
    "mul": _plain("Mul"),
    "concat": _plain("Concat", axis=1),
}


def _answer(draft: _Draft, logits: str, class_count: int) -> None:
    """What `tools.export.Exported` answers: the likeliest defect, and 255 (1 - P(background)), both as bytes."""
    ids, scores = OUTPUT_NAMES["class_and_score"]
    zero, one, end, axis = (
        draft.constant(f"at.{name}", np.array([at], np.int64))
        for name, at in (("0", 0), ("1", 1), ("end", class_count), ("axis", 1))
    )
    draft.add("Softmax", [logits], "probabilities", axis=1)
    draft.add("Slice", ["probabilities", zero, one, axis], "background")
    squeezed = draft.add("Squeeze", ["background", axis], "background.plane")
    draft.add("Sub", [draft.constant("certain", np.float32(1.0)), squeezed], "defective")
    draft.add("Mul", ["defective", draft.constant("steps", np.float32(255.0))], "score.scaled")
    draft.add("Add", ["score.scaled", draft.constant("half", np.float32(0.5))], "score.rounded")
    draft.add("Cast", ["score.rounded"], scores, to=TensorProto.UINT8)
    draft.add("Slice", [logits, one, end, axis], "defects")
    draft.add("ArgMax", ["defects"], "likeliest", axis=1, keepdims=0)
    draft.add("Add", ["likeliest", draft.constant("first.id", np.int64(1))], "likeliest.id")
    draft.add("Cast", ["likeliest.id"], ids, to=TensorProto.UINT8)
