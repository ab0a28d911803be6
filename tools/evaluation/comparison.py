"""Two answers to the same picture in terms of defects and verdicts; pure arithmetic.

`a` is what is taken as right (the float network, the model in use), `b` what is held against it. Any two segmenters'
masks can be compared, whatever made them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_runtime.values import Box, Defect, DefectClass, Mask, Outcome, Recipe
from edge_runtime.vision.blobs import find_defects
from edge_runtime.vision.decision import decide
from edge_runtime.vision.matching import match_boxes, padded
from tools.evaluation.cells import found_classes
from tools.scoring import IOU_MIN, MARGIN_PX

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8


@dataclass(frozen=True)
class Comparison:
    """Every defect of `a` and of `b` in exactly one place; pairs are (of a, of b)."""

    same: tuple[tuple[Defect, Defect], ...]
    changed_class: tuple[tuple[Defect, Defect], ...]
    missed: tuple[Defect, ...]
    new: tuple[Defect, ...]


@dataclass(frozen=True)
class MaskComparison:
    """Two masks of one picture. `equal_cells` of `cells` have the same class once thresholds are applied.

    `max_score_difference` is the largest difference of two cells' scores, of 255.
    """

    defects: Comparison
    outcome_a: Outcome
    outcome_b: Outcome
    cells: int
    equal_cells: int
    max_score_difference: int

    @property
    def verdict_changed(self) -> bool:
        return self.outcome_a is not self.outcome_b

    @property
    def equal(self) -> bool:
        """Whether nobody would notice: the same defects and the same verdict."""
        found = self.defects
        return not (self.verdict_changed or found.changed_class or found.missed or found.new)


@dataclass(frozen=True)
class Totals:
    """Comparisons of many pictures together."""

    pictures: int
    same: int
    changed_class: int
    missed: int
    new: int
    verdicts_changed: int
    equal_cell_share: float
    max_score_difference: int


def compare_defects(
    a: Sequence[Defect], b: Sequence[Defect], iou_min: float = IOU_MIN, margin_px: int = MARGIN_PX
) -> Comparison:
    """Pair the defects of two answers by place: first those of equal class, then what is left whatever its class.

    Boxes are grown by `margin_px` on each side, as for scoring, so that a cell more or less of a small defect is no
    other defect; two are one when their IoU exceeds `iou_min`. Swapping `a` and `b` may pair rivals otherwise.
    """
    pairs = _pairs(a, b, [defect.class_id for defect in a], [defect.class_id for defect in b], iou_min, margin_px)
    left_a = [defect for index, defect in enumerate(a) if index not in pairs]
    left_b = [defect for index, defect in enumerate(b) if index not in pairs.values()]
    moved = _pairs(left_a, left_b, [0] * len(left_a), [0] * len(left_b), iou_min, margin_px)
    return Comparison(
        same=tuple((a[i], b[j]) for i, j in sorted(pairs.items())),
        changed_class=tuple((left_a[i], left_b[j]) for i, j in sorted(moved.items())),
        missed=tuple(defect for index, defect in enumerate(left_a) if index not in moved),
        new=tuple(defect for index, defect in enumerate(left_b) if index not in moved.values()),
    )


def compare_masks(
    a: Mask,
    b: Mask,
    classes_a: Sequence[DefectClass],
    classes_b: Sequence[DefectClass],
    recipe: Recipe,
    image_hw: tuple[int, int],
) -> MaskComparison:
    """Two masks of one picture, each with its own model's thresholds and one recipe.

    A class id means the same in both. Raises ValueError for a mask that does not fit the picture or its classes.
    """
    found_a, found_b = find_defects(a, classes_a, recipe, image_hw), find_defects(b, classes_b, recipe, image_hw)
    cells_a, cells_b = (found_classes(mask, known) for mask, known in ((a, classes_a), (b, classes_b)))
    ids_a, ids_b, scores_a, scores_b = _on_one_grid((cells_a, a), (cells_b, b), image_hw)
    return MaskComparison(
        defects=compare_defects(found_a, found_b),
        outcome_a=_outcome(found_a, recipe, classes_a),
        outcome_b=_outcome(found_b, recipe, classes_b),
        cells=ids_a.size,
        equal_cells=int(np.count_nonzero(ids_a == ids_b)),
        max_score_difference=int(np.abs(scores_a.astype(np.int16) - scores_b).max()),
    )


def total(comparisons: Sequence[MaskComparison]) -> Totals:
    cells = sum(one.cells for one in comparisons)
    return Totals(
        pictures=len(comparisons),
        same=sum(len(one.defects.same) for one in comparisons),
        changed_class=sum(len(one.defects.changed_class) for one in comparisons),
        missed=sum(len(one.defects.missed) for one in comparisons),
        new=sum(len(one.defects.new) for one in comparisons),
        verdicts_changed=sum(one.verdict_changed for one in comparisons),
        equal_cell_share=sum(one.equal_cells for one in comparisons) / cells if cells else 1.0,
        max_score_difference=max((one.max_score_difference for one in comparisons), default=0),
    )


def _pairs(
    a: Sequence[Defect], b: Sequence[Defect], keys_a: list[int], keys_b: list[int], iou_min: float, margin_px: int
) -> dict[int, int]:
    """Index in `a` to index in `b`, each used once; pairs have equal keys."""
    found = [(key, padded(defect.xyxy_px, margin_px), defect.score) for key, defect in zip(keys_b, b, strict=True)]
    known: list[tuple[int, Box]] = [
        (key, padded(defect.xyxy_px, margin_px)) for key, defect in zip(keys_a, a, strict=True)
    ]
    return {hit: index for index, hit in enumerate(match_boxes(found, known, iou_min)) if hit is not None}


def _outcome(defects: Sequence[Defect], recipe: Recipe, classes: Sequence[DefectClass]) -> Outcome:
    return decide(defects, recipe, {known.class_id: known.name for known in classes})[0]


def _on_one_grid(
    a: tuple[ImageU8, Mask], b: tuple[ImageU8, Mask], image_hw: tuple[int, int]
) -> tuple[ImageU8, ImageU8, ImageU8, ImageU8]:
    """The planes (ids of a, ids of b, scores of a, scores of b) cell by cell, or pixel by pixel at unequal strides."""
    if a[1].stride_px == b[1].stride_px:
        return a[0], b[0], a[1].scores, b[1].scores

    def enlarged(plane: ImageU8, stride_px: int) -> ImageU8:
        return plane.repeat(stride_px, axis=0).repeat(stride_px, axis=1)[: image_hw[0], : image_hw[1]]

    ids_a, ids_b = (enlarged(ids, mask.stride_px) for ids, mask in (a, b))
    return ids_a, ids_b, enlarged(a[1].scores, a[1].stride_px), enlarged(b[1].scores, b[1].stride_px)
