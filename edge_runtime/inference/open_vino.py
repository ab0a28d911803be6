"""OpenVINO runs a bundle's `.onnx` file on the processor of an x86-64 gateway."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edge_runtime.errors import BundleError, InferenceError
from edge_runtime.inference.bundle import Bundle
from edge_runtime.inference.network import NetworkSegmenter
from edge_runtime.inference.open_vino_answer import compare_planes
from edge_runtime.inference.planes import Port, check_ports, free_sides
from edge_runtime.vision.preprocess import TilePreprocessor

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8, InputContract

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
    core = engine.Core()
    network = _read(core, bundle.read_onnx(artefact), where)
    if free_sides(bundle, artefact):
        _fix_sides(network, bundle.input_contract, where)
    check_ports(bundle, artefact.file, _ports(network.inputs), _ports(network.outputs))
    if bundle.manifest.output.kind == "class_and_score":
        compare_planes(engine, network)
    _take_pixels(engine, network, bundle.input_contract)
    model = _compile(core, network, _properties(threads, precision), where)
    _check_precision(model, precision, where)
    return NetworkSegmenter(
        bundle, where, _Request(model.create_infer_request(), len(model.outputs), where, bundle.input_contract)
    )


class _Request:
    """`network.Engine` by an infer request, which takes pixels and scales them in its graph."""

    def __init__(self, request: Any, output_count: int, where: str, contract: InputContract) -> None:
        self._request, self._output_count, self._where = request, output_count, where
        self._preprocessor = TilePreprocessor(contract)
        self._input = request.get_input_tensor().data[0]

    def fill(self, picture: ImageU8, template: ImageU8 | None) -> None:
        self._preprocessor.write_planes(picture, template, self._input)

    def run(self) -> Sequence[Any]:
        try:
            self._request.infer()
        except RuntimeError as exc:
            raise InferenceError(f"{self._where}: OpenVINO cannot run it: {_last_line(exc)}") from exc
        return [self._request.get_output_tensor(index).data for index in range(self._output_count)]


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


def _read(core: Any, data: bytes, where: str) -> Any:
    try:
        return core.read_model(data)
    except RuntimeError as exc:
        raise _not_opened(where, exc) from exc


def _fix_sides(network: Any, contract: InputContract, where: str) -> None:
    try:
        network.reshape([1, contract.channel_count, contract.tile_px, contract.tile_px])
    except RuntimeError as exc:
        raise _not_opened(where, exc) from exc


def _take_pixels(engine: Any, network: Any, contract: InputContract) -> None:
    """Let the network begin with the contract's scaling: its input is then uint8, in the contract's channel order."""
    steps = engine.preprocess.PrePostProcessor(network)
    port = steps.input()
    port.tensor().set_element_type(engine.Type.u8).set_layout(engine.Layout("NCHW"))
    port.model().set_layout(engine.Layout("NCHW"))
    repeats = contract.channel_count // len(contract.mean)
    scaled = port.preprocess().convert_element_type(engine.Type.f32)
    scaled.mean([255.0 * mean for mean in contract.mean] * repeats)
    scaled.scale([255.0 * std for std in contract.std] * repeats)
    steps.build()


def _compile(core: Any, network: Any, properties: dict[str, object], where: str) -> Any:
    try:
        return core.compile_model(network, DEVICE, properties)
    except RuntimeError as exc:
        raise _not_opened(where, exc) from exc


def _not_opened(where: str, exc: RuntimeError) -> BundleError:
    return BundleError(f"{where}: OpenVINO cannot open it: {_last_line(exc)}; pack a new version")


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
