"""A bundle's network behind the segmenter's seam, whichever engine runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from edge_runtime.errors import InferenceError
from edge_runtime.inference.bundle import Bundle
from edge_runtime.inference.planes import Answers
from edge_runtime.inference.tile_check import check_tile

if TYPE_CHECKING:
    from edge_runtime.interfaces import TileF32
    from edge_runtime.values import ImageU8, InputContract

Run = Callable[["TileF32"], Sequence[Any]]


class NetworkSegmenter:
    """A segmenter on `run`, which computes one checked tile.

    `run` gives the outputs in the order of the bundle's network; they may be the engine's own memory, which the next
    run overwrites. It raises InferenceError. `where`: the network's file, for messages.
    Synchronization: one thread owns it.
    """

    def __init__(self, bundle: Bundle, where: str, run: Run) -> None:
        self._bundle = bundle
        self._answers = Answers(bundle)
        self._where = where
        self._run: Run | None = run

    @property
    def input_contract(self) -> InputContract:
        return self._bundle.input_contract

    @property
    def mask_stride_px(self) -> int:
        return self._bundle.mask_stride_px

    def predict(self, tile: TileF32) -> tuple[ImageU8, ImageU8]:
        """See `interfaces.Segmenter`."""
        check_tile(tile, self._bundle.input_contract)
        if self._run is None:
            raise InferenceError(f"{self._where}: the segmenter is closed; open a new one")
        return self._answers.sorted([self._answers.plane(view, index) for index, view in enumerate(self._run(tile))])

    def close(self) -> None:
        """Let go of the engine; what `predict` gave stays valid."""
        self._run = None
