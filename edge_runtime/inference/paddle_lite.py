"""Paddle Lite runs a bundle's `.nb` file. It can abort the process, so this lives in a child process."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edge_runtime.errors import BundleError, InferenceError
from edge_runtime.inference.bundle import Bundle, machine_target
from edge_runtime.inference.nb_file import check_nb, nnadapter_device, read_nb_header
from edge_runtime.inference.network import NetworkSegmenter
from edge_runtime.inference.planes import check_count
from edge_runtime.vision.preprocess import TilePreprocessor

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8, InputContract

POWER_MODES = ("high", "low", "full", "no_bind", "rand_high", "rand_low")


class PaddleLiteSegmenter(NetworkSegmenter):
    """A segmenter on one Paddle Lite predictor of one tile size.

    `target` names the artefact, by default this machine's. Raises BundleError for a file the predictor must not see
    and InferenceError when this build of Paddle Lite is absent or cannot do as told.
    Synchronization: one thread owns it; `predict` holds the interpreter lock while it computes.
    """

    def __init__(
        self, bundle: Bundle, threads: int = 1, power_mode: str | None = None, target: str | None = None
    ) -> None:
        predictor = _load(bundle, target or machine_target(), threads, power_mode)
        check_count(bundle, len(predictor.get_input_names()), len(predictor.get_output_names()))
        super().__init__(bundle, f"{bundle.folder}", _Predictor(predictor, bundle.input_contract))


class _Predictor:
    """`network.Engine` by a predictor, whose input is written where it lies."""

    def __init__(self, predictor: Any, contract: InputContract) -> None:
        self._predictor = predictor
        self._preprocessor = TilePreprocessor(contract)
        self._output_count = len(predictor.get_output_names())
        self._allocate_input((1, contract.channel_count, contract.tile_px, contract.tile_px))

    def fill(self, picture: ImageU8, template: ImageU8 | None) -> None:
        self._preprocessor.write_floats(picture, template, self._predictor.get_input(0).numpy())

    def run(self) -> Sequence[Any]:
        self._predictor.run()
        return [self._predictor.get_output(index).numpy() for index in range(self._output_count)]

    def _allocate_input(self, shape: tuple[int, ...]) -> None:
        """Fix the input's size for life.

        `from_numpy` copies nothing when NumPy 2 is installed, and a view of a tensor that was only resized points to
        no memory; so the list setter allocates once, and each tile is written into a view.
        """
        tensor = self._predictor.get_input(0)
        tensor.resize(list(shape))
        tensor.set_float_data([0.0] * math.prod(shape))


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
