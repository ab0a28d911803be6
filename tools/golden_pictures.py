"""Made-up pictures that a bundle's golden tiles and parity figures are computed on; free of anybody's terms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edge_runtime.inference.golden import GoldenTile
from edge_runtime.interfaces import Segmenter
from edge_runtime.values import Mask
from edge_runtime.vision.boards import BINARY, CAMERA, paint_board
from tools.forms import Motif

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8

SEED = 2024
SMOOTH_STEP = 4


@dataclass(frozen=True)
class MadePicture:
    """uint8 (side, side, 3) BGR, and the defect-free picture uint8 (side, side) where the motif has one."""

    image: ImageU8
    template: ImageU8 | None


def made_pictures(motif: Motif, side_px: int, with_template: bool) -> list[MadePicture]:
    """Four pictures with defects: `boards` by a camera and by a scanner, `scans` by a scanner only, solar `cells`.

    A template goes with scans only: elsewhere it is the scan of the same board.
    """
    if motif == "cells":
        return [MadePicture(_paint_cell(index, side_px), None) for index in range(4)]
    styles = (BINARY,) * 4 if motif == "scans" or with_template else (CAMERA, CAMERA, BINARY, BINARY)
    boards = [
        paint_board(SEED, index, (side_px, side_px), replace(style, defects_mean=8.0, clean_share=0.0))
        for index, style in enumerate(styles)
    ]
    return [MadePicture(board.image, board.template if with_template else None) for board in boards]


def golden_tiles(segmenter: Segmenter, motif: Motif) -> list[GoldenTile]:
    """The made-up pictures and the masks that `segmenter` gives for them."""
    contract = segmenter.input_contract
    return [_answered(segmenter, made) for made in made_pictures(motif, contract.tile_px, contract.template)]


def large_golden_tile(segmenter: Segmenter, motif: Motif) -> GoldenTile:
    """One tile for the largest side that a bundle offers: a picture that a PNG keeps small."""
    contract = segmenter.input_contract
    if motif != "cells":
        return _answered(segmenter, made_pictures("scans", contract.tile_px, contract.template)[0])
    smooth = _paint_cell(0, contract.tile_px, grain=0.0)
    return _answered(segmenter, MadePicture(np.asarray(smooth // SMOOTH_STEP * SMOOTH_STEP, np.uint8), None))


def _answered(segmenter: Segmenter, made: MadePicture) -> GoldenTile:
    class_ids, scores = (plane.copy() for plane in segmenter.predict(made.image, made.template))
    return GoldenTile(made.image, Mask(class_ids, scores, segmenter.mask_stride_px), made.template)


def _paint_cell(index: int, side_px: int, grain: float = 5.0) -> ImageU8:
    """An electroluminescence picture as they come: a bright grainy cell, two busbars, dark cracks, a dead corner."""
    rng = np.random.default_rng([SEED, index])
    coarse = rng.uniform(120, 190, (12, 12)).astype(np.float32)
    cell = np.asarray(cv2.resize(coarse, (side_px, side_px), interpolation=cv2.INTER_CUBIC), np.float32)
    for share in (0.3, 0.7):
        cv2.line(cell, (0, round(share * side_px)), (side_px, round(share * side_px)), 60.0, side_px // 40)
    for _ in range(3):
        steps = rng.uniform(-side_px / 8, side_px / 8, (6, 2))
        path = rng.uniform(0.2, 0.8, 2) * side_px + np.cumsum(steps, axis=0)
        cv2.polylines(cell, [np.rint(path).astype(np.int32)], False, 50.0, 2, cv2.LINE_AA)
    cv2.rectangle(cell, (0, 0), (side_px // 6, side_px // 9), 35.0, cv2.FILLED)
    grainy = cv2.GaussianBlur(cell, (0, 0), 1.2) + rng.normal(0, grain, cell.shape)
    return np.asarray(cv2.cvtColor(np.clip(grainy, 0, 255).astype(np.uint8), cv2.COLOR_GRAY2BGR), np.uint8)
