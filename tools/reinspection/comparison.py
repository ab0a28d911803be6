"""What changed between the verdict of the day and today's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nlargest

from edge_runtime.values import MAX_DEFECTS, Box, Outcome
from edge_runtime.vision.matching import match_boxes
from tools.reinspection.archive import ArchivePicture, Record
from tools.reinspection.values import PictureResult

SAME_PLACE_IOU = 0.33
SAME = "same"


@dataclass(frozen=True)
class Change:
    """`verdict` is `same` or like `PASS to REJECT`; how many boxes of then and of now have no counterpart.

    Boxes are compared by place alone: classes of another model may have other numbers. Only the largest
    `MAX_DEFECTS` count, which is all that records keep.
    """

    verdict: str
    defects_gone: int
    defects_new: int


def compare(record: Record, result: PictureResult) -> Change | None:
    """None for a picture that could not be inspected today."""
    if result.outcome is Outcome.NOT_INSPECTED:
        return None
    verdict = SAME if record.outcome == result.outcome else f"{record.outcome} to {result.outcome.value}"
    now = nlargest(MAX_DEFECTS, result.defects, key=lambda defect: defect.area_px)
    kept = _matches([defect.xyxy_px for defect in now], record.boxes)
    return Change(verdict, len(record.boxes) - kept, len(now) - kept)


def _matches(found: Sequence[Box], known: Sequence[Box]) -> int:
    hits = match_boxes([(0, box, 0.0) for box in found], [(0, box) for box in known], SAME_PLACE_IOU)
    return sum(hit is not None for hit in hits)


@dataclass(frozen=True)
class Reinspected:
    """A picture of the archive, its result, and the change where there is a record."""

    picture: ArchivePicture
    result: PictureResult
    change: Change | None

    @property
    def max_score(self) -> float | None:
        return max((defect.score for defect in self.result.defects), default=None)


def reinspected(picture: ArchivePicture, result: PictureResult) -> Reinspected:
    return Reinspected(picture, result, compare(picture.record, result) if picture.record else None)
