"""Saved programs changed in place, by Paddle's own protobuf classes: quantised ones mended for opt, sizes fixed.

Paddle appends a `scale` operator to every output it saves; for a byte output Paddle Lite has none. Observers
(`quantize_linear` with only_observer) compute nothing and carry scales; behind the last convolution they would make
opt look for 8-bit casts, softmax and argmax, which Paddle Lite lacks too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.paddle_first import paddle

SAVED_OUTPUT = "save_infer_model/scale_"
PAIR = ("quantize_linear", "dequantize_linear")
CONVOLUTIONS = ("conv2d", "depthwise_conv2d", "conv2d_transpose")


def mend_program(path: Path) -> None:
    """Rewrite the quantised program at `path` for opt; the parameter file stays as it is."""
    program = _program(path.read_bytes())
    block = program.blocks[0]
    last = max(index for index, op in enumerate(block.ops) if op.type in CONVOLUTIONS)
    _bypass(block, lambda index, op: _is_saved_output(op) or (index > last and _is_observer(op)))
    path.write_bytes(program.SerializeToString())


def fix_side(data: bytes, input_name: str, side_px: int) -> bytes:
    """The program `data` with the free height and width of its input `input_name` set to `side_px`."""
    program = _program(data)
    variable = next(variable for variable in program.blocks[0].vars if variable.name == input_name)
    dims = variable.type.lod_tensor.tensor.dims
    dims[2:] = [side_px, side_px]
    return bytes(program.SerializeToString())


def _program(data: bytes) -> Any:
    program = paddle.base.proto.framework_pb2.ProgramDesc()
    program.ParseFromString(data)
    return program


def _bypass(block: Any, doomed: Callable[[int, Any], bool]) -> None:
    """Drop operators; whoever read their output reads their input instead."""
    instead: dict[str, str] = {}
    kept = []
    for index, op in enumerate(block.ops):
        for slot in op.inputs:
            slot.arguments[:] = [instead.get(name, name) for name in slot.arguments]
        if doomed(index, op):
            instead[_argument(op.outputs, ("Out", "Y"))] = _argument(op.inputs, ("X",))
            continue
        for slot in op.outputs:
            for name in slot.arguments:
                instead.pop(name, None)
        kept.append(type(op).FromString(op.SerializeToString()))
    del block.ops[:]
    block.ops.extend(kept)


def _argument(slots: Any, names: tuple[str, ...]) -> str:
    return next(str(slot.arguments[0]) for slot in slots if slot.parameter in names)


def _is_saved_output(op: Any) -> bool:
    return bool(op.type == "scale" and _argument(op.outputs, ("Out",)).startswith(SAVED_OUTPUT))


def _is_observer(op: Any) -> bool:
    return op.type in PAIR and any(attr.name == "only_observer" and attr.b for attr in op.attrs)
