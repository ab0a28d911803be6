"""A bundle's gate in service: what it calls clean, what of that is computed all the same, and what then tells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edge_runtime.runtime.frame_ring import TileFate
from edge_runtime.runtime.slot_arrays import SlotArrays
from edge_runtime.values import TileCounts, TilePlan
from edge_runtime.vision.gate import TemplateGate, is_audited
from edge_runtime.vision.stitching import clear_core, core_cells

if TYPE_CHECKING:
    from edge_runtime.values import Box
    from edge_runtime.vision.blobs import LocatedDefects
    from edge_runtime.vision.defect_columns import DefectColumns

    Ints = npt.NDArray[np.intp]
    Bools = npt.NDArray[np.bool_]

Counts = Callable[["DefectColumns"], "Bools"]


@dataclass(frozen=True)
class TileGate:
    """`gate` as the bundle has it; one in `audit_every` of the tiles that it calls clean is computed all the same."""

    gate: TemplateGate
    audit_every: int

    def calls_clean(self, arrays: SlotArrays, plan: TilePlan, index: int) -> bool:
        """The same for the same picture, whenever it is asked."""
        return self.gate.is_clean(arrays.image, arrays.template, plan.cores_xyxy_px[index])

    def audits(self, part_id: int, index: int) -> bool:
        return is_audited(part_id, index, self.audit_every)


def skip_tile(arrays: SlotArrays, plan: TilePlan, index: int, mask_stride_px: int) -> None:
    """The tile's cells become background."""
    clear_core(arrays.class_ids, plan, index, mask_stride_px)
    clear_core(arrays.scores, plan, index, mask_stride_px)


def audit_fate(
    found: Iterable[DefectColumns], counts: Counts, core_xyxy_px: Box, image_hw: tuple[int, int], join_px: int
) -> TileFate:
    """What an audit by the cells of one tile alone says of the gate that called it clean.

    `counts`: which defects the recipe counts. One that may go on outside the tile's core can become more than it
    seems, or less: it takes the tiles around.
    """
    doubted = False
    for defects in found:
        outside = _go_on_outside(defects.boxes_px, core_xyxy_px, image_hw, join_px)
        if (counts(defects) & ~outside).any():
            return TileFate.MISSED
        doubted |= bool(outside.any())
    return TileFate.DOUBTED if doubted else TileFate.AUDITED


def _go_on_outside(boxes_px: Ints, core_xyxy_px: Box, image_hw: tuple[int, int], join_px: int) -> Bools:
    """True where cells outside the core may belong to a defect: its box comes near an edge within the picture."""
    (x0, y0, x1, y1), (left, top, right, bottom) = boxes_px.T, core_xyxy_px
    height, width = image_hw
    gaps_px = ((x0 - left, left > 0), (y0 - top, top > 0), (right - x1, right < width), (bottom - y1, bottom < height))
    near = [inside & (gap_px < max(join_px, 1)) for gap_px, inside in gaps_px]
    outside: Bools = np.logical_or.reduce(near)
    return outside


def missed_tiles(
    found: LocatedDefects, counts: Counts, plan: TilePlan, fates: Sequence[TileFate], mask_stride_px: int
) -> list[int]:
    """The doubted tiles whose core has a cell of a defect that counts, when there are no `tiles_to_ask`."""
    counted = counts(found.defects)[found.places]
    ys, xs = found.ys[counted], found.xs[counted]
    return [index for index in tiles_with(TileFate.DOUBTED, fates) if _near(ys, xs, plan, index, mask_stride_px).any()]


def tiles_to_ask(
    found: LocatedDefects, plan: TilePlan, fates: Sequence[TileFate], mask_stride_px: int, reach: int
) -> list[int]:
    """The skipped tiles in which a doubted tile's defect may go on: they come within `reach` cells of a cell of it.

    Where there are none the defects of all doubted tiles are those of a frame without a gate.
    """
    unsure = np.zeros(found.defects.rows, np.bool_)
    for index in tiles_with(TileFate.DOUBTED, fates):
        unsure[found.places[_near(found.ys, found.xs, plan, index, mask_stride_px)]] = True
    ys, xs = found.ys[unsure[found.places]], found.xs[unsure[found.places]]
    skipped = tiles_with(TileFate.SKIPPED, fates)
    return [index for index in skipped if _near(ys, xs, plan, index, mask_stride_px, reach).any()]


def tiles_with(fate: TileFate, fates: Sequence[TileFate]) -> list[int]:
    return [index for index, each in enumerate(fates) if each is fate]


def counts_of(fates: Sequence[TileFate]) -> TileCounts:
    """Of all tiles of a frame."""
    skipped, missed = fates.count(TileFate.SKIPPED), fates.count(TileFate.MISSED)
    audited = fates.count(TileFate.AUDITED) + fates.count(TileFate.DOUBTED) + missed
    return TileCounts(len(fates) - skipped, skipped, audited, missed)


def _near(ys: Ints, xs: Ints, plan: TilePlan, index: int, mask_stride_px: int, reach: int = 0) -> Bools:
    """True for each cell in the tile's core, or at most `reach` cells from it."""
    rows, columns = core_cells(plan, index, mask_stride_px)
    in_rows = (ys >= rows.start - reach) & (ys < rows.stop + reach)
    near: Bools = in_rows & (xs >= columns.start - reach) & (xs < columns.stop + reach)
    return near
