"""The defect-free picture laid onto the inspected one, before both go into a network.

Parts are never placed exactly alike and boards are stretched: first one shift is found for the whole picture, then one
for each block. Everything depends on the whole pictures alone, so tiles cannot disagree about it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.vision.warp import moved, warped

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8

    Floats = npt.NDArray[np.float32]
    ImageU16 = npt.NDArray[np.uint16]
    Planes = tuple[ImageU8, ...]
    Yx = tuple[int, int]

WHOLE_REACHES = (4, 1, 1)  # at a quarter, at half and at the full resolution
BLOCK_LEVELS = ((4, 2), (2, 1))  # pixels that one stands for, and the reach in such
BLOCK_PX = 64
CELL_PX = 16
BLOCK_CELLS = BLOCK_PX // CELL_PX
CELLS_AROUND = 3
GAIN_MIN = 0.15
BAND_ROWS = 256  # what is compared with each of several shifts stays near the processor


def register_template(picture: ImageU8, template: ImageU8) -> ImageU8:
    """`template` moved onto `picture`, both grey (H, W) uint8; what moves in from outside repeats the border.

    Shifts of up to 19 px of the whole picture are followed to the pixel, and 10 more px of each block in steps of 2 px,
    blended between blocks. A block keeps the whole picture's shift unless its own is clearly better (`GAIN_MIN` of the
    difference that remains), so defects and empty places do not pull at it.
    Raises ValueError for pictures of different size or dtype.
    """
    if picture.shape != template.shape or picture.ndim != 2 or picture.dtype != np.uint8 or template.dtype != np.uint8:
        raise ValueError(f"picture {picture.shape} and template {template.shape} must be grey uint8 of one size")
    pictures, templates = _pyramid(picture), _pyramid(template)
    whole_yx = _whole_shift(pictures, templates)
    if whole_yx != (0, 0):
        templates = _pyramid(moved(template, whole_yx))
    return warped(template, _block_shifts(pictures, templates), whole_yx)


def _pyramid(plane: ImageU8) -> Planes:
    """The plane at a quarter, at half and at its full resolution."""
    half = _halved(plane)
    return _halved(half), half, plane


def _halved(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Means of 2 x 2 pixels; an odd last row or column is left out."""
    height, width = (max(1, length // 2) for length in plane.shape)
    return np.asarray(cv2.resize(plane[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA))


def _steps(reach: int) -> list[Yx]:
    """All shifts (down, right) within `reach`, the smallest first: who takes the first best takes the smallest."""
    span = range(-reach, reach + 1)
    return sorted(((y, x) for y in span for x in span), key=lambda yx: abs(yx[0]) + abs(yx[1]))


def _whole_shift(pictures: Planes, templates: Planes) -> Yx:
    """Rows and columns to move the template by, found from coarse to fine."""
    y, x = 0, 0
    for picture, template, reach in zip(pictures, templates, WHOLE_REACHES, strict=True):
        y, x = 2 * y, 2 * x
        if min(picture.shape) > 4 * reach + 2 * (abs(y) + abs(x)):
            down, right = _best_step(picture, moved(template, (y, x)), reach)
            y, x = y + down, x + right
    return y, x


def _best_step(picture: ImageU8, template: ImageU8, reach: int) -> Yx:
    """The shift within `reach` of least squared difference where both planes overlap whatever the shift."""
    steps, errors = _steps(reach), np.zeros((2 * reach + 1) ** 2)
    (height, width), inner = picture.shape, picture[reach:-reach, reach:-reach]
    for top in range(0, height - 2 * reach, BAND_ROWS):
        band = inner[top : top + BAND_ROWS]
        places = [template[top + reach - y :, reach - x : width - reach - x][: len(band)] for y, x in steps]
        errors += [cv2.norm(band, place, cv2.NORM_L2SQR) for place in places]
    return steps[int(errors.argmin())]


def _block_shifts(pictures: Planes, templates: Planes) -> Floats:
    """float32 (rows, columns, 2): what each block of `BLOCK_PX` moves by beyond the whole picture's shift."""
    rows, columns = (max(1, -(-length // BLOCK_PX)) for length in pictures[-1].shape)
    shifts = np.zeros((rows, columns, 2), np.float32)
    for picture, template, (factor, reach) in zip(pictures, templates, BLOCK_LEVELS, strict=False):
        laid = warped(template, shifts / np.float32(factor), (0, 0))
        cells = _cells(picture, laid, CELL_PX // factor, reach)
        shifts += factor * _clear_steps(_window_sums(cells, (rows, columns)), reach)
        for axis in range(2):
            shifts[..., axis] = cv2.medianBlur(np.ascontiguousarray(shifts[..., axis]), 3)
    return shifts


def _cells(picture: ImageU8, template: ImageU8, cell_px: int, reach: int) -> ImageU16:
    """uint16 (steps, rows, columns): how much each whole cell differs after each of `_steps(reach)`."""
    rows, columns = (length // cell_px for length in picture.shape)
    whole = picture[: rows * cell_px, : columns * cell_px]
    bordered = cv2.copyMakeBorder(template, reach, reach, reach, reach, cv2.BORDER_REPLICATE)
    cells = np.zeros((len(_steps(reach)), rows, columns), np.uint16)
    for top in range(0, whole.shape[0] if columns else 0, BAND_ROWS):
        band = whole[top : top + BAND_ROWS]
        for (y, x), means in zip(_steps(reach), cells, strict=True):
            place = bordered[top + reach - y :, reach - x : reach - x + band.shape[1]][: len(band)]
            means[top // cell_px : (top + BAND_ROWS) // cell_px] = _mean_squares(cv2.absdiff(band, place), cell_px)
    return cells


def _mean_squares(differences: npt.NDArray[Any], cell_px: int) -> ImageU16:
    """Each cell's mean of the squares of what 2 x 2 pixels differ by on average."""
    pairs = _halved(differences)
    means: ImageU16 = np.multiply(pairs, pairs, dtype=np.uint16)
    for _ in range(cell_px.bit_length() - 2):
        means = _halved(means)
    return means


def _window_sums(cells: ImageU16, blocks_hw: tuple[int, int]) -> npt.NDArray[np.float64]:
    """float64 (steps, rows, columns): sums over the cells in and around each block; outside the picture is nothing."""
    window = BLOCK_CELLS + 2 * CELLS_AROUND
    padded = np.zeros([blocks * BLOCK_CELLS + 2 * CELLS_AROUND for blocks in blocks_hw], np.uint16)
    sums = np.empty((len(cells), *blocks_hw))
    for means, of_step in zip(cells, sums, strict=True):
        padded[CELLS_AROUND : CELLS_AROUND + means.shape[0], CELLS_AROUND : CELLS_AROUND + means.shape[1]] = means
        integral = cv2.integral(padded, sdepth=cv2.CV_64F)
        rows = integral[window::BLOCK_CELLS] - integral[:-window:BLOCK_CELLS]
        of_step[...] = rows[:, window::BLOCK_CELLS] - rows[:, :-window:BLOCK_CELLS]
    return sums


def _clear_steps(sums: npt.NDArray[np.float64], reach: int) -> Floats:
    """float32 (rows, columns, 2): each block's best step within `reach`; zero where it is not clearly better."""
    errors = sums + 1.0  # nothing of nothing is no gain
    best: Floats = np.array(_steps(reach), np.float32)[errors.argmin(axis=0)]
    best[errors.min(axis=0) >= (1 - GAIN_MIN) * errors[0]] = 0
    return best
