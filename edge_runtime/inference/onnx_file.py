"""An ONNX file walked before an engine sees it: whole, self-contained, and of the operations that everybody knows.

Source of the field numbers: onnx.proto of ONNX 1.12. The engines follow a tensor's `external_data` to any path, which
no digest covers, so a file that has some is refused.
"""

from __future__ import annotations

from collections.abc import Iterator

from edge_runtime.errors import BundleError

ANSWER = "pack the bundle again"
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
FIXED_BYTES = {FIXED64: 8, FIXED32: 4}
MAX_DEPTH = 16
# Of a model: versions, texts, graph, opsets, metadata. Neither functions nor training.
MODEL_FIELDS = frozenset((1, 2, 3, 4, 5, 6, 7, 8, 14))
GRAPH, OPSET = 7, 8
EXTERNAL_DATA, DATA_LOCATION = 13, 14
# Messages inside messages by field number.
INSIDE: dict[str, dict[int, str]] = {
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
NODE_DOMAIN = 7
Value = int | memoryview


def check_onnx(data: bytes, opset: int, where: str) -> None:
    """Raise BundleError unless `data` is a whole model of operation set `opset` that needs no other file."""
    try:
        fields = list(_fields(memoryview(data)))
        _check_model(fields, opset)
        for _, graph in (one for one in fields if one[0] == GRAPH):
            _walk("graph", graph, MAX_DEPTH)
    except ValueError as exc:
        raise BundleError(f"{where}: not an ONNX network to be trusted: {exc}; {ANSWER}") from exc


def _check_model(fields: list[tuple[int, Value]], opset: int) -> None:
    numbers = {number for number, _ in fields}
    if not numbers <= MODEL_FIELDS:
        raise ValueError(f"the model has field {min(numbers - MODEL_FIELDS)}")
    if [number for number, _ in fields].count(GRAPH) != 1:
        raise ValueError("it has no graph, or several")
    found = [_opset(value) for number, value in fields if number == OPSET]
    if found != [("", opset)]:
        shown = ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in found) or "none"
        raise ValueError(f"its operation sets are {shown}, the manifest says {opset}")


def _opset(message: Value) -> tuple[str, int]:
    values = dict(_fields(_message(message)))
    version = values.get(2, 0)
    return bytes(_message(values.get(1, memoryview(b"")))).decode("utf-8"), version if isinstance(version, int) else 0


def _walk(kind: str, message: Value, depth: int) -> None:
    """Look into every message below this one."""
    if depth == 0:
        raise ValueError(f"graphs inside graphs, deeper than {MAX_DEPTH}")
    inside = INSIDE[kind]
    for number, value in _fields(_message(message)):
        if kind == "tensor" and (number == EXTERNAL_DATA or (number == DATA_LOCATION and value != 0)):
            raise ValueError("a tensor lies in another file")
        if kind == "node" and number == NODE_DOMAIN and len(_message(value)):
            raise ValueError(f"an operation of {bytes(_message(value))[:40]!r}")
        if number in inside:
            _walk(inside[number], value, depth - 1)


def _message(value: Value) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where a message belongs")
    return value


def _fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    """The fields of a protobuf message in order; fixed-size ones as bytes. Raises ValueError where it is cut."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        if wire == VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if wire != BYTES and wire not in FIXED_BYTES:
            raise ValueError(f"no protobuf: wire type {wire}")
        size = FIXED_BYTES.get(wire)
        if size is None:
            size, at = _varint(data, at)
        if size > len(data) - at:
            raise ValueError("cut off")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("cut off")
        byte, at = data[at], at + 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("no protobuf: a number without end")
