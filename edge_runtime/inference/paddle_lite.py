"""Paddle Lite runs a bundle's `.nb` file. It can abort the process, so this lives in a child process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.errors import BundleError, InferenceError
from edge_runtime.inference.bundle import Bundle, machine_target
from edge_runtime.inference.nb_file import check_nb, nnadapter_device, read_nb_header
from edge_runtime.inference.planes import Answers
from edge_runtime.inference.tile_check import check_tile

if TYPE_CHECKING:
    from edge_runtime.interfaces import TileF32
    from edge_runtime.values import ImageU8, InputContract

POWER_MODES = ("high", "low", "full", "no_bind", "rand_high", "rand_low")


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
        self._answers = Answers(bundle)
        self._where = f"{bundle.folder}"
        self._predictor: Any = _load(bundle, target or machine_target(), threads, power_mode)
        self._answers.check_count(len(self._predictor.get_input_names()), len(self._predictor.get_output_names()))
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
        # Copies: the next run overwrites the predictor's own memory.
        views = (self._predictor.get_output(index).numpy() for index in range(len(self._answers.names)))
        return self._answers.sorted([self._answers.plane(view, index) for index, view in enumerate(views)])

    def close(self) -> None:
        """Let go of the predictor; what `predict` gave stays valid."""
        self._predictor = None

    def _allocate_input(self) -> None:
        """Fix the input's size for life.

        `from_numpy` copies nothing when NumPy 2 is installed, and a view of a tensor that was only resized points to
        no memory; so the list setter allocates once, and each tile is copied into a view.
        """
        shape = [1, self._contract.channel_count, self._contract.tile_px, self._contract.tile_px]
        tensor = self._predictor.get_input(0)
        tensor.resize(shape)
        tensor.set_float_data([0.0] * int(np.prod(shape)))


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
