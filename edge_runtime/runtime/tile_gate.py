"""A bundle's gate in service: what it calls clean, and what of that is computed all the same."""

from __future__ import annotations

from dataclasses import dataclass

from edge_runtime.runtime.slot_arrays import SlotArrays
from edge_runtime.values import TilePlan
from edge_runtime.vision.gate import TemplateGate, is_audited
from edge_runtime.vision.stitching import clear_core


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
