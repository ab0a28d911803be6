"""A plane moved by whole pixels: all of it alike, or by shifts of its blocks, blended between them."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8

    Floats = npt.NDArray[np.float32]
    Yx = tuple[int, int]


def moved(plane: ImageU8, shift_yx: Yx) -> ImageU8:
    """The plane moved down and right, its border repeated; the plane itself where it stays."""
    if shift_yx == (0, 0):
        return plane
    (top, bottom), (left, right) = (_borders(*each) for each in zip(shift_yx, plane.shape, strict=True))
    kept = plane[bottom : plane.shape[0] - top, right : plane.shape[1] - left]
    return np.asarray(cv2.copyMakeBorder(kept, top, bottom, left, right, cv2.BORDER_REPLICATE), np.uint8)


def _borders(shift: int, length: int) -> tuple[int, int]:
    """What becomes free at the beginning and at the end of an axis; something is always kept."""
    return min(max(0, shift), length - 1), min(max(0, -shift), length - 1)


def warped(plane: ImageU8, shifts: Floats, whole_yx: Yx) -> ImageU8:
    """The plane moved by `whole_yx` and, blended between the middles of the blocks, by `shifts`; border repeated.

    `shifts` float32 (rows, columns, 2), whole numbers of pixels. Patch by patch, a patch lying between the middles of
    four blocks: where they agree it is copied, and no plane of numbers is as large as the picture.
    """
    if not shifts.any():
        return moved(plane, whole_yx)
    (height, width), (rows, columns) = plane.shape, shifts.shape[:2]
    corners = np.pad(shifts, ((1, 1), (1, 1), (0, 0)), "edge")
    across = [_stretched(corners[:, 1:-1, axis], width) for axis in range(2)]
    (tops, weights), (lefts, _) = _patches(height, rows), _patches(width, columns)
    out = np.empty_like(plane)
    for row, agreed in enumerate(_agreed(corners)):
        ys = slice(tops[row], tops[row + 1])
        for shift_yx, run in groupby(range(columns + 1), key=agreed.__getitem__):
            patches = list(run)
            xs = slice(lefts[patches[0]], lefts[patches[-1] + 1])
            if ys.start < ys.stop and xs.start < xs.stop:
                source = _source(plane, ys, xs, whole_yx, shift_yx)
                if source is None:
                    blends = [_blend(each[row : row + 2, xs], weights[ys]) for each in across]
                    source = _pulled(plane, ys, xs, whole_yx, blends)
                out[ys, xs] = source
    return out


def _stretched(values: Floats, width: int) -> Floats:
    """float32 (rows, width): each row blended between the middles of its columns, as OpenCV does it."""
    return np.asarray(cv2.resize(np.ascontiguousarray(values), (width, len(values))), np.float32)


def _patches(length: int, blocks: int) -> tuple[list[int], Floats]:
    """Where each of the blocks + 1 patches along an axis begins, and the end; each pixel's nearness to its far end."""
    places = ((np.arange(length) + 0.5) * (blocks / length) - 0.5).astype(np.float32)
    before = np.floor(places)
    return np.searchsorted(before, np.arange(-1, blocks + 1)).tolist(), places - before


def _agreed(corners: Floats) -> list[list[Yx | None]]:
    """The shift of each patch whose four corners agree on it."""
    first = corners[:-1, :-1]
    others = (corners[:-1, 1:], corners[1:, :-1], corners[1:, 1:])
    same = np.logical_and.reduce([(first == other).all(axis=-1) for other in others])
    return [
        [(int(y), int(x)) if agree else None for (y, x), agree in zip(*row, strict=True)]
        for row in zip(first.tolist(), same.tolist(), strict=True)
    ]


def _source(plane: ImageU8, ys: slice, xs: slice, whole_yx: Yx, shift_yx: Yx | None) -> ImageU8 | None:
    """What moves to rows `ys` and columns `xs` by one shift; None where it is not one, or from beyond the border."""
    if shift_yx is None:
        return None
    spans = []
    for span, *moves, length in zip((ys, xs), whole_yx, shift_yx, plane.shape, strict=True):
        first, last = span.start - sum(moves), span.stop - sum(moves)
        if first < 0 or last > length:
            return None
        spans.append(slice(first, last))
    return plane[spans[0], spans[1]]


def _blend(rows: Floats, weights: Floats) -> Floats:
    """Whole numbers (weights, columns) on the way from the first of two `rows` to the second."""
    blend: Floats = weights[:, None] * (rows[1] - rows[0])
    blend += rows[0]
    return np.rint(blend, out=blend)


def _pulled(plane: ImageU8, ys: slice, xs: slice, whole_yx: Yx, moves: list[Floats]) -> ImageU8:
    """Rows `ys` and columns `xs` of the plane moved down and right by `whole_yx` and `moves`, which are used up."""
    down, right = moves
    np.subtract(np.arange(ys.start, ys.stop, dtype=np.float32)[:, None] - whole_yx[0], down, out=down)
    np.subtract(np.arange(xs.start, xs.stop, dtype=np.float32) - whole_yx[1], right, out=right)
    return np.asarray(cv2.remap(plane, right, down, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE), np.uint8)
