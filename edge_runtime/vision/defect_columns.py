"""Defects as columns: a picture of a million of them is decided without an object for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from edge_runtime.values import Defect, Zone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_runtime.values import Recipe

    Ints = npt.NDArray[np.intp]
    Floats = npt.NDArray[np.float64]
    Bools = npt.NDArray[np.bool_]


class DefectColumns(NamedTuple):
    """One row for each defect. `boxes_px` (n, 4) holds x0, y0, x1, y1; `firsts` tells defects of one box apart."""

    class_ids: Ints
    boxes_px: Ints
    areas_px: Ints
    scores: Floats
    ignored: Bools
    firsts: Ints

    @classmethod
    def of(cls, defects: Sequence[Defect]) -> DefectColumns:
        """The same in the same order."""
        return cls(
            np.array([each.class_id for each in defects], np.intp),
            np.array([each.xyxy_px for each in defects], np.intp).reshape(-1, 4),
            np.array([each.area_px for each in defects], np.intp),
            np.array([each.score for each in defects], np.float64),
            np.array([each.zone is Zone.IGNORE for each in defects], np.bool_),
            np.arange(len(defects)),
        )

    @classmethod
    def joined(cls, parts: Sequence[DefectColumns]) -> DefectColumns:
        """One after the other, at least one."""
        if len(parts) == 1:
            return parts[0]
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    @property
    def rows(self) -> int:
        return len(self.areas_px)

    def taken(self, rows: Ints | Bools) -> DefectColumns:
        class_ids, boxes_px, areas_px, scores, ignored, firsts = self
        return DefectColumns(class_ids[rows], boxes_px[rows], areas_px[rows], scores[rows], ignored[rows], firsts[rows])

    def reading_order(self) -> Ints:
        """The rows sorted by (y0, x0, y1, x1)."""
        return self._sorted()

    def largest_first(self) -> Ints:
        """The rows sorted by area, those of one area in `reading_order`."""
        return self._sorted(-self.areas_px)

    def _sorted(self, *ahead: Ints) -> Ints:
        x0, y0, x1, y1 = self.boxes_px.T
        order: Ints = np.lexsort((self.firsts, x1, y1, x0, y0, *ahead))
        return order

    def as_list(self, recipe: Recipe) -> list[Defect]:
        """In the order of the rows."""
        mm2_per_px = None if recipe.mm_per_px is None else recipe.mm_per_px**2
        rows = zip(*(column.tolist() for column in self[:5]), strict=True)
        return [
            Defect(
                class_id=class_id,
                xyxy_px=tuple(box),
                area_px=area_px,
                area_mm2=None if mm2_per_px is None else area_px * mm2_per_px,
                score=score,
                zone=Zone.IGNORE if ignored else Zone.INSPECT,
            )
            for class_id, box, area_px, score, ignored in rows
        ]
