"""What a network for an NPU answers, and the rest of the computation: margins in, class ids and scores out.

A class's margin is its logit less the background's: the share that is no defect is 1 / (1 + sum of exp(margins)).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.errors import BundleError, InferenceError
from edge_runtime.inference.bundle import Bundle
from edge_runtime.vision.preprocess import TilePreprocessor

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8

    Margins = npt.NDArray[np.float32]
    Infer = Callable[[ImageU8], Margins]

MARGINS_NAME = "margins"
CERTAIN = np.float32(60)  # exp of it is far from overflow, and its score is 255


class MarginsEngine:
    """`network.Engine` on `infer`: pixels uint8 (1, tile_px, tile_px, C) to margins float32 (classes, cells, cells).

    `infer` raises InferenceError. `run` does so for margins that are not finite. Raises BundleError for a bundle whose
    planes do not follow from margins.
    """

    def __init__(self, bundle: Bundle, infer: Infer) -> None:
        self._kind = bundle.manifest.output.kind
        if self._kind not in ("class_and_score", "score"):
            raise BundleError(f"{bundle.folder}: output.kind {self._kind!r} does not follow from a network's margins")
        contract = bundle.input_contract
        side, channels = contract.tile_px, contract.channel_count
        self._where = str(bundle.folder)
        self._infer = infer
        self._preprocessor = TilePreprocessor(contract)
        self._planes = np.zeros((channels, side, side), np.uint8)
        self._pixels = np.zeros((1, side, side, channels), np.uint8)

    def fill(self, picture: ImageU8, template: ImageU8 | None) -> None:
        self._preprocessor.write_planes(picture, template, self._planes)
        np.copyto(self._pixels[0], self._planes.transpose(1, 2, 0))

    def run(self) -> Sequence[ImageU8]:
        margins = self._infer(self._pixels)
        if not np.isfinite(margins.sum()):  # half precision can overflow, and what compares with NaN looks clean
            raise InferenceError(f"{self._where}: the network's margins hold NaN or infinity; take another target")
        class_ids, scores = class_and_score(margins)
        return [class_ids, scores] if self._kind == "class_and_score" else [scores]


def class_and_score(margins: Margins) -> tuple[ImageU8, ImageU8]:
    """The likeliest defect class of each cell, from 1 on, and 255 times the probability that it is one, rounded.

    `margins`: (classes, height, width); of equal ones the first class wins. Both planes are uint8 (height, width).
    """
    flat = margins.reshape(len(margins), -1)
    best, class_ids = flat[0].copy(), np.ones(flat.shape[1], np.uint8)
    for class_id, margin in enumerate(flat[1:], 2):
        better = (margin > best).view(np.uint8)  # the classes ascend, so the largest was the last that was better
        np.maximum(class_ids, better * np.uint8(class_id), out=class_ids)
        np.maximum(best, margin, out=best)
    odds = cv2.exp(np.minimum(flat, CERTAIN)).sum(axis=0)
    scores = (odds / (1 + odds) * 255 + np.float32(0.5)).astype(np.uint8)
    return class_ids.reshape(margins.shape[1:]), scores.reshape(margins.shape[1:])
