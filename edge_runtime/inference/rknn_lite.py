"""Rockchip's runtime runs a bundle's `.rknn` file on one core of an RK3588's NPU. Native, so in a child process."""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.errors import BundleError, InferenceError
from edge_runtime.inference.bundle import Bundle
from edge_runtime.inference.margins import MarginsEngine
from edge_runtime.inference.network import NetworkSegmenter
from edge_runtime.inference.npu import find_npu
from edge_runtime.inference.rknn_file import check_rknn
from edge_runtime.interfaces import Segmenter

if TYPE_CHECKING:
    from edge_runtime.inference.margins import Margins
    from edge_runtime.values import ImageU8

CORES = (0, 1, 2)


def open_rknn(bundle: Bundle, target: str = "rknn", core: int = 0) -> Segmenter:
    """A segmenter on core `core` of the NPU.

    Raises BundleError for a file that is not the manifest's network, InferenceError when the runtime is absent or
    cannot do as told: it answers by numbers and prints its reasons, so they are in the log above.
    """
    artefact = bundle.artefact_for(target)
    where = str(bundle.folder / artefact.file)
    if artefact.rknn_version is None:
        raise BundleError(f"{where}: made for {target}, not an RKNN file; choose another target")
    if core not in CORES:
        raise InferenceError(f"NPU core {core}: RK3588 has {', '.join(map(str, CORES))}")
    data = bundle.read(artefact)
    tile, answer = rknn_tensors(bundle)
    check_rknn(data, artefact.rknn_version, tile, answer, where)
    runtime = _opened(_import_rknnlite(), data, core, where)
    engine = MarginsEngine(bundle, partial(_infer, runtime, answer, where))
    weakref.finalize(engine, runtime.release)
    return NetworkSegmenter(bundle, where, engine)


def rknn_tensors(bundle: Bundle) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The sizes of an RKNN network's input and output for this bundle: (1, C, H, W) both."""
    contract = bundle.input_contract
    side, cells = contract.tile_px, contract.tile_px // bundle.mask_stride_px
    return (1, contract.channel_count, side, side), (1, len(bundle.classes), cells, cells)


def _import_rknnlite() -> Any:
    try:
        from rknnlite import api
    except ImportError as exc:
        raise InferenceError(
            f"Rockchip's runtime cannot be imported ({exc}); on an RK3588: `pip install 'edge-defect-runtime[rknn]'`"
        ) from exc
    return api


def _opened(api: Any, data: bytes, core: int, where: str) -> Any:
    """The runtime on the very bytes that were verified: it reads files only, so it gets one in memory."""
    runtime = api.RKNNLite()
    with _in_memory(data) as path:
        _must(runtime.load_rknn(path), "load_rknn", where)
    code = runtime.init_runtime(core_mask=getattr(runtime, f"NPU_CORE_{core}"))
    if code != 0:
        runtime.release()
        raise InferenceError(f"{where}: the NPU cannot be used (init_runtime answered {code}): {find_npu()}")
    return runtime


@contextlib.contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    descriptor = os.memfd_create("network.rknn", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _must(code: int, step: str, where: str) -> None:
    if code != 0:
        raise InferenceError(f"{where}: {step} of Rockchip's runtime answered {code}; its reasons are in the log above")


def _infer(runtime: Any, answer: tuple[int, ...], where: str, pixels: ImageU8) -> Margins:
    outputs = runtime.inference(inputs=[pixels], data_format=["nhwc"])
    if not outputs or outputs[0] is None:
        raise InferenceError(f"{where}: the NPU gave no answer; its runtime's reasons are in the log above")
    margins = np.asarray(outputs[0])
    if len(outputs) != 1 or margins.dtype != np.float32 or margins.shape != answer:
        raise InferenceError(f"{where}: the NPU answers {margins.dtype} {margins.shape}, not float32 {answer}")
    whole: Margins = margins[0]
    return whole
