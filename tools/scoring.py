"""Boxes against labelled boxes by the DeepPCB protocol; pure arithmetic.

A found box is right when its IoU with a labelled box of the same class exceeds 0.33; pairs are one to one, the
surest found box chooses first. Source: Tang et al., arXiv:1902.06197, section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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


@dataclass(frozen=True)
class Curve:
    """What a limit on the score would give: one point for each distinct score, the surest first.

    `right` and `found` count the boxes with at least that score, pooled over all pictures.
    """

    scores: npt.NDArray[np.float64]
    right: npt.NDArray[np.intp]
    found: npt.NDArray[np.intp]
    labelled: int

    @property
    def precision(self) -> npt.NDArray[np.float64]:
        return np.asarray(self.right / self.found, np.float64)

    @property
    def recall(self) -> npt.NDArray[np.float64]:
        return np.asarray(self.right / max(1, self.labelled), np.float64)

    @property
    def average_precision(self) -> float:
        """Area under the curve, precision made non-increasing (all-point interpolation); 0 without labels."""
        envelope = np.maximum.accumulate(self.precision[::-1])[::-1]
        return float(np.sum(np.diff(self.recall, prepend=0.0) * envelope))


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


def match_labels(found: Sequence[FoundBox], truth: Sequence[LabelledBox], iou_min: float = IOU_MIN) -> list[int | None]:
    """For each found box the index of the label it hits, or None; see `vision.matching.match_boxes`."""
    return match_boxes(
        [(box.class_id, box.xyxy_px, box.score) for box in found],
        [(box.class_id, box.xyxy_px) for box in truth],
        iou_min,
    )


def match_found(found: Sequence[FoundBox], truth: Sequence[LabelledBox], iou_min: float = IOU_MIN) -> list[bool]:
    """For each found box whether it is right."""
    return [hit is not None for hit in match_labels(found, truth, iou_min)]


def score_pictures(pictures: Sequence[ScoredPicture], iou_min: float = IOU_MIN) -> Scores:
    """Pooled counts over all pictures, and average precision as the mean over the classes that are labelled."""
    hits = [match_found(picture.found, picture.truth, iou_min) for picture in pictures]
    return Scores(
        right=sum(map(sum, hits)),
        found=sum(len(picture.found) for picture in pictures),
        labelled=sum(len(picture.truth) for picture in pictures),
        average_precision=mean_average_precision(pictures, iou_min),
    )


def mean_average_precision(pictures: Sequence[ScoredPicture], iou_min: float = IOU_MIN) -> float:
    """The mean over the classes that are labelled; 0 without labels."""
    labelled = sorted({box.class_id for picture in pictures for box in picture.truth})
    curves = [precision_recall(of_class(pictures, class_id), iou_min) for class_id in labelled]
    return float(np.mean([curve.average_precision for curve in curves])) if curves else 0.0


def precision_recall(pictures: Sequence[ScoredPicture], iou_min: float = IOU_MIN) -> Curve:
    """The curve over all boxes of the pictures; of one class with `of_class`.

    Boxes of equal score form one point, so the order of the pictures does not matter.
    """
    scores = np.array([box.score for picture in pictures for box in picture.found], np.float64)
    hits = np.array([hit for p in pictures for hit in match_found(p.found, p.truth, iou_min)], np.bool_)
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf) != 0)
    right = np.cumsum(hits[order], dtype=np.intp)[last]
    return Curve(scores[order][last], right, last + 1, sum(len(picture.truth) for picture in pictures))


def of_class(pictures: Sequence[ScoredPicture], class_id: int) -> list[ScoredPicture]:
    """The same pictures with the boxes of one class only."""
    return [
        ScoredPicture(
            tuple(box for box in picture.found if box.class_id == class_id),
            tuple(box for box in picture.truth if box.class_id == class_id),
        )
        for picture in pictures
    ]
