"""OpenVINO runs a bundle's `.onnx` file on the processor of an x86-64 gateway."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from edge_runtime.errors import BundleError, InferenceError
from edge_runtime.inference.bundle import Bundle
from edge_runtime.inference.network import NetworkSegmenter
from edge_runtime.inference.planes import Port, check_ports

if TYPE_CHECKING:
    from edge_runtime.interfaces import TileF32

DEVICE = "CPU"
PRECISIONS = ("f32", "bf16", "f16")
DTYPES = {"f32": "float32", "u8": "uint8"}


def open_openvino(bundle: Bundle, target: str = "onnx", threads: int = 1, precision: str = "f32") -> NetworkSegmenter:
    """A segmenter on one compiled OpenVINO model.

    `precision` of `PRECISIONS` is what it computes in, always told: left alone, OpenVINO takes bf16 where the processor
    multiplies it in hardware. Raises BundleError for a file that is not the manifest's network, InferenceError when
    OpenVINO is absent or cannot do as told.
    """
    artefact = bundle.artefact_for(target)
    where = str(bundle.folder / artefact.file)
    engine = _import_openvino()
    model = _compile(engine, bundle.read_onnx(artefact), _properties(threads, precision), where)
    _check_precision(model, precision, where)
    check_ports(bundle, artefact.file, _ports(model.inputs), _ports(model.outputs))
    return NetworkSegmenter(bundle, where, partial(_run, model.create_infer_request(), len(model.outputs), where))


def _run(request: Any, output_count: int, where: str, tile: TileF32) -> Sequence[Any]:
    try:
        request.infer({0: tile})
    except RuntimeError as exc:
        raise InferenceError(f"{where}: OpenVINO cannot run it: {_last_line(exc)}") from exc
    return [request.get_output_tensor(index).data for index in range(output_count)]


def _import_openvino() -> Any:
    # Its import reports to a web server from a forked process; without this package it does not.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as exc:
        raise InferenceError(
            f"OpenVINO cannot be imported ({exc}); install it: `pip install 'edge-defect-runtime[openvino]'`"
        ) from exc
    return openvino


def _properties(threads: int, precision: str) -> dict[str, object]:
    """One stream for one tile at a time. Not pinned: several workers would be pinned to the same core."""
    if precision not in PRECISIONS:
        raise InferenceError(f"precision {precision!r}: allowed are {', '.join(PRECISIONS)}")
    return {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
    }


def _compile(engine: Any, data: bytes, properties: dict[str, object], where: str) -> Any:
    core = engine.Core()
    try:
        return core.compile_model(core.read_model(data), DEVICE, properties)
    except RuntimeError as exc:
        raise BundleError(f"{where}: OpenVINO cannot open it: {_last_line(exc)}; pack a new version") from exc


def _check_precision(model: Any, precision: str, where: str) -> None:
    found = model.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if found != precision:
        raise InferenceError(
            f"{where}: OpenVINO computes in {found} on this processor, not in {precision}; set that precision"
        )


def _ports(ports: Sequence[Any]) -> list[Port]:
    """The shapes are fixed: a free side shows as the word that OpenVINO has for it."""
    found = []
    for port in ports:
        dtype = port.get_element_type().get_type_name()
        dims = tuple(_dim(dim) for dim in port.partial_shape)
        found.append(Port(port.get_any_name(), DTYPES.get(dtype, dtype), dims))
    return found


def _dim(dim: Any) -> object:
    return dim.get_length() if dim.is_static else str(dim)


def _last_line(exc: Exception) -> str:
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return (lines[-1] if lines else type(exc).__name__)[:300]
