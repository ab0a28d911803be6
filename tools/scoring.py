"""Boxes against labelled boxes by the DeepPCB protocol; pure arithmetic.

A found box is right when its IoU with a labelled box of the same class exceeds 0.33; pairs are one to one, the
surest found box chooses first. Source: Tang et al., arXiv:1902.06197, section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_runtime.values import Box, Defect
from edge_runtime.vision.matching import match_boxes

IOU_MIN = 0.33
MARGIN_PX = 10


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


def padded(box: Box, pad_px: int, image_hw: tuple[int, int]) -> Box:
    """`box` grown by `pad_px` on each side, clipped to the image."""
    x0, y0, x1, y1 = box
    return max(0, x0 - pad_px), max(0, y0 - pad_px), min(image_hw[1], x1 + pad_px), min(image_hw[0], y1 + pad_px)


def scored_picture(
    defects: Sequence[Defect], labels: Sequence[LabelledBox], label_margin_px: int, image_hw: tuple[int, int]
) -> ScoredPicture:
    """Defects and labels as boxes with the same margin, `MARGIN_PX`, around each defect.

    DeepPCB's labels keep about that margin (`label_margin_px`), a mask's own boxes none.
    """
    missing_px = max(0, MARGIN_PX - label_margin_px)
    return ScoredPicture(
        tuple(FoundBox(d.class_id, padded(d.xyxy_px, MARGIN_PX, image_hw), d.score) for d in defects),
        tuple(LabelledBox(b.class_id, padded(b.xyxy_px, missing_px, image_hw)) for b in labels),
    )


def match_found(found: Sequence[FoundBox], truth: Sequence[LabelledBox], iou_min: float = IOU_MIN) -> list[bool]:
    """For each found box whether it is right; see `vision.matching.match_boxes`."""
    hits = match_boxes(
        [(box.class_id, box.xyxy_px, box.score) for box in found],
        [(box.class_id, box.xyxy_px) for box in truth],
        iou_min,
    )
    return [hit is not None for hit in hits]


def score_pictures(pictures: Sequence[ScoredPicture], iou_min: float = IOU_MIN) -> Scores:
    """Pooled counts over all pictures, and average precision as the mean over the classes that are labelled."""
    hits = [match_found(picture.found, picture.truth, iou_min) for picture in pictures]
    classes = sorted({box.class_id for picture in pictures for box in picture.truth})
    precisions = [_average_precision(pictures, hits, class_id) for class_id in classes]
    return Scores(
        right=sum(map(sum, hits)),
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


def _average_precision(pictures: Sequence[ScoredPicture], hits: Sequence[list[bool]], class_id: int) -> float:
    """Area under the precision-recall curve of one class, precision made non-increasing (all-point interpolation)."""
    ranked = [
        (box.score, hit)
        for picture, its_hits in zip(pictures, hits, strict=True)
        for box, hit in zip(picture.found, its_hits, strict=True)
        if box.class_id == class_id
    ]
    labelled = sum(box.class_id == class_id for picture in pictures for box in picture.truth)
    in_order = np.array([hit for _, hit in sorted(ranked, key=lambda entry: -entry[0])], bool)
    precision = np.cumsum(in_order) / np.arange(1, len(in_order) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[in_order].sum() / labelled)
