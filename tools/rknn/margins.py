"""A network for the NPU: it ends in margins, because the NPU's compiler knows no bytes and few whole numbers.

The full network's end (softmax, argmax, casts to uint8) is for processors: RK3588's compiler sends parts of it back to
the processor and aborts on others. A margin is a class's logit less that of the background, so the last convolution
gives them at once, with the differences of its weights; `inference.margins` has the rest.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_runtime.inference.margins import MARGINS_NAME
from tools.errors import ToolError
from tools.graph import Graph, Weights
from tools.onnx_file import onnx_bytes
from tools.onnx_network import PREFIX, logits_name


def margins_onnx(graph: Graph, weights: Weights, tile_px: int) -> bytes:
    """Input `tile` float32 (1, C, tile_px, tile_px), output `margins` float32 (1, classes, cells, cells).

    Raises ToolError for a network that does not end in a convolution.
    """
    model = onnx.load_from_string(onnx_bytes(graph, weights, tile_px))
    logits = logits_name(model)
    nodes = [node for node in model.graph.node if node.output[0].startswith(PREFIX)]
    last = next(node for node in nodes if node.output[0] == logits)
    if last.op_type != "Conv" or len(last.input) != 3:
        raise ToolError(f"the network ends in {last.op_type}, not in a convolution with a bias; it gives no margins")
    used = {name for node in nodes for name in node.input}
    constants = [_margin_weights(each, last.input[1:]) for each in model.graph.initializer if each.name in used]
    last.output[0] = MARGINS_NAME
    cells = tile_px // graph.output_stride_px
    answer = helper.make_tensor_value_info(MARGINS_NAME, TensorProto.FLOAT, [1, graph.class_count - 1, cells, cells])
    made = helper.make_graph(nodes, "margins", list(model.graph.input), [answer], initializer=constants)
    whole = helper.make_model(made, opset_imports=list(model.opset_import), ir_version=model.ir_version)
    onnx.checker.check_model(whole, full_check=True)
    return bytes(whole.SerializeToString(deterministic=True))


def _margin_weights(constant: Any, of_last: Any) -> Any:
    if constant.name not in of_last:
        return constant
    values = numpy_helper.to_array(constant).astype(np.float64)
    return numpy_helper.from_array((values[1:] - values[:1]).astype(np.float32), constant.name)
