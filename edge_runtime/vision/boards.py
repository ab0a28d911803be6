"""Made-up pictures of printed boards with known defects, after DeepPCB: endless, seeded, any size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edge_runtime.vision.board_artwork import paint_cell, split_cells
from edge_runtime.vision.board_defects import CLASS_NAMES, KEEP_APART_PX, TrueDefect, place_defects

if TYPE_CHECKING:
    from edge_runtime.values import Box, ImageU8

__all__ = ["BINARY", "CAMERA", "CLASS_NAMES", "KEEP_APART_PX", "Board", "BoardStyle", "TrueDefect", "paint_board"]

MIN_SIDE_PX, MAX_SIDE_PX = 64, 8192
_OVERHANG_PX = 200
_STRIPE_PX = 256
_NOISE_VALUES = 1 << 17


@dataclass(frozen=True)
class BoardStyle:
    """What the boards and the camera are like. Pairs are (lowest, highest) of a value drawn anew for each board.

    `defects_mean`: defects on a defective board, at least one wanted; `clean_share`: boards without any.
    `contrast_grey`: distance between copper and laminate, copper being the brighter one on `bright_copper_share`
    of the boards. `lighting`: how far brightness falls off across the picture, 0..1.
    """

    defects_mean: float = 6.0
    clean_share: float = 0.3
    track_px: tuple[int, int] = (8, 24)
    laminate_grey: tuple[float, float] = (50.0, 100.0)
    contrast_grey: tuple[float, float] = (60.0, 120.0)
    bright_copper_share: float = 1.0
    lighting: float = 0.2
    blur_px: float = 0.8
    noise_sigma: float = 4.0

    def __post_init__(self) -> None:
        shares = (self.clean_share, self.bright_copper_share, self.lighting)
        if not all(0.0 <= share <= 1.0 for share in shares):
            raise ValueError(f"clean_share, bright_copper_share and lighting must lie in 0..1, not {shares}")
        if not 0 <= self.defects_mean <= 10_000 or not 0 <= self.blur_px <= 5 or not 0 <= self.noise_sigma <= 40:
            raise ValueError("defects_mean must lie in 0..10000, blur_px in 0..5 and noise_sigma in 0..40")
        if not 6 <= self.track_px[0] <= self.track_px[1] <= 60:
            raise ValueError(f"track_px must be an ascending pair in 6..60, not {self.track_px}")


CAMERA = BoardStyle()
BINARY = BoardStyle(
    laminate_grey=(255.0, 255.0),
    contrast_grey=(255.0, 255.0),
    bright_copper_share=0.0,
    lighting=0.0,
    blur_px=0.0,
    noise_sigma=0.0,
)


@dataclass(frozen=True)
class Board:
    """A picture and its truth.

    `image` uint8 (H, W, 3) BGR; `mask` uint8 (H, W) class ids of the changed pixels; `template` uint8 (H, W) the
    defect-free artwork before the camera, copper 0 on 255, aligned to the pixel. `defects` in reading order.
    """

    image: ImageU8
    mask: ImageU8
    defects: tuple[TrueDefect, ...]
    template: ImageU8


def paint_board(seed: int, index: int, image_hw: tuple[int, int], style: BoardStyle = CAMERA) -> Board:
    """Board number `index` ≥ 0 of the endless series `seed` ≥ 0, sides 64..8192 px; the same in every process.

    Defects lie at least `KEEP_APART_PX` apart; a board too small for all of them gets fewer.
    """
    if not all(MIN_SIDE_PX <= side <= MAX_SIDE_PX for side in image_hw):
        raise ValueError(f"a board's sides must lie in {MIN_SIDE_PX}..{MAX_SIDE_PX} px, not {image_hw}")
    rng = np.random.Generator(np.random.PCG64([seed, index]))
    copper, mask, defects = _etch(rng, image_hw, style)
    image = _photograph(rng, copper, mask, style)
    np.invert(copper, out=copper)
    return Board(image, mask, tuple(sorted(defects, key=lambda defect: defect.xyxy_px[1::-1])), copper)


def _etch(
    rng: np.random.Generator, image_hw: tuple[int, int], style: BoardStyle
) -> tuple[ImageU8, ImageU8, list[TrueDefect]]:
    """Clean copper (255 on 0), the mask of its defects, and their list."""
    copper: ImageU8 = np.zeros(image_hw, np.uint8)
    mask: ImageU8 = np.zeros(image_hw, np.uint8)
    cells = _cells(rng, image_hw)
    wanted = _defects_per_cell(rng, cells, style)
    track_px = int(rng.integers(style.track_px[0], style.track_px[1] + 1))
    defects: list[TrueDefect] = []
    missing = 0
    for cell, count in zip(cells, wanted, strict=True):
        x0, y0, x1, y1 = (max(0, cell[0]), max(0, cell[1]), min(image_hw[1], cell[2]), min(image_hw[0], cell[3]))
        art = paint_cell(rng, (cell[3] - cell[1], cell[2] - cell[0]), track_px)
        art = art[y0 - cell[1] : y1 - cell[1], x0 - cell[0] : x1 - cell[0]]
        copper[y0:y1, x0:x1] = art
        missing += count
        if missing:
            found = place_defects(rng, np.ascontiguousarray(art), mask[y0:y1, x0:x1], missing)
            missing -= len(found)
            defects += [_moved(defect, x0, y0) for defect in found]
    return copper, mask, defects


def _cells(rng: np.random.Generator, image_hw: tuple[int, int]) -> list[Box]:
    """Cells that cover the picture, the outer ones reaching beyond it, in random order."""
    left, top, right, bottom = (int(n) for n in rng.integers(0, _OVERHANG_PX, 4))
    height, width = image_hw
    cells = split_cells(rng, (-left, -top, width + right, height + bottom))
    seen = [c for c in cells if c[0] < width and c[1] < height and c[2] > 0 and c[3] > 0]
    return [seen[i] for i in rng.permutation(len(seen)).tolist()]


def _defects_per_cell(rng: np.random.Generator, cells: list[Box], style: BoardStyle) -> list[int]:
    counts = [0] * len(cells)
    if rng.random() >= style.clean_share and style.defects_mean > 0:
        for cell in rng.integers(0, len(cells), max(1, int(rng.poisson(style.defects_mean)))).tolist():
            counts[cell] += 1
    return counts


def _moved(defect: TrueDefect, dx: int, dy: int) -> TrueDefect:
    x0, y0, x1, y1 = defect.xyxy_px
    return TrueDefect(defect.class_id, (x0 + dx, y0 + dy, x1 + dx, y1 + dy))


def _photograph(rng: np.random.Generator, copper: ImageU8, mask: ImageU8, style: BoardStyle) -> ImageU8:
    """The camera's picture of the defective copper: levels, blur, light and noise, stripe by stripe."""
    height, width = copper.shape
    levels = _levels(rng, style)
    light = rng.integers(round(255 * (1 - style.lighting)), 256, (4, 4), dtype=np.uint8)
    light_rows = cv2.resize(light, (4, height), interpolation=cv2.INTER_LINEAR)
    noise = _noise(rng, style.noise_sigma, max(_STRIPE_PX * width // 4, min(_NOISE_VALUES, copper.size)))
    image = np.empty((height, width, 3), np.uint8)
    for y in range(0, height, _STRIPE_PX):
        rows = slice(y, min(height, y + _STRIPE_PX))
        grey = np.asarray(cv2.LUT(_blurred(copper, mask, rows, style.blur_px), levels), np.uint8)
        if style.lighting:
            stripe_light = cv2.resize(light_rows[rows], (width, grey.shape[0]), interpolation=cv2.INTER_LINEAR)
            cv2.multiply(grey, stripe_light, dst=grey, scale=1 / 255)
        if style.noise_sigma:
            _add_noise(rng, grey, noise)
        cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR, dst=image[rows])
    return image


def _levels(rng: np.random.Generator, style: BoardStyle) -> ImageU8:
    """Grey level for each share of copper 0..255 under a pixel."""
    laminate = rng.uniform(*style.laminate_grey)
    contrast = rng.uniform(*style.contrast_grey)
    sign = 1 if rng.random() < style.bright_copper_share else -1
    return np.clip(np.rint(laminate + sign * contrast * np.arange(256) / 255), 0, 255).astype(np.uint8)


def _blurred(copper: ImageU8, mask: ImageU8, rows: slice, blur_px: float) -> ImageU8:
    """The defective copper of these rows, blurred with its true neighbours above and below."""
    reach = int(4 * blur_px) + 1 if blur_px else 0
    top = max(0, rows.start - reach)
    wide = slice(top, rows.stop + reach)
    flipped = cv2.threshold(mask[wide], 0, 255, cv2.THRESH_BINARY)[1]
    sharp = cv2.bitwise_xor(copper[wide], flipped)
    soft = cv2.GaussianBlur(sharp, (0, 0), blur_px) if blur_px else sharp
    return np.ascontiguousarray(soft[rows.start - top : rows.stop - top])


def _noise(rng: np.random.Generator, sigma: float, count: int) -> ImageU8:
    """A pool of noise values around 128, to be read from many offsets: drawing one a pixel would cost most."""
    if not sigma:
        return np.empty(0, np.uint8)
    return np.clip(rng.standard_normal(count, np.float32) * np.float32(sigma) + 128.5, 0, 255).astype(np.uint8)


def _add_noise(rng: np.random.Generator, grey: ImageU8, noise: ImageU8) -> None:
    rows_px = max(1, noise.size // 2 // grey.shape[1])
    for y in range(0, grey.shape[0], rows_px):
        part = grey[y : y + rows_px]
        at = int(rng.integers(0, noise.size - part.size + 1))
        cv2.addWeighted(part, 1.0, noise[at : at + part.size].reshape(part.shape), 1.0, -128.0, dst=part)
