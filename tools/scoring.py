"""Boxes against labelled boxes by the DeepPCB protocol; pure arithmetic.

A found box is right when its IoU with a labelled box of the same class exceeds 0.33; pairs are one to one, the
surest found box chooses first. Source: Tang et al., arXiv:1902.06197, section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_runtime.values import Box, Defect

IOU_MIN = 0.33


@dataclass(frozen=True)
class FoundBox:
    """A defect as a model reports it; `score` in 0..1."""

    class_id: int
    xyxy_px: Box
    score: float


@dataclass(frozen=True)
class LabelledBox:
    """A defect as its label gives it: half-open box in image pixels."""

    class_id: int
    xyxy_px: Box


@dataclass(frozen=True)
class ScoredPicture:
    """What was found on one picture and what its labels say."""

    found: tuple[FoundBox, ...]
    truth: tuple[LabelledBox, ...]


@dataclass(frozen=True)
class Scores:
    """Counts pooled over all pictures. An empty denominator makes precision, recall and average precision 0."""

    right: int
    found: int
    labelled: int
    average_precision: float

    @property
    def precision(self) -> float:
        return self.right / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        return self.right / self.labelled if self.labelled else 0.0

    @property
    def f_score(self) -> float:
        return 2 * self.right / (self.found + self.labelled) if self.found + self.labelled else 0.0


def iou(a: Box, b: Box) -> float:
    """Area of the intersection over that of the union of two half-open boxes, 0..1; 0 when both are empty."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0, width) * max(0, height)
    union = _area(a) + _area(b) - shared
    return shared / union if union else 0.0


def padded(box: Box, pad_px: int, image_hw: tuple[int, int]) -> Box:
    """`box` grown by `pad_px` on each side, clipped to the image."""
    x0, y0, x1, y1 = box
    return max(0, x0 - pad_px), max(0, y0 - pad_px), min(image_hw[1], x1 + pad_px), min(image_hw[0], y1 + pad_px)


def padded_defects(defects: Sequence[Defect], pad_px: int, image_hw: tuple[int, int]) -> tuple[FoundBox, ...]:
    """The defects' boxes grown by `pad_px`: labels of some data sets keep a margin around each defect."""
    return tuple(FoundBox(d.class_id, padded(d.xyxy_px, pad_px, image_hw), d.score) for d in defects)


def match_boxes(
    found: Sequence[FoundBox], truth: Sequence[LabelledBox], iou_min: float = IOU_MIN
) -> list[tuple[int, int]]:
    """Pairs (index in `found`, index in `truth`) of one class with an IoU above `iou_min`; each index at most once.

    Found boxes choose in order of falling score (first listed on a tie), each the free label it overlaps most.
    """
    pairs: list[tuple[int, int]] = []
    free = set(range(len(truth)))
    for index in sorted(range(len(found)), key=lambda i: -found[i].score):
        box = found[index]
        overlaps = [(iou(box.xyxy_px, truth[t].xyxy_px), -t) for t in free if truth[t].class_id == box.class_id]
        best_iou, best = max(overlaps, default=(0.0, 0))
        if best_iou > iou_min:
            pairs.append((index, -best))
            free.remove(-best)
    return sorted(pairs)


def score_pictures(pictures: Sequence[ScoredPicture], iou_min: float = IOU_MIN) -> Scores:
    """Pooled counts over all pictures, and average precision as the mean over the classes that are labelled."""
    pairs = [match_boxes(picture.found, picture.truth, iou_min) for picture in pictures]
    classes = sorted({box.class_id for picture in pictures for box in picture.truth})
    precisions = [_average_precision(pictures, pairs, class_id) for class_id in classes]
    return Scores(
        right=sum(map(len, pairs)),
        found=sum(len(picture.found) for picture in pictures),
        labelled=sum(len(picture.truth) for picture in pictures),
        average_precision=float(np.mean(precisions)) if precisions else 0.0,
    )


def of_class(pictures: Sequence[ScoredPicture], class_id: int) -> list[ScoredPicture]:
    """The same pictures with the boxes of one class only."""
    return [
        ScoredPicture(
            tuple(box for box in picture.found if box.class_id == class_id),
            tuple(box for box in picture.truth if box.class_id == class_id),
        )
        for picture in pictures
    ]


def _average_precision(
    pictures: Sequence[ScoredPicture], pairs: Sequence[list[tuple[int, int]]], class_id: int
) -> float:
    """Area under the precision-recall curve of one class, precision made non-increasing (all-point interpolation)."""
    ranked: list[tuple[float, bool]] = []
    for picture, matched in zip(pictures, pairs, strict=True):
        right = {index for index, _ in matched}
        ranked += [(box.score, i in right) for i, box in enumerate(picture.found) if box.class_id == class_id]
    labelled = sum(box.class_id == class_id for picture in pictures for box in picture.truth)
    hits = np.array([hit for _, hit in sorted(ranked, key=lambda entry: -entry[0])], bool)
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[hits].sum() / labelled)


def _area(box: Box) -> int:
    return max(0, box[2] - box[0]) * max(0, box[3] - box[1])
