"""A bundle's network behind the segmenter's seam, whichever engine runs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from edge_runtime.errors import InferenceError
from edge_runtime.inference.bundle import Bundle
from edge_runtime.inference.planes import Answers
from edge_runtime.inference.tile_check import check_tile

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8, InputContract


class Engine(Protocol):
    """One loaded network with its own input memory. Raises InferenceError."""

    def fill(self, picture: ImageU8, template: ImageU8 | None) -> None:
        """Write a checked tile into the input, by the contract (`vision.preprocess.TilePreprocessor`)."""
        ...

    def run(self) -> Sequence[Any]:
        """Compute what lies in the input: the outputs in the order of the bundle's network.

        They may be the engine's own memory, which the next run overwrites. The input is left as it was.
        """
        ...


class NetworkSegmenter:
    """A segmenter on an engine. `where`: the network's file, for messages.

    Synchronization: one thread owns it.
    """

    def __init__(self, bundle: Bundle, where: str, engine: Engine) -> None:
        self._bundle = bundle
        self._answers = Answers(bundle)
        self._where = where
        self._engine: Engine | None = engine

    @property
    def input_contract(self) -> InputContract:
        return self._bundle.input_contract

    @property
    def mask_stride_px(self) -> int:
        return self._bundle.mask_stride_px

    def predict(self, picture: ImageU8, template: ImageU8 | None = None) -> tuple[ImageU8, ImageU8]:
        """See `interfaces.Segmenter`: `fill`, then `answer`."""
        self.fill(picture, template)
        return self.answer()

    def fill(self, picture: ImageU8, template: ImageU8 | None = None) -> None:
        """The first half of `predict`: check the tile and write it into the engine's input."""
        check_tile(picture, template, self._bundle.input_contract)
        self._opened().fill(picture, template)

    def answer(self) -> tuple[ImageU8, ImageU8]:
        """The second half: the network computed on what its input holds, each time anew."""
        outputs = self._opened().run()
        return self._answers.sorted([self._answers.plane(view, index) for index, view in enumerate(outputs)])

    def close(self) -> None:
        """Let go of the engine, and of the memory that holds the last answer."""
        self._engine = None

    def _opened(self) -> Engine:
        if self._engine is None:
            raise InferenceError(f"{self._where}: the segmenter is closed; open a new one")
        return self._engine
