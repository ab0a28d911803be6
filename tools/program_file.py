"""Paddle program files read without Paddle: a strict protobuf walk that refuses what opt would take silently.

opt reports success on some truncated programs and aborts on text, JSON and empty files with one and the same message.
Field numbers are those of Paddle's framework.proto; only what is needed is decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from tools.errors import ConversionError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
BOOL, INT32, INT64, FLOAT32, UINT8, INT8 = 0, 2, 3, 5, 20, 21
DTYPE_NAMES = {BOOL: "bool", INT32: "int32", INT64: "int64", FLOAT32: "float32", UINT8: "uint8", INT8: "int8"}
DTYPE_NAMES.update({1: "int16", 4: "float16", 6: "float64", 22: "bfloat16"})
DTYPE_BYTES = {0: 1, 1: 2, 2: 4, 3: 8, 4: 2, 5: 4, 6: 8, 20: 1, 21: 1, 22: 2}
HOLDER_TYPES = (9, 10)
QUANTIZED_MARKS = ("quantize_linear", "fake_quantize", "fake_channel_wise", "fake_dequantize")
_NO_DIMS: tuple[int, ...] = ()
PIR_ADVICE = (
    "is a PaddlePaddle 3 program (PIR), which opt cannot read; export again with PaddlePaddle 2.6, or with 3.0-3.1 and "
    "FLAGS_enable_pir_api=0 in the environment"
)


@dataclass(frozen=True)
class Variable:
    """A variable of the graph; `dtype` is Paddle's number, `dims` may hold -1. `holder` marks feed and fetch lists."""

    name: str
    dtype: int
    dims: tuple[int, ...]
    persistable: bool
    holder: bool


@dataclass(frozen=True)
class Op:
    """An operator, the variables it reads and writes, and the names of its attributes."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Program:
    """The main block of a program file."""

    ops: tuple[Op, ...]
    variables: tuple[Variable, ...]

    def inputs(self) -> tuple[Variable, ...]:
        """What the graph is fed, in graph order."""
        return tuple(self._named(name) for op in self.ops if op.kind == "feed" for name in op.outputs)

    def outputs(self) -> tuple[str, ...]:
        return tuple(name for op in self.ops if op.kind == "fetch" for name in op.inputs)

    def parameters(self) -> tuple[Variable, ...]:
        """What the parameter file must hold."""
        return tuple(variable for variable in self.variables if variable.persistable and not variable.holder)

    def is_quantized(self) -> bool:
        """Whether 8-bit quantisation is written into the graph."""
        return any(op.kind.startswith(QUANTIZED_MARKS) for op in self.ops)

    def _named(self, name: str) -> Variable:
        return next(variable for variable in self.variables if variable.name == name)


class _Malformed(ValueError):
    """The bytes are no complete protobuf message of the expected kind."""


def parse_program(data: bytes, where: str) -> Program:
    """Read a `.pdmodel` or `__model__`. Raises ConversionError for anything but a whole graph with input and output."""
    _refuse_other_formats(data, where)
    try:
        blocks = [value for number, value in _fields(data) if number == 1]
        if not blocks:
            raise _Malformed("no block")
        program = _block(_message(blocks[0]))
    except (_Malformed, UnicodeDecodeError) as exc:
        raise ConversionError(f"{where}: not a whole Paddle program ({exc}); copy or export it again") from exc
    missing = [kind for kind in ("feed", "fetch") if kind not in {op.kind for op in program.ops}]
    if missing:
        raise ConversionError(
            f"{where}: the graph has no {' and no '.join(missing)} operator; export it for inference (paddle.jit.save)"
        )
    known = {variable.name for variable in program.variables}
    lost = sorted({name for op in program.ops if op.kind == "feed" for name in op.outputs} - known)
    if lost:
        raise ConversionError(f"{where}: input {', '.join(lost)} is not described; export the model again")
    return program


def check_parameters(program: Program, data: bytes, where: str) -> None:
    """Raise ConversionError unless `data` is a combined parameter file with exactly the program's tensors, by size.

    Paddle stores them sorted by name, without the names.
    """
    expected = sorted(program.parameters(), key=lambda variable: variable.name)
    offset = 0
    for variable in expected:
        try:
            dtype, dims, offset = _tensor(data, offset)
        except (_Malformed, struct.error) as exc:
            raise ConversionError(f"{where}: cut off or damaged at {variable.name} ({exc}); copy it again") from exc
        if not _matches(variable, dtype, dims):
            raise ConversionError(
                f"{where}: {variable.name} is {_describe(dtype, dims)}, the program says "
                f"{_describe(variable.dtype, variable.dims)}; program and parameters must come from one export"
            )
    if offset != len(data):
        raise ConversionError(
            f"{where}: {len(data) - offset} bytes too many; program and parameters must belong together"
        )


def _matches(variable: Variable, dtype: int, dims: tuple[int, ...]) -> bool:
    """Paddle's quantiser keeps 8-bit weights under a float32 name, and scales with more or fewer axes of length 1."""
    same_type = dtype == variable.dtype or (dtype, variable.dtype) == (INT8, FLOAT32)
    return same_type and [side for side in dims if side != 1] == [side for side in variable.dims if side != 1]


def _describe(dtype: int, dims: tuple[int, ...]) -> str:
    return f"{DTYPE_NAMES.get(dtype, f'type {dtype}')} {list(dims)}"


def _refuse_other_formats(data: bytes, where: str) -> None:
    if not data:
        raise ConversionError(f"{where}: empty; copy or export the model again")
    if data.lstrip()[:1] == b"{":
        pir = b'"pir"' in data[:4096]
        advice = PIR_ADVICE if pir else "is JSON, not a Paddle program; give the .pdmodel file"
        raise ConversionError(f"{where}: {advice}")


def _block(fields: list[tuple[int, int | bytes]]) -> Program:
    if not {1, 2} <= {number for number, _ in fields}:
        raise _Malformed("a block without index")
    variables = tuple(_variable(_message(value)) for number, value in fields if number == 3)
    ops = tuple(_op(_message(value)) for number, value in fields if number == 4)
    return Program(ops, variables)


def _op(fields: list[tuple[int, int | bytes]]) -> Op:
    kinds = [_text(value) for number, value in fields if number == 3]
    if len(kinds) != 1:
        raise _Malformed("an operator without type")
    inputs = tuple(name for number, value in fields if number == 1 for name in _arguments(value))
    outputs = tuple(name for number, value in fields if number == 2 for name in _arguments(value))
    attributes = frozenset(_text(dict(_message(value)).get(1, 0)) for number, value in fields if number == 4)
    return Op(kinds[0], inputs, outputs, attributes)


def _arguments(value: int | bytes) -> list[str]:
    return [_text(name) for number, name in _message(value) if number == 2]


def _variable(fields: list[tuple[int, int | bytes]]) -> Variable:
    by_number = dict(fields)
    if 1 not in by_number or 2 not in by_number:
        raise _Malformed("a variable without name or type")
    kind = dict(_message(by_number[2]))
    dtype, dims = -1, _NO_DIMS
    if 3 in kind:
        tensor = dict(_message(kind[3]))
        dtype, dims = _tensor_desc(tensor.get(1, b""))
    return Variable(_text(by_number[1]), dtype, dims, bool(by_number.get(3, 0)), kind.get(1) in HOLDER_TYPES)


def _tensor_desc(value: int | bytes) -> tuple[int, tuple[int, ...]]:
    fields = _message(value)
    dtypes = [number_value for number, number_value in fields if number == 1]
    dims = tuple(_signed(dim) for number, dim in fields if number == 2)
    if len(dtypes) != 1 or not isinstance(dtypes[0], int):
        raise _Malformed("a tensor without data type")
    return dtypes[0], dims


def _tensor(data: bytes, offset: int) -> tuple[int, tuple[int, ...], int]:
    """Data type, shape and end of the tensor stored at `offset`."""
    version, lod_levels, tensor_version, desc_bytes = struct.unpack_from("<IQIi", data, offset)
    if version or lod_levels or tensor_version or not 0 < desc_bytes < 1024:
        raise _Malformed("not a tensor")
    begin = offset + struct.calcsize("<IQIi")
    dtype, dims = _tensor_desc(data[begin : begin + desc_bytes])
    if dtype not in DTYPE_BYTES or any(dim < 0 for dim in dims):
        raise _Malformed("a tensor of unknown type")
    end = begin + desc_bytes + _product(dims) * DTYPE_BYTES[dtype]
    if end > len(data):
        raise _Malformed(f"{end - len(data)} bytes missing")
    return dtype, dims, end


def _product(dims: tuple[int, ...]) -> int:
    product = 1
    for dim in dims:
        product *= dim
    return product


def _message(value: int | bytes) -> list[tuple[int, int | bytes]]:
    if not isinstance(value, bytes):
        raise _Malformed("a number where a message belongs")
    return list(_fields(value))


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values of one message, which must end exactly with `data`."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise _Malformed("a field without number")
        if wire == VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        length, at = _length(data, at, wire)
        if at + length > len(data):
            raise _Malformed(f"cut off at byte {len(data)}")
        yield number, data[at : at + length]
        at += length


def _length(data: bytes, at: int, wire: int) -> tuple[int, int]:
    if wire == BYTES:
        return _varint(data, at)
    if wire in (FIXED32, FIXED64):
        return (4 if wire == FIXED32 else 8), at
    raise _Malformed(f"unknown wire type {wire}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise _Malformed(f"cut off at byte {len(data)}")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _Malformed("an overlong number")


def _signed(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise _Malformed("bytes where a number belongs")
    return value - (1 << 64) if value >> 63 else value


def _text(value: int | bytes) -> str:
    if not isinstance(value, bytes):
        raise _Malformed("a number where a name belongs")
    return value.decode()
