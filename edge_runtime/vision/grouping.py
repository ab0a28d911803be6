"""Which cells belong together, and what they come to: band by band, so that no mask takes more memory than a band."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from edge_runtime.values import ImageU8

    Ints = npt.NDArray[np.intp]
    Floats = npt.NDArray[np.float64]
    Bools = npt.NDArray[np.bool_]


class Cells(NamedTuple):
    """Foreground cells as columns, row by row."""

    ys: Ints
    xs: Ints
    class_ids: ImageU8
    scores: ImageU8


class Sums(NamedTuple):
    """What the cells of each group come to, one row per group, in columns that only the caller knows.

    Groups found to be one take the least of each column of `least` and the sum of each column of `totals`.
    """

    least: Ints
    totals: Floats

    @property
    def rows(self) -> int:
        return len(self.least)

    def taken(self, wanted: Bools) -> Sums:
        return Sums(self.least[wanted], self.totals[wanted])

    def added(self, other: Sums, numbers: Ints) -> Sums:
        """The rows of both, those of one number made one; all numbers from 0 occur."""
        order = np.argsort(numbers, kind="stable")
        starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
        least, totals = (np.concatenate(pair)[order] for pair in zip(self, other, strict=True))
        return Sums(np.minimum.reduceat(least, starts), np.add.reduceat(totals, starts))


def grouped_bands(
    bands: Iterable[tuple[Cells, int]], reach: int, sums_of: Callable[[Cells, Ints, int], Sums]
) -> Iterator[Sums]:
    """The groups of all bands' cells, each as soon as no later cell can belong to it.

    Bands come from the top, each with the row where the next one begins, the last with one that no cell reaches.
    `sums_of(cells, group, count)`: what a band's cells come to, `group` numbering the group of each from 0; a group
    without cells is a row that changes none it is added to.
    """
    none = np.zeros(0, np.intp)
    before = nothing = _Open(none, none, none, Sums(none.reshape(0, 0), np.zeros((0, 0))))
    for cells, next_row in bands:
        ys, xs, group, sums = before.with_band(cells, reach, sums_of)
        near = ys >= next_row - reach
        goes_on = np.zeros(sums.rows, np.bool_)
        goes_on[group[near]] = True
        if near.any():
            before = _Open(ys[near], xs[near], (np.cumsum(goes_on) - 1)[group[near]], sums.taken(goes_on))
            sums = sums.taken(~goes_on)
        else:
            before = nothing
        if sums.rows:
            yield sums


class _Open(NamedTuple):
    """Groups to which the next band may add, and their cells that it may touch."""

    ys: Ints
    xs: Ints
    group: Ints
    sums: Sums

    def with_band(
        self, cells: Cells, reach: int, sums_of: Callable[[Cells, Ints, int], Sums]
    ) -> tuple[Ints, Ints, Ints, Sums]:
        """Where these and the band's cells are, the group of each, and what the groups come to."""
        if not len(self.ys):
            group, count = group_cells(cells.ys, cells.xs, reach)
            return cells.ys, cells.xs, group, sums_of(cells, group, count)
        ys, xs = np.concatenate((self.ys, cells.ys)), np.concatenate((self.xs, cells.xs))
        group, count = group_cells(ys, xs, reach)
        old_count = self.sums.rows
        numbers = _united(self.group, group[: len(self.ys)], old_count, count)
        sums = self.sums.added(sums_of(cells, group[len(self.ys) :], count), numbers)
        return ys, xs, numbers[old_count:][group], sums


def group_cells(ys: Ints, xs: Ints, reach: int) -> tuple[Ints, int]:
    """Number each cell's group from 0, and count the groups: cells join when they are at most `reach` apart."""
    if not len(ys):
        return ys, 0
    rows, columns = _drawn_together(ys, reach), _drawn_together(xs, reach)
    plane = np.zeros((int(rows.max()) + 1, int(columns.max()) + 1), np.uint8)
    plane[rows, columns] = 255
    count, labels = cv2.connectedComponents(_widened(plane, reach), connectivity=8)
    return labels[rows, columns].astype(np.intp) - 1, count - 1


def _drawn_together(at: Ints, reach: int) -> Ints:
    """Coordinates from 0 in the same order, with each gap beyond `reach` cut down to one more.

    Two of them are at most `reach` apart exactly if they were: few cells then fit on a small plane, wherever they lie.
    """
    used = np.flatnonzero(np.bincount(at))
    moved = np.zeros(used[-1] + 1, np.intp)
    moved[used[1:]] = np.minimum(used[1:] - used[:-1], reach + 1).cumsum()
    return moved[at]


def _widened(cells: ImageU8, reach: int) -> ImageU8:
    """Blow each cell up to a square of `reach` cells: two squares touch exactly when their cells are within reach."""
    if reach == 1:
        return cells
    side = min(reach, max(cells.shape))
    return np.asarray(cv2.dilate(cells, np.ones((side, side), np.uint8), anchor=(0, 0)), np.uint8)


def _united(lefts: Ints, rights: Ints, left_count: int, right_count: int) -> Ints:
    """Numbers from 0 of the left and then the right groups; the two of a pair get one number, and pairs chain."""
    root = np.arange(left_count + right_count)
    rights = rights + left_count
    while (root[lefts] != root[rights]).any():
        least = np.minimum(root[lefts], root[rights])
        for ends in (lefts, rights):
            np.minimum.at(root, root[ends], least)
        while (root != root[root]).any():
            root = root[root]
    return np.asarray(np.unique(root, return_inverse=True)[1], np.intp)
