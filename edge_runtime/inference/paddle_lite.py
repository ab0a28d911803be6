"""Paddle Lite runs a bundle's `.nb` file. It can abort the process, so this lives in a child process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.errors import BundleError, InferenceError
from edge_runtime.inference.bundle import Bundle, machine_target
from edge_runtime.inference.nb_file import check_nb, nnadapter_device, read_nb_header
from edge_runtime.inference.tile_check import check_tile

if TYPE_CHECKING:
    from edge_runtime.interfaces import TileF32
    from edge_runtime.values import ImageU8, InputContract

POWER_MODES = ("high", "low", "full", "no_bind", "rand_high", "rand_low")
OUTPUT_COUNTS = {"class_and_score": 2, "class_ids": 1, "score": 1}


class PaddleLiteSegmenter:
    """A segmenter on one Paddle Lite predictor of one tile size.

    `target` names the artefact, by default this machine's. Raises BundleError for a file the predictor must not see
    and InferenceError when this build of Paddle Lite is absent or cannot do as told.
    Synchronization: one thread owns it; `predict` holds the interpreter lock while it computes.
    """

    def __init__(
        self, bundle: Bundle, threads: int = 1, power_mode: str | None = None, target: str | None = None
    ) -> None:
        self._bundle = bundle
        self._contract = bundle.input_contract
        self._cells = self._contract.tile_px // bundle.mask_stride_px
        self._where = f"{bundle.folder}"
        self._predictor: Any = _load(bundle, target or machine_target(), threads, power_mode)
        self._check_arity()
        self._allocate_input()

    @property
    def input_contract(self) -> InputContract:
        return self._contract

    @property
    def mask_stride_px(self) -> int:
        return self._bundle.mask_stride_px

    def predict(self, tile: TileF32) -> tuple[ImageU8, ImageU8]:
        """See `interfaces.Segmenter`."""
        check_tile(tile, self._contract)
        if self._predictor is None:
            raise InferenceError(f"{self._where}: the segmenter is closed; open a new one")
        np.copyto(self._predictor.get_input(0).numpy(), tile)
        self._predictor.run()
        return self._planes([self._output(index) for index in range(self._output_count)])

    def close(self) -> None:
        """Let go of the predictor; what `predict` gave stays valid."""
        self._predictor = None

    @property
    def _output_count(self) -> int:
        return OUTPUT_COUNTS[self._bundle.manifest.output.kind]

    def _check_arity(self) -> None:
        found = (len(self._predictor.get_input_names()), len(self._predictor.get_output_names()))
        if found != (1, self._output_count):
            raise BundleError(
                f"{self._where}: output.kind {self._bundle.manifest.output.kind!r} means 1 input and "
                f"{self._output_count} outputs, the network has {found[0]} and {found[1]}; correct the manifest"
            )

    def _allocate_input(self) -> None:
        """Fix the input's size for life.

        `from_numpy` copies nothing when NumPy 2 is installed, and a view of a tensor that was only resized points to
        no memory; so the list setter allocates once, and each tile is copied into a view.
        """
        shape = [1, self._contract.channel_count, self._contract.tile_px, self._contract.tile_px]
        tensor = self._predictor.get_input(0)
        tensor.resize(shape)
        tensor.set_float_data([0.0] * int(np.prod(shape)))

    def _output(self, index: int) -> ImageU8:
        """A copy: the next run overwrites the predictor's own memory."""
        view = self._predictor.get_output(index).numpy()
        side = self._cells
        if view.dtype != np.uint8 or view.size != side * side or view.shape[-2:] != (side, side):
            raise InferenceError(
                f"{self._where}: output {index} is {view.dtype} {view.shape}, the manifest promises uint8 "
                f"({side}, {side}); convert the model again and pack a new version"
            )
        return np.array(view, np.uint8).reshape(side, side)

    def _planes(self, outputs: list[ImageU8]) -> tuple[ImageU8, ImageU8]:
        kind = self._bundle.manifest.output.kind
        if kind == "class_and_score":
            return outputs[0], outputs[1]
        (plane,) = outputs
        if kind == "class_ids":
            return plane, np.where(plane > 0, 255, 0).astype(np.uint8)
        return np.full_like(plane, self._bundle.manifest.classes[0].id), plane


def _load(bundle: Bundle, target: str, threads: int, power_mode: str | None) -> Any:
    """A predictor on the very bytes that were verified."""
    artefact = bundle.artefact_for(target)
    where = str(bundle.folder / artefact.file)
    if (target == "x86") != (machine_target() == "x86"):
        raise BundleError(f"{where}: made for {target}, not for this {machine_target()} machine; choose another target")
    data = bundle.read(artefact)
    check_nb(read_nb_header(data, where), target, where)
    lite = _import_lite()
    config = lite.MobileConfig()
    _set_threads(config, threads)
    _set_power_mode(config, lite, power_mode)
    _set_device(config, nnadapter_device(target))
    config.set_model_from_buffer(data)
    return lite.create_paddle_predictor(config)


def _import_lite() -> Any:
    # Lite x86 computes on one thread; more OpenMP threads only spin.
    if machine_target() == "x86":
        os.environ["OMP_NUM_THREADS"] = "1"
    try:
        import paddlelite.lite as lite
    except ImportError as exc:
        raise InferenceError(
            f"Paddle Lite cannot be imported ({exc}); install it: on x86-64 `pip install 'edge-defect-runtime[lite]'`, "
            "on aarch64 the wheel of the board's own build of Paddle Lite 2.13 (with its Python binding)"
        ) from exc
    return lite


def _set_threads(config: Any, threads: int) -> None:
    if hasattr(config, "set_threads"):
        config.set_threads(threads)
    elif threads != 1:
        raise InferenceError(f"inference threads {threads}: this build of Paddle Lite computes on one; set it to 1")


def _set_power_mode(config: Any, lite: Any, power_mode: str | None) -> None:
    if power_mode is None:
        return
    if power_mode not in POWER_MODES:
        raise InferenceError(f"power mode {power_mode!r}: allowed are {', '.join(POWER_MODES)}")
    if not hasattr(config, "set_power_mode"):
        raise InferenceError(f"power mode {power_mode!r}: this build of Paddle Lite has none; leave the setting out")
    config.set_power_mode(getattr(lite.PowerMode, f"LITE_POWER_{power_mode.upper()}"))


def _set_device(config: Any, device: str | None) -> None:
    if device is None:
        return
    if not hasattr(config, "set_nnadapter_device_names"):
        raise InferenceError(
            f"target {device}: this build of Paddle Lite has no NNAdapter; take a build for that device"
        )
    config.set_nnadapter_device_names([device])
