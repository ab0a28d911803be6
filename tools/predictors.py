"""A bundle opened by name: which engine, which of its networks, which arithmetic, as the device would be told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from edge_runtime.config_inspection import InspectionSettings, inspection_of
from edge_runtime.engines import allowed_share, build_segmenter, target_of, with_tiles
from edge_runtime.inference.bundle import Bundle
from edge_runtime.interfaces import Segmenter
from edge_runtime.values import Recipe

Backend = Literal["paddle_lite", "onnxruntime", "openvino"]
OpenVinoPrecision = Literal["f32", "bf16", "f16"]


@dataclass(frozen=True)
class Predictor:
    """How a bundle is run: `target` None is the backend's own on this machine; `precision` is OpenVINO's."""

    backend: str = "paddle_lite"
    target: str | None = None
    precision: str = "f32"

    def open(self, bundle: Bundle) -> Segmenter:
        """One thread, this process: the engine can abort it. Raises BundleError, InferenceError, ConfigError."""
        return build_segmenter(self._settings(bundle), bundle)

    def sized(self, bundle: Bundle, image_hw: tuple[int, int]) -> Bundle:
        """See `engines.with_tiles`; the whole picture, one worker."""
        settings = self._settings(bundle).model_copy(update={"workers": 1})
        return with_tiles(settings, bundle, Recipe("whole"), image_hw)

    def allowed_share(self, bundle: Bundle) -> float:
        """See `engines.allowed_share`."""
        return allowed_share(self._settings(bundle), bundle)

    def name(self, bundle: Bundle) -> str:
        """As reports call it: the file, and the engine where it is not Paddle Lite."""
        file = bundle.artefact_for(target_of(self._settings(bundle))).file
        by = "" if self.backend == "paddle_lite" else f" by {self.backend}"
        return f"{file}{by}{'' if self.precision == 'f32' else f' in {self.precision}'}"

    def _settings(self, bundle: Bundle) -> InspectionSettings:
        return inspection_of(bundle.folder, self.backend, self.target, self.precision)


def sized_for(predictor: Predictor, bundle: Bundle, sizes_hw: Iterable[tuple[int, int]]) -> Bundle:
    """The bundle with the tiles that one worker takes for pictures of these sizes; the smallest must hold them.

    Raises BundleError.
    """
    heights, widths = zip(*sizes_hw, strict=True)
    return predictor.sized(bundle, (min(heights), min(widths)))


PADDLE_LITE = Predictor()
