"""The defect-free picture laid onto the inspected one, before both go into a network.

Parts are never placed exactly alike and boards are stretched: first one shift is found for the whole picture, then one
for each block. Everything depends on the whole pictures alone, so tiles cannot disagree about it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8

    Ints = npt.NDArray[np.intp]
    Floats = npt.NDArray[np.float32]

PYRAMID = (4, 2, 1)
COARSE_REACH = 4
FINE_REACH = 1
BLOCK_PX = 64
WINDOW_PX = 160
LOCAL_REACH_PX = 8
GAIN_MIN = 0.15
LARGEST_MATCHED_PX = 1 << 14
BAND_PX = 64


def register_template(picture: ImageU8, template: ImageU8, threads: int = 1) -> ImageU8:
    """`template` moved onto `picture`, both grey (H, W) uint8; what moves in from outside repeats the border.

    Shifts of up to 19 px of the whole picture are followed to the pixel, and 8 more px of each block in steps of 2 px,
    blended between blocks. A block keeps the whole picture's shift unless its own is clearly better (`GAIN_MIN` of the
    difference that remains), so defects and empty places do not pull at it. The answer is the same for any `threads`.
    Raises ValueError for pictures of different size or dtype.
    """
    if picture.shape != template.shape or picture.ndim != 2 or picture.dtype != np.uint8 or template.dtype != np.uint8:
        raise ValueError(f"picture {picture.shape} and template {template.shape} must be grey uint8 of one size")
    whole_yx = _whole_shift(picture, template)
    shifts = _block_shifts(picture, _moved(template, whole_yx), threads)
    return warped(template, shifts, whole_yx, threads) if shifts.any() else _moved(template, whole_yx)


def warped(template: ImageU8, shifts: Floats, whole_yx: tuple[int, int], threads: int = 1) -> ImageU8:
    """The template moved by the whole picture's shift and, blended between the middles of the blocks, by `shifts`.

    `shifts` float32 (rows, columns, 2) in pixels. Band by band: no plane of numbers is as large as the picture.
    """
    (height, width), block_rows = template.shape, shifts.shape[0]
    across = [cv2.resize(np.ascontiguousarray(shifts[..., axis]), (width, block_rows)) for axis in range(2)]
    columns, moved = np.arange(width, dtype=np.float32) - np.float32(whole_yx[1]), np.empty_like(template)

    def move(top: int) -> None:
        band = np.arange(top, min(top + BAND_PX, height))
        rows = (band - whole_yx[0]).astype(np.float32)
        from_rows = rows[:, None] - np.rint(_between(across[0], band, height))
        from_columns = columns - np.rint(_between(across[1], band, height))
        moved[band] = cv2.remap(template, from_columns, from_rows, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(move, range(0, height, BAND_PX)))  # a band's error is raised here
    return moved


def _between(across: npt.NDArray[Any], band: npt.NDArray[np.intp], height: int) -> Floats:
    """Rows `band` of `across` stretched to `height` rows, linearly between their middles, as OpenCV does it."""
    places = ((band + 0.5) * (len(across) / height) - 0.5).astype(np.float32)
    above = np.floor(places).astype(np.intp)
    weight = (places - above.astype(np.float32))[:, None]
    last = len(across) - 1
    upper, lower = (across[np.clip(rows, 0, last)] for rows in (above, above + 1))
    return np.asarray(upper * (1 - weight) + lower * weight, np.float32)


def _whole_shift(picture: ImageU8, template: ImageU8) -> tuple[int, int]:
    """Rows and columns to move the template by, found from coarse to fine."""
    shift_yx = (0, 0)
    for factor in PYRAMID:
        small_picture, small_template = (_shrunk(plane, factor) for plane in (picture, template))
        reach = COARSE_REACH if factor == PYRAMID[0] else FINE_REACH
        shift_yx = (2 * shift_yx[0], 2 * shift_yx[1])
        if min(small_picture.shape) > 4 * reach + 2 * (abs(shift_yx[0]) + abs(shift_yx[1])):
            steps = _best_shift(small_picture, _moved(small_template, shift_yx), reach)[0]
            shift_yx = (shift_yx[0] + steps[0], shift_yx[1] + steps[1])
    return shift_yx


def _shrunk(plane: ImageU8, factor: int) -> ImageU8:
    if factor == 1:
        return plane
    size = (max(1, plane.shape[1] // factor), max(1, plane.shape[0] // factor))
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.uint8)


def _best_shift(picture: ImageU8, template: ImageU8, reach: int) -> tuple[tuple[int, int], float]:
    """The shift within `reach` of least squared difference, the smallest on a tie, and its relative gain."""
    errors = _squared_differences(picture, template, reach) + 1.0
    distances = np.add.outer(*(2 * [np.abs(np.arange(2 * reach + 1) - reach)]))
    best = min(np.flatnonzero(errors.ravel() == errors.min()).tolist(), key=lambda at: int(distances.ravel()[at]))
    row, column = divmod(best, 2 * reach + 1)
    return (reach - row, reach - column), float(1.0 - errors[row, column] / errors[reach, reach])


def _squared_differences(picture: ImageU8, template: ImageU8, reach: int) -> npt.NDArray[np.float64]:
    """Entry (i, j): sum of squared differences with the template moved down by reach - i and right by reach - j."""
    height, width = (length - 2 * reach for length in picture.shape)
    inner = picture[reach : reach + height, reach : reach + width]
    if inner.size <= LARGEST_MATCHED_PX:
        return np.maximum(cv2.matchTemplate(template, np.ascontiguousarray(inner), cv2.TM_SQDIFF), 0.0).astype(float)
    offsets = range(2 * reach + 1)
    return np.array(
        [[cv2.norm(template[i : i + height, j : j + width], inner, cv2.NORM_L2SQR) for j in offsets] for i in offsets]
    )


def _block_shifts(picture: ImageU8, template: ImageU8, threads: int) -> Floats:
    """float32 (rows, columns, 2): what each block of `BLOCK_PX` moves by beyond the whole picture's shift."""
    rows, columns = (max(1, -(-length // BLOCK_PX)) for length in picture.shape)
    small_picture, small_template = _shrunk(picture, 2), _shrunk(template, 2)

    def of_row(row: int) -> list[tuple[float, float]]:
        return [_block_shift(small_picture, small_template, (row, column)) for column in range(columns)]

    with ThreadPoolExecutor(threads) as pool:
        shifts = np.array(list(pool.map(of_row, range(rows))), np.float32)
    return np.dstack([cv2.medianBlur(shifts[..., axis], 3) for axis in range(2)])


def _block_shift(picture: ImageU8, template: ImageU8, block: tuple[int, int]) -> tuple[float, float]:
    """One block's shift in pixels of the full picture, measured at half resolution around it."""
    reach, half = LOCAL_REACH_PX // 2, WINDOW_PX // 4
    spans = []
    for position, length in zip(block, picture.shape, strict=True):
        centre = position * BLOCK_PX // 2 + BLOCK_PX // 4
        spans.append(slice(max(0, centre - half), min(length, centre + half)))
    window, reference = picture[spans[0], spans[1]], template[spans[0], spans[1]]
    if min(window.shape) <= 4 * reach:
        return 0.0, 0.0
    (dy, dx), gain = _best_shift(window, reference, reach)
    return (2.0 * dy, 2.0 * dx) if gain > GAIN_MIN else (0.0, 0.0)


def _moved(plane: ImageU8, shift_yx: tuple[int, int]) -> ImageU8:
    """The plane moved down and right by whole pixels, its border repeated."""
    if shift_yx == (0, 0):
        return plane
    (top, bottom), (left, right) = (_borders(*each) for each in zip(shift_yx, plane.shape, strict=True))
    kept = plane[bottom : plane.shape[0] - top, right : plane.shape[1] - left]
    return np.asarray(cv2.copyMakeBorder(kept, top, bottom, left, right, cv2.BORDER_REPLICATE), np.uint8)


def _borders(shift: int, length: int) -> tuple[int, int]:
    """What becomes free at the beginning and at the end of an axis; something is always kept."""
    return min(max(0, shift), length - 1), min(max(0, -shift), length - 1)
