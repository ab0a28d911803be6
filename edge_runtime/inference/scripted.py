"""The fake segmenter: its answers, its pace and its accidents are written in the picture itself.

The grey value (0..255) of a pixel's first channel says what happens:

| grey       | effect                                                                                |
|------------|---------------------------------------------------------------------------------------|
| 101 .. 106 | the cell is class 1 .. 6 with score 255; of several in one cell the highest class wins |
| 241        | anywhere in the tile: the process dies of SIGSEGV                                     |
| 242        | dies of SIGABRT                                                                       |
| 243        | never answers                                                                         |
| 244        | answers arrays of a wrong shape                                                       |
| 245        | takes 20 times as long                                                                |
| any other  | background: class 0, score 0                                                          |

Where the contract has a template, a pixel that equals the template's is background, whatever its grey.

A cell depends on its own pixels alone, so the receptive radius is 0. Pictures for it must keep clear of the values
they do not mean.
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import numpy as np

from edge_runtime.clock import NS_PER_MS, NS_PER_S
from edge_runtime.errors import InferenceError
from edge_runtime.inference.tile_check import check_tile
from edge_runtime.vision.preprocess import TilePreprocessor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_runtime.values import ImageU8, InputContract

CLASS_BASE_GREY = 100
CLASS_IDS = (1, 2, 3, 4, 5, 6)
SEGFAULT_GREY, ABORT_GREY, HANG_GREY, RUBBISH_GREY, SLOW_GREY = 241, 242, 243, 244, 245
SLOW_FACTOR = 20


class ScriptedSegmenter:
    """A segmenter that needs no model; see the table above.

    A tile takes `predict_ms`: asleep, or with `busy` as that much processor time of this thread, as a predictor would.
    `classes` are the class ids it marks, of 1..6.
    """

    def __init__(
        self,
        contract: InputContract,
        mask_stride_px: int,
        predict_ms: float = 0.0,
        classes: Sequence[int] = CLASS_IDS,
        busy: bool = False,
    ) -> None:
        if mask_stride_px < 1 or contract.tile_px % mask_stride_px:
            raise InferenceError(f"mask_stride_px {mask_stride_px} must divide tile_px {contract.tile_px}")
        if not set(classes) <= set(CLASS_IDS):
            raise InferenceError(f"scripted classes {list(classes)}: allowed are {list(CLASS_IDS)}")
        self._contract = contract
        self._mask_stride_px = mask_stride_px
        self._predict_ms = predict_ms
        self._busy = busy
        self._closed = False
        self._preprocessor = TilePreprocessor(contract)
        self._planes = np.zeros((contract.channel_count, contract.tile_px, contract.tile_px), np.uint8)
        self._marks = np.zeros(256, np.uint8)
        for class_id in classes:
            self._marks[CLASS_BASE_GREY + class_id] = class_id

    @property
    def input_contract(self) -> InputContract:
        return self._contract

    @property
    def mask_stride_px(self) -> int:
        return self._mask_stride_px

    def predict(self, picture: ImageU8, template: ImageU8 | None = None) -> tuple[ImageU8, ImageU8]:
        """See `interfaces.Segmenter`."""
        started_ns = self._now_ns()
        check_tile(picture, template, self._contract)
        if self._closed:
            raise InferenceError("the scripted segmenter is closed; open a new one")
        grey = self._telling(picture, template)
        commands = set(np.flatnonzero(np.bincount(grey.ravel())).tolist())
        _meet_with_accident(commands)
        class_ids = self._cells(self._marks.take(grey))
        self._take_ms(started_ns, self._predict_ms * (SLOW_FACTOR if SLOW_GREY in commands else 1))
        if RUBBISH_GREY in commands:
            return class_ids[:1], class_ids[:, :1]
        return class_ids, np.where(class_ids > 0, 255, 0).astype(np.uint8)

    def close(self) -> None:
        self._closed = True

    def _telling(self, picture: ImageU8, template: ImageU8 | None) -> ImageU8:
        """The first channel's grey values, 0 where they equal the template's."""
        self._preprocessor.write_planes(picture, template, self._planes)
        grey: ImageU8 = self._planes[0]
        if template is not None:
            grey[grey == template] = 0
        return grey

    def _cells(self, marks: ImageU8) -> ImageU8:
        """The highest mark of each `mask_stride_px` square."""
        stride, side = self._mask_stride_px, self._contract.tile_px // self._mask_stride_px
        rows = np.maximum.reduce(marks.reshape(side, stride, side * stride), axis=1)
        return np.asarray(np.maximum.reduce([rows[:, offset::stride] for offset in range(stride)]), dtype=np.uint8)

    def _now_ns(self) -> int:
        return time.thread_time_ns() if self._busy else time.monotonic_ns()

    def _take_ms(self, started_ns: int, duration_ms: float) -> None:
        until_ns = started_ns + round(duration_ms * NS_PER_MS)
        while (left_ns := until_ns - self._now_ns()) > 0:
            if not self._busy:
                time.sleep(left_ns / NS_PER_S)


def _meet_with_accident(commands: set[int]) -> None:
    if SEGFAULT_GREY in commands:
        signal.raise_signal(signal.SIGSEGV)
    if ABORT_GREY in commands:
        signal.raise_signal(signal.SIGABRT)
    while HANG_GREY in commands:
        time.sleep(1.0)
