"""From a mask to a list of defects, without a Python loop over cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.values import Defect, Zone
from edge_runtime.vision.regions import has_zones, inspected_cells, watched_cells
from edge_runtime.vision.stitching import mask_hw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_runtime.values import Box, DefectClass, ImageU8, Mask, Recipe

    Ints = npt.NDArray[np.intp]
    Floats = npt.NDArray[np.float64]
    Bools = npt.NDArray[np.bool_]


class _Cells(NamedTuple):
    """The foreground cells as columns, row by row; `group` numbers the defect each belongs to from 0."""

    ys: Ints
    xs: Ints
    class_ids: ImageU8
    scores: ImageU8
    group: Ints
    group_count: int


class LocatedDefects(NamedTuple):
    """Defects as `find_defects` sorts them; of each of their cells the row, the column and the place in `defects`."""

    defects: list[Defect]
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
        self._check_known(class_ids)
        limits = cv2.LUT(class_ids, self._highest_background)
        return np.asarray(cv2.compare(scores, limits, cv2.CMP_GT), np.uint8)

    def cells(self, class_ids: ImageU8, scores: ImageU8) -> tuple[Ints, Ints]:
        """Rows and columns of the foreground cells, row by row: quick where they are few."""
        self._check_known(class_ids)
        ys, xs = np.divmod(np.flatnonzero(scores >= self._lowest), scores.shape[1])
        passed = scores[ys, xs] > self._highest_background[class_ids[ys, xs]]
        return ys[passed], xs[passed]

    def box_xyxy(self, class_ids: ImageU8, scores: ImageU8) -> Box | None:
        """The least box around the foreground; None where there is none."""
        ys, xs = self.cells(class_ids, scores)
        return (int(xs.min()), int(ys[0]), int(xs.max()) + 1, int(ys[-1]) + 1) if len(ys) else None

    def _check_known(self, class_ids: ImageU8) -> None:
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
    cells = _grouped_cells(mask, classes, recipe, image_hw, within_xyxy_cells)
    return _sorted_defects(cells, mask.stride_px, recipe, image_hw)[0] if cells else []


def locate_defects(
    mask: Mask,
    classes: Sequence[DefectClass],
    recipe: Recipe,
    image_hw: tuple[int, int],
    within_xyxy_cells: Box | None = None,
) -> LocatedDefects:
    """`find_defects`, with the cells of each."""
    cells = _grouped_cells(mask, classes, recipe, image_hw, within_xyxy_cells)
    if cells is None:
        nothing = np.zeros(0, np.intp)
        return LocatedDefects([], nothing, nothing, nothing)
    defects, order = _sorted_defects(cells, mask.stride_px, recipe, image_hw)
    return LocatedDefects(defects, cells.ys, cells.xs, np.argsort(order)[cells.group])


def reach_cells(recipe: Recipe, mask_stride_px: int) -> int:
    """Cells of one defect are neighbours at most so far apart, along x and along y."""
    return max(1, -(-recipe.join_px // mask_stride_px))


def _grouped_cells(
    mask: Mask, classes: Sequence[DefectClass], recipe: Recipe, image_hw: tuple[int, int], within_xyxy_cells: Box | None
) -> _Cells | None:
    check_mask_size(mask, image_hw)
    rows, columns = mask.class_ids.shape
    x0, y0, x1, y1 = within_xyxy_cells or (0, 0, columns, rows)
    class_ids, scores = mask.class_ids[y0:y1, x0:x1], mask.scores[y0:y1, x0:x1]
    ys, xs = Thresholds(classes).cells(class_ids, scores)
    ys, xs = ys + y0, xs + x0
    if has_zones(recipe):
        watched = watched_cells(recipe.include, recipe.ignore, (rows, columns), mask.stride_px)[ys, xs] > 0
        ys, xs = ys[watched], xs[watched]
    if not len(ys):
        return None
    group, group_count = _groups(ys, xs, reach_cells(recipe, mask.stride_px))
    return _Cells(ys, xs, mask.class_ids[ys, xs], mask.scores[ys, xs], group, group_count)


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


def _groups(ys: Ints, xs: Ints, reach: int) -> tuple[Ints, int]:
    """Number each cell's group from 0, and count the groups: cells join when they are at most `reach` apart."""
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
    moved[used] = np.cumsum(np.minimum(np.diff(used, prepend=used[0]), reach + 1))
    return moved[at]


def _widened(cells: ImageU8, reach: int) -> ImageU8:
    """Blow each cell up to a square of `reach` cells: two squares touch exactly when their cells are within reach."""
    if reach == 1:
        return cells
    side = min(reach, max(cells.shape))
    return np.asarray(cv2.dilate(cells, np.ones((side, side), np.uint8), anchor=(0, 0)), np.uint8)


def _sorted_defects(
    cells: _Cells, stride_px: int, recipe: Recipe, image_hw: tuple[int, int]
) -> tuple[list[Defect], Ints]:
    """The defects, and of which group each is."""
    boxes = _boxes(cells, stride_px, image_hw)
    areas = _areas(cells, stride_px, image_hw)
    mm2_per_px = None if recipe.mm_per_px is None else recipe.mm_per_px**2
    order = np.lexsort((_first_cells(cells), boxes[:, 2], boxes[:, 3], boxes[:, 0], boxes[:, 1]))
    columns = (_class_ids(cells), boxes, areas, _mean_scores(cells), _ignored(cells, stride_px, recipe, image_hw))
    defects = [
        Defect(
            class_id=class_id,
            xyxy_px=tuple(box),
            area_px=area_px,
            area_mm2=None if mm2_per_px is None else area_px * mm2_per_px,
            score=score,
            zone=Zone.IGNORE if ignored else Zone.INSPECT,
        )
        for class_id, box, area_px, score, ignored in zip(*(column[order].tolist() for column in columns), strict=True)
    ]
    return defects, order


def _first_cells(cells: _Cells) -> Ints:
    """Each group's place in the order of their first cells, whatever OpenCV numbered them by."""
    first = np.full(cells.group_count, len(cells.group), np.intp)
    np.minimum.at(first, cells.group, np.arange(len(cells.group)))
    return first


def _boxes(cells: _Cells, stride_px: int, image_hw: tuple[int, int]) -> Ints:
    """Columns x0, y0, x1, y1 in image pixels, one row per group."""
    height_px, width_px = image_hw
    boxes = np.empty((cells.group_count, 4), np.intp)
    boxes[:, :2] = np.iinfo(np.intp).max
    boxes[:, 2:] = 0
    for near, far, at in ((0, 2, cells.xs), (1, 3, cells.ys)):
        np.minimum.at(boxes[:, near], cells.group, at * stride_px)
        np.maximum.at(boxes[:, far], cells.group, (at + 1) * stride_px)
    return np.minimum(boxes, (width_px, height_px, width_px, height_px))


def _areas(cells: _Cells, stride_px: int, image_hw: tuple[int, int]) -> Ints:
    height_px, width_px = image_hw
    heights = np.minimum(stride_px, height_px - cells.ys * stride_px)
    widths = np.minimum(stride_px, width_px - cells.xs * stride_px)
    return np.bincount(cells.group, weights=heights * widths).astype(np.intp)


def _class_ids(cells: _Cells) -> Ints:
    ids = int(cells.class_ids.max()) + 1
    sums = np.bincount(cells.group * ids + cells.class_ids, cells.scores, cells.group_count * ids)
    likeliest: Ints = sums.reshape(-1, ids).argmax(axis=1)
    return likeliest


def _mean_scores(cells: _Cells) -> Floats:
    means: Floats = np.bincount(cells.group, weights=cells.scores) / np.bincount(cells.group) / 255.0
    return means


def _ignored(cells: _Cells, stride_px: int, recipe: Recipe, image_hw: tuple[int, int]) -> Bools:
    if not (recipe.include or recipe.ignore):
        return np.zeros(cells.group_count, np.bool_)
    inside = inspected_cells(recipe.include, recipe.ignore, mask_hw(image_hw, stride_px), stride_px)
    inside_counts = np.bincount(cells.group, weights=inside[cells.ys, cells.xs])
    return inside_counts * 2 < np.bincount(cells.group)
