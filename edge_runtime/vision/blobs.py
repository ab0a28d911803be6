"""From a mask to a list of defects, without a Python loop over cells."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.vision.defect_columns import DefectColumns
from edge_runtime.vision.grouping import Cells, Sums, group_cells, grouped_bands
from edge_runtime.vision.regions import has_zones, inspected_cells, watched_cells
from edge_runtime.vision.stitching import mask_hw

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge_runtime.values import Box, Defect, DefectClass, ImageU8, Mask, Recipe

    Ints = npt.NDArray[np.intp]
    Bools = npt.NDArray[np.bool_]

BAND_CELLS = 1 << 15  # foreground cells looked at together: some megabytes
BAND_AREA = 1 << 20  # cells of all rows with foreground that are looked at together, likewise
BEYOND = np.iinfo(np.intp).max
FAR_EDGES = np.array([1, 1, -1, -1])  # the signs of x0, y0, x1, y1 in `_Measure.sums`


class LocatedDefects(NamedTuple):
    """All defects; of each of their cells the row, the column and the place in `defects`."""

    defects: DefectColumns
    ys: Ints
    xs: Ints
    places: Ints


class Thresholds:
    """What makes a cell of a model's answer foreground: a class other than 0 whose threshold its score reaches.

    Planes are uint8 (rows, columns) of class ids and of scores. All raise ValueError for a class id that `classes` does
    not name.
    """

    def __init__(self, classes: Sequence[DefectClass]) -> None:
        self._highest_background = np.full(256, 255, np.uint8)
        self._unknown = np.ones(256, np.uint8)
        self._unknown[0] = 0
        for known in classes:
            self._highest_background[known.class_id] = known.threshold - 1
            self._unknown[known.class_id] = 0
        self._lowest = min((known.threshold for known in classes), default=256)
        self._all_known_below = int(np.argmax(np.append(self._unknown, 1)))

    def foreground(self, class_ids: ImageU8, scores: ImageU8) -> ImageU8:
        """255 where a cell is foreground, else 0."""
        self.check_known(class_ids)
        return self._foreground(class_ids, scores)

    def rows(self, scores: ImageU8) -> Ints:
        """The rows where a score reaches the lowest threshold: all foreground cells lie in them."""
        return np.flatnonzero(cv2.reduce(scores, 1, cv2.REDUCE_MAX) >= self._lowest)

    def likely(self, scores: ImageU8) -> Bools:
        """True where a score reaches the lowest threshold: at all foreground cells."""
        return scores >= self._lowest

    def cells(self, class_ids: ImageU8, scores: ImageU8, rows: Ints, likely: Bools) -> tuple[Ints, Ints]:
        """Rows and columns of the foreground cells in these rows, row by row; `likely` of the scores in them."""
        counts = np.count_nonzero(likely, axis=1)
        ys = np.repeat(rows, counts)
        xs = np.flatnonzero(likely) - np.repeat(np.arange(len(rows)) * likely.shape[1], counts)
        passed = scores[ys, xs] > self._highest_background[class_ids[ys, xs]]
        return ys[passed], xs[passed]

    def box_xyxy(self, class_ids: ImageU8, scores: ImageU8) -> Box | None:
        """The least box around the foreground; None where there is none."""
        self.check_known(class_ids)
        rows = self.rows(scores)
        if not len(rows):
            return None
        likely = np.s_[rows[0] : rows[-1] + 1]
        x, y, width, height = cv2.boundingRect(self._foreground(class_ids[likely], scores[likely]))
        return (x, y + int(rows[0]), x + width, y + int(rows[0]) + height) if width else None

    def _foreground(self, class_ids: ImageU8, scores: ImageU8) -> ImageU8:
        limits = cv2.LUT(class_ids, self._highest_background)
        return np.asarray(cv2.compare(scores, limits, cv2.CMP_GT), np.uint8)

    def check_known(self, class_ids: ImageU8) -> None:
        if int(class_ids.max()) < self._all_known_below or not cv2.countNonZero(cv2.LUT(class_ids, self._unknown)):
            return
        strange = sorted(set(np.unique(class_ids).tolist()) & set(np.flatnonzero(self._unknown).tolist()))
        raise ValueError(f"the mask holds class ids {strange}, which the model's bundle does not name")


def find_defects(
    mask: Mask,
    classes: Sequence[DefectClass],
    recipe: Recipe,
    image_hw: tuple[int, int],
    within_xyxy_cells: Box | None = None,
) -> list[Defect]:
    """The defects of a stitched mask, sorted by (y0, x0, y1, x1).

    Foreground cells (`Thresholds`) belong to one defect when they touch, corners included, or when fewer
    than `recipe.join_px` image pixels separate them: the gap between two cells is the larger of the pixels between
    them along x and along y; groups chain. A defect's class is the one with the largest sum of scores (the lowest id
    on a tie), its score the mean over all its cells, its area and box those of its cells clipped to the image.
    Its zone is IGNORE when more than half of its cells lie outside the region of interest (`inspected_cells`).
    Cells that nobody watches (`watched_cells`) are background, whatever the mask says of them.
    `within_xyxy_cells` is known to hold all the foreground there is (`Thresholds.box_xyxy`): nothing else is looked at.
    Raises ValueError for a class id that `classes` does not name and for a mask of another size than the image's.
    """
    batches = list(defect_batches(mask, classes, recipe, image_hw, within_xyxy_cells))
    if not batches:
        return []
    found = DefectColumns.joined(batches)
    return found.taken(found.reading_order()).as_list(recipe)


def defect_batches(
    mask: Mask,
    classes: Sequence[DefectClass],
    recipe: Recipe,
    image_hw: tuple[int, int],
    within_xyxy_cells: Box | None = None,
    band_cells: int = BAND_CELLS,
) -> Iterator[DefectColumns]:
    """`find_defects` in no order, some at a time, none empty: many defects take no more memory than a band of rows.

    Bands have about `band_cells` foreground cells.
    """
    check_mask_size(mask, image_hw)
    foreground = _Foreground(mask, classes, recipe, within_xyxy_cells)
    measure = _Measure(mask, classes, recipe, image_hw)
    for sums in grouped_bands(foreground.bands(band_cells), reach_cells(recipe, mask.stride_px), measure.sums):
        yield measure.defects(sums)


def locate_defects(
    mask: Mask,
    classes: Sequence[DefectClass],
    recipe: Recipe,
    image_hw: tuple[int, int],
    within_xyxy_cells: Box | None = None,
) -> LocatedDefects:
    """`find_defects`, with the cells of each."""
    check_mask_size(mask, image_hw)
    cells = _Foreground(mask, classes, recipe, within_xyxy_cells).all()
    group, count = group_cells(cells.ys, cells.xs, reach_cells(recipe, mask.stride_px))
    measure = _Measure(mask, classes, recipe, image_hw)
    return LocatedDefects(measure.defects(measure.sums(cells, group, count)), cells.ys, cells.xs, group)


def reach_cells(recipe: Recipe, mask_stride_px: int) -> int:
    """Cells of one defect are neighbours at most so far apart, along x and along y."""
    return max(1, -(-recipe.join_px // mask_stride_px))


def foreground_cells(mask: Mask, classes: Sequence[DefectClass]) -> ImageU8:
    """255 where a cell of the mask is foreground, else 0. See `Thresholds`."""
    return Thresholds(classes).foreground(mask.class_ids, mask.scores)


def check_mask_size(mask: Mask, image_hw: tuple[int, int]) -> None:
    """Raise ValueError unless the mask has exactly the cells that cover the image."""
    expected_hw = mask_hw(image_hw, mask.stride_px)
    if mask.class_ids.shape != expected_hw:
        raise ValueError(
            f"a mask of {mask.class_ids.shape} cells does not fit an image of {image_hw} px at stride "
            f"{mask.stride_px} px: {expected_hw} cells are needed"
        )


_thresholds = lru_cache(maxsize=8)(Thresholds)


class _Foreground:
    """The foreground cells of a mask in a box of its cells, without those that nobody watches."""

    def __init__(self, mask: Mask, classes: Sequence[DefectClass], recipe: Recipe, box_xyxy: Box | None) -> None:
        height, width = mask.class_ids.shape
        self._x0, self._y0, x1, y1 = box_xyxy or (0, 0, width, height)
        box = np.s_[self._y0 : y1, self._x0 : x1]
        self._class_ids, self._scores = mask.class_ids[box], mask.scores[box]
        self._thresholds = _thresholds(tuple(classes))
        self._thresholds.check_known(self._class_ids)
        self._rows = self._thresholds.rows(self._scores)
        self._rows_at_least = 2 * reach_cells(recipe, mask.stride_px)
        self._watched = (
            watched_cells(recipe.include, recipe.ignore, (height, width), mask.stride_px) if has_zones(recipe) else None
        )

    def all(self) -> Cells:
        return self._cells(self._rows, self._thresholds.likely(self._scores[self._rows]))

    def bands(self, band_cells: int) -> Iterator[tuple[Cells, int]]:
        """As `grouped_bands` takes them, at most `band_cells` in each, unless it would be too low for its tail."""
        return self._halves(self._rows, BEYOND, band_cells)

    def _halves(self, rows: Ints, next_row: int, band_cells: int) -> Iterator[tuple[Cells, int]]:
        if (cells := self._few(rows, band_cells)) is not None:
            yield cells, next_row
            return
        middle = len(rows) // 2
        yield from self._halves(rows[:middle], int(rows[middle]) + self._y0, band_cells)
        yield from self._halves(rows[middle:], next_row, band_cells)

    def _few(self, rows: Ints, band_cells: int) -> Cells | None:
        """The cells in these rows; None where they are too many for a band and the rows enough for two."""
        divisible = len(rows) >= 2 * self._rows_at_least
        if divisible and len(rows) * self._scores.shape[1] > BAND_AREA:
            return None
        likely = self._thresholds.likely(self._scores[rows])
        return None if divisible and np.count_nonzero(likely) > band_cells else self._cells(rows, likely)

    def _cells(self, rows: Ints, likely: Bools) -> Cells:
        box_ys, box_xs = self._thresholds.cells(self._class_ids, self._scores, rows, likely)
        ys, xs = box_ys + self._y0, box_xs + self._x0
        if self._watched is not None:
            watched = self._watched[ys, xs] > 0
            ys, xs, box_ys, box_xs = ys[watched], xs[watched], box_ys[watched], box_xs[watched]
        return Cells(ys, xs, self._class_ids[box_ys, box_xs], self._scores[box_ys, box_xs])


class _Measure:
    """What groups of cells come to.

    `least`: x0, y0, -x1, -y1 in cells, and where the first cell stands in the mask, row by row. `totals`: cells, those
    of the region of interest, area in image pixels, and scores by class, in the order of the classes' ids.
    """

    def __init__(self, mask: Mask, classes: Sequence[DefectClass], recipe: Recipe, image_hw: tuple[int, int]) -> None:
        self._stride_px, self._image_hw = mask.stride_px, image_hw
        self._edges_px = np.array([image_hw[1], image_hw[0]] * 2)
        self._columns = mask.class_ids.shape[1]
        self._class_ids = np.array(sorted(known.class_id for known in classes), np.intp)
        self._place = np.zeros(256, np.intp)
        self._place[self._class_ids] = np.arange(len(self._class_ids))
        self._inspected = (
            inspected_cells(recipe.include, recipe.ignore, mask.class_ids.shape, mask.stride_px)
            if has_zones(recipe)
            else None
        )

    def sums(self, cells: Cells, group: Ints, count: int) -> Sums:
        least = np.full((5, count), BEYOND)
        np.minimum.at(least[0], group, cells.xs)
        np.minimum.at(least[2], group, -1 - cells.xs)
        # Cells come row by row, and the last one assigned stays.
        least[3, group] = -1 - cells.ys
        least[1, group[::-1]] = cells.ys[::-1]
        least[4, group[::-1]] = (cells.ys * self._columns + cells.xs)[::-1]
        classes = len(self._class_ids)
        totals = np.empty((count, 3 + classes))
        totals[:, 0] = cells_of = np.bincount(group, minlength=count)
        inspected = self._inspected
        totals[:, 1] = (
            cells_of if inspected is None else np.bincount(group, inspected[cells.ys, cells.xs], minlength=count)
        )
        totals[:, 2] = np.bincount(group, self._areas_px(cells), minlength=count)
        by_class = group * classes + self._place[cells.class_ids]
        totals[:, 3:] = np.bincount(by_class, cells.scores, minlength=count * classes).reshape(count, classes)
        return Sums(least.T, totals)

    def defects(self, sums: Sums) -> DefectColumns:
        boxes_px = sums.least[:, :4] * (FAR_EDGES * self._stride_px)
        cells, inspected, areas_px, scores = (*sums.totals[:, :3].T, sums.totals[:, 3:])
        return DefectColumns(
            class_ids=self._class_ids[scores.argmax(axis=1)],
            boxes_px=np.minimum(boxes_px, self._edges_px),
            areas_px=areas_px.astype(np.intp),
            scores=scores.sum(axis=1) / cells / 255.0,
            ignored=inspected * 2 < cells,
            firsts=sums.least[:, 4],
        )

    def _areas_px(self, cells: Cells) -> Ints:
        height_px, width_px = self._image_hw
        heights = np.minimum(self._stride_px, height_px - cells.ys * self._stride_px)
        widths = np.minimum(self._stride_px, width_px - cells.xs * self._stride_px)
        areas_px: Ints = heights * widths
        return areas_px
