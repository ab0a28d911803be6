"""A bundle's answer in OpenVINO's graph, in steps that its plugin computes quickly; not a bit of it changes."""

from __future__ import annotations

from typing import Any

import numpy as np

FROM_CLASS_IDS_TO_LOGITS = ("Convert", "Add", "Squeeze", "TopK", "Slice")


def compare_planes(engine: Any, network: Any) -> None:
    """Have the likeliest defect found by comparing the classes' planes with each other.

    OpenVINO (seen with 2026.4) looks for it cell by cell, by TopK, which takes a fifth of a tile in bf16. The
    network's sides are fixed. One that does not end as `tools.onnx_file` writes it stays as it is.
    """
    result = next(each for each in network.get_results() if "class_ids" in each.input_value(0).get_names())
    logits = _logits(result.input_value(0))
    if logits is not None:
        result.input(0).replace_source_output(_class_ids(engine.opset13, logits).output(0))


def _logits(class_ids: Any) -> Any:
    """The planes (1, C, h, w) of which `class_ids` names the largest but the first; None where it does not."""
    value, nodes = class_ids, []
    for kind in FROM_CLASS_IDS_TO_LOGITS:
        nodes.append(value.get_node())
        if nodes[-1].get_type_name() != kind:
            return None
        value = nodes[-1].input_value(0)
    _, add, _, top, cut = nodes
    first_id, (begin, end, axis) = _numbers(add, 1), (_numbers(cut, index) for index in (1, 2, 4))
    (_, count, *_), how = value.get_shape(), top.get_attributes()
    as_written = (first_id, begin, end, axis, how["axis"], how["mode"]) == ([1], [1], [count], [1], 1, "max")
    return value if as_written and count > 2 else None


def _numbers(node: Any, index: int) -> list[int]:
    constant = node.input_value(index).get_node()
    return constant.get_data().ravel().tolist() if constant.get_type_name() == "Constant" else []


def _class_ids(ops: Any, logits: Any) -> Any:
    """Of equal ones the first. A plane is a row here: the plugin then lays each by itself, once, before it compares."""
    _, count, height, width = logits.get_shape()
    rows = ops.reshape(logits, [1, count, height * width], False)
    best, *others = ops.split(rows, 1, count).outputs()[1:]
    ids = ops.constant(np.float32(1))
    for class_id, row in enumerate(others, 2):
        ids = ops.select(ops.greater(row, best), ops.constant(np.float32(class_id)), ids)
        best = ops.maximum(best, row)
    return ops.reshape(ops.convert(ids, "u8"), [1, height, width], False)
