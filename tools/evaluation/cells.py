"""How well a mask's cells agree with the labels'; pure arithmetic.

Labels are compared at the mask's stride, as in training: a cell is defective when any of its pixels is. What a model
found is what its thresholds leave of its answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edge_runtime.values import DefectClass, Mask
from edge_runtime.vision.blobs import foreground_cells
from edge_runtime.vision.stitching import mask_hw
from tools.crops import coarse_mask

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8

Confusion = npt.NDArray[np.int64]


@dataclass(frozen=True)
class CellScores:
    """Cells of one class over a data set. An empty denominator makes IoU and Dice 0."""

    right: int
    found: int
    labelled: int

    @property
    def iou(self) -> float:
        union = self.found + self.labelled - self.right
        return self.right / union if union else 0.0

    @property
    def dice(self) -> float:
        return 2 * self.right / (self.found + self.labelled) if self.found + self.labelled else 0.0


def found_classes(mask: Mask, classes: Sequence[DefectClass]) -> ImageU8:
    """The class id of each cell that reaches its class's threshold, 0 elsewhere."""
    return mask.class_ids & foreground_cells(mask, classes)


def labelled_classes(truth: ImageU8, stride_px: int) -> ImageU8:
    """A label mask (H, W) as cells; the last ones may overhang the picture."""
    rows, columns = mask_hw((truth.shape[0], truth.shape[1]), stride_px)
    overhang = ((0, rows * stride_px - truth.shape[0]), (0, columns * stride_px - truth.shape[1]))
    return coarse_mask(np.pad(truth, overhang), stride_px)


def cell_confusion(mask: Mask, truth: ImageU8, classes: Sequence[DefectClass]) -> Confusion:
    """int64 (classes + 1, classes + 1): cells by labelled class (rows) and found class (columns), background first.

    `truth` are class ids (H, W) at picture resolution. Raises ValueError for one that does not fit the mask and for a
    class id that `classes` does not name.
    """
    labelled, found = labelled_classes(truth, mask.stride_px), found_classes(mask, classes)
    if labelled.shape != found.shape:
        raise ValueError(f"labels of {labelled.shape} cells do not fit a mask of {found.shape}")
    index_of = np.full(256, 255, np.uint8)
    index_of[[0, *(known.class_id for known in classes)]] = np.arange(len(classes) + 1)
    rows, side = index_of[labelled].astype(np.int64), len(classes) + 1
    if (rows == 255).any():
        raise ValueError("the labels hold a class id that the model does not name")
    counts = np.bincount((rows * side + index_of[found]).ravel(), minlength=side * side)
    return counts.reshape(side, side).astype(np.int64)


def cell_scores(
    confusions: Iterable[Confusion], classes: Sequence[DefectClass], all_name: str
) -> dict[str, CellScores]:
    """Counted over all pictures together: under `all_name` defect against background, then each class by name."""
    total = np.sum(list(confusions), axis=0)
    defect = total[1:, 1:].sum()
    scores = {all_name: CellScores(int(defect), int(total[:, 1:].sum()), int(total[1:].sum()))}
    for index, known in enumerate(classes, 1):
        counts = (total[index, index], total[:, index].sum(), total[index].sum())
        scores[known.name] = CellScores(*map(int, counts))
    return scores
