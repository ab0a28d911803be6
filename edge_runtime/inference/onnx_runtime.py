"""ONNX Runtime runs a bundle's `.onnx` file, on the processor or, where its build can, on an NVIDIA GPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.errors import BundleError, InferenceError
from edge_runtime.inference.bundle import Bundle
from edge_runtime.inference.network import NetworkSegmenter
from edge_runtime.inference.planes import INPUT_NAME, Port, check_ports, free_sides
from edge_runtime.vision.preprocess import TilePreprocessor

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8, InputContract

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
ERRORS_ONLY = 3


def open_onnx_runtime(
    bundle: Bundle,
    target: str = "onnx",
    threads: int = 1,
    spinning: bool = False,
    providers: Sequence[str] = ("cpu",),
    cache: Path | None = None,
) -> NetworkSegmenter:
    """A segmenter on one ONNX Runtime session.

    `providers` of `PROVIDERS` in order of preference; what they cannot compute, the processor does. `spinning`: threads
    wait for work at full speed, which takes the cores from the other processes. `cache`: a folder that keeps what
    TensorRT builds for this GPU, which takes minutes. Raises BundleError for a file that is not the manifest's network,
    InferenceError when ONNX Runtime is absent or cannot do as told.
    """
    artefact = bundle.artefact_for(target)
    where = str(bundle.folder / artefact.file)
    engine = _import_onnxruntime()
    chosen = _provider_options(engine, providers, cache)
    options = _options(engine, threads, spinning)
    for name, size in free_sides(bundle, artefact).items():
        options.add_free_dimension_override_by_name(name, size)
    session = _open(engine, bundle.read_onnx(artefact), options, chosen, where)
    check_ports(bundle, artefact.file, _ports(session.get_inputs()), _ports(session.get_outputs()))
    return NetworkSegmenter(bundle, where, _Session(session, where, bundle.input_contract))


class _Session:
    """`network.Engine` by a session, which reads its input where it lies."""

    def __init__(self, session: Any, where: str, contract: InputContract) -> None:
        self._session, self._where = session, where
        self._preprocessor = TilePreprocessor(contract)
        self._input = np.zeros((1, contract.channel_count, contract.tile_px, contract.tile_px), np.float32)

    def fill(self, picture: ImageU8, template: ImageU8 | None) -> None:
        self._preprocessor.write_floats(picture, template, self._input)

    def run(self) -> Sequence[Any]:
        try:
            return self._session.run(None, {INPUT_NAME: self._input})  # type: ignore[no-any-return]
        except Exception as exc:  # its errors have no base but this
            raise InferenceError(f"{self._where}: ONNX Runtime cannot run it: {_first_line(exc)}") from exc


def _import_onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as exc:
        raise InferenceError(
            f"ONNX Runtime cannot be imported ({exc}); install it: `pip install 'edge-defect-runtime[onnx]'`, on a "
            "Jetson the wheel that NVIDIA builds for its JetPack"
        ) from exc
    return onnxruntime


def _provider_options(engine: Any, providers: Sequence[str], cache: Path | None) -> list[tuple[str, dict[str, str]]]:
    """Each provider with its options, the processor last. Raises InferenceError for one this build lacks."""
    available = engine.get_available_providers()
    absent = [name for name in providers if PROVIDERS.get(name) not in available]
    if absent:
        known = ", ".join(name for name, provider in PROVIDERS.items() if provider in available)
        raise InferenceError(
            f"provider {absent[0]}: this build of ONNX Runtime has {known}; take a build with it, or leave it out"
        )
    options: dict[str, dict[str, str]] = {"cuda": {"use_tf32": "0"}}  # TF32 rounds like bf16: golden tiles would differ
    if cache is not None:
        options["tensorrt"] = {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(cache)}
    names = dict.fromkeys([*providers, "cpu"])
    return [(PROVIDERS[name], options.get(name, {})) for name in names]


def _options(engine: Any, threads: int, spinning: bool) -> Any:
    options = engine.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = engine.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    return options


def _open(engine: Any, data: bytes, options: Any, providers: list[tuple[str, dict[str, str]]], where: str) -> Any:
    try:
        session = engine.InferenceSession(data, options, providers=providers)
    except Exception as exc:  # its errors have no base but this
        raise BundleError(f"{where}: ONNX Runtime cannot open it: {_first_line(exc)}; pack a new version") from exc
    wanted = providers[0][0]
    if session.get_providers()[0] != wanted:
        raise InferenceError(
            f"{where}: ONNX Runtime gave up {wanted} for {session.get_providers()[0]}; look at its message above, or "
            "choose another provider"
        )
    return session


def _ports(ports: Sequence[Any]) -> list[Port]:
    return [Port(port.name, DTYPES.get(port.type, port.type), tuple(port.shape)) for port in ports]


def _first_line(exc: Exception) -> str:
    return next(iter(str(exc).splitlines()), type(exc).__name__)[:300]
