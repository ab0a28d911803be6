"""The recipe's region of interest as cells, and which cells around it are watched at all."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8, Polygon, Recipe

    Bools = npt.NDArray[np.bool_]

WATCHED_AROUND_PX = 32


@lru_cache(maxsize=8)
def inspected_cells(
    include: tuple[Polygon, ...], ignore: tuple[Polygon, ...], plane_hw: tuple[int, int], stride_px: int
) -> Bools:
    """True where a cell's centre lies inside an include polygon (anywhere when there is none) and in no ignore polygon.

    Polygons are (x, y) in image pixels, pixel p covering p to p + 1; inside is by the even-odd rule. Read-only.
    """
    inside = np.full(plane_hw, not include)
    for polygon in include:
        inside |= _polygon_cells(polygon, plane_hw, stride_px)
    for polygon in ignore:
        inside &= ~_polygon_cells(polygon, plane_hw, stride_px)
    inside.flags.writeable = False
    return inside


def _polygon_cells(polygon: Polygon, plane_hw: tuple[int, int], stride_px: int) -> Bools:
    """Cells whose centre is inside: along each row, every edge crossed turns the rest of the row over."""
    height, width = plane_hw
    turns = np.zeros((height, width + 1), np.bool_)
    rows = np.arange(height)
    centre_ys = (rows + 0.5) * stride_px
    for (xa, ya), (xb, yb) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        crossed = (centre_ys < ya) != (centre_ys < yb)
        if crossed.any():
            at_xs = xa + (centre_ys[crossed] - ya) * ((xb - xa) / (yb - ya))
            first = np.clip(np.ceil(at_xs / stride_px - 0.5), 0, width).astype(np.intp)
            turns[rows[crossed], first] ^= True
    return np.logical_xor.accumulate(turns, axis=1)[:, :width]


@lru_cache(maxsize=8)
def watched_cells(
    include: tuple[Polygon, ...], ignore: tuple[Polygon, ...], plane_hw: tuple[int, int], stride_px: int
) -> ImageU8:
    """255 where a cell is one of `inspected_cells` or lies within `WATCHED_AROUND_PX` of one along x and y, else 0.

    All other cells are background: a tile that has no watched cell in its core need not be computed. What sticks out of
    the region by no more is seen whole. Read-only.
    """
    reach = WATCHED_AROUND_PX // stride_px
    inspected = inspected_cells(include, ignore, plane_hw, stride_px).astype(np.uint8) * 255
    watched = np.asarray(cv2.dilate(inspected, np.ones((2 * reach + 1,) * 2, np.uint8)), np.uint8)
    watched.flags.writeable = False
    return watched


def has_zones(recipe: Recipe) -> bool:
    """Whether there may be cells that nobody watches."""
    return bool(recipe.include or recipe.ignore)


def clear_unwatched(plane: ImageU8, recipe: Recipe, stride_px: int) -> None:
    """Make background (0) of every cell that is not watched, in place."""
    if has_zones(recipe):
        height, width = plane.shape
        watched = watched_cells(recipe.include, recipe.ignore, (height, width), stride_px)
        cv2.bitwise_and(plane, watched, dst=plane)
