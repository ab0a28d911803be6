"""An inspection worker on its own: what it makes of a gate that missed a defect."""

import gc

from edge_runtime.clock import SystemClock
from edge_runtime.inference.scripted import ScriptedSegmenter
from edge_runtime.runtime.channel import Channel
from edge_runtime.runtime.frame_ring import FrameRing, RingLayout
from edge_runtime.runtime.inspection import InspectionPlan, InspectionWorker
from edge_runtime.runtime.messages import Inspect, Inspected, Stop
from edge_runtime.runtime.slot_arrays import slot_arrays
from edge_runtime.runtime.tile_gate import TileGate
from edge_runtime.values import DefectClass, InputContract, Recipe
from edge_runtime.vision.gate import TemplateGate, is_audited

SIDE_PX, TILE_PX, TILES, AUDIT_EVERY = 256, 64, 16, 12
CLEAN, DEFECT = 60, 101


class ResetMeanwhile(ScriptedSegmenter):
    """The controller resets while each tile is computed."""

    ring: FrameRing

    def predict(self, picture, template=None):
        self.ring.gate_closed = False
        return super().predict(picture, template)


def test_a_frame_in_which_the_gate_missed_a_defect_is_computed_whole_though_a_reset_opened_the_gate_meanwhile():
    ring = FrameRing.create(RingLayout(1, SIDE_PX * SIDE_PX))
    contract = InputContract("GRAY", (0.5,), (0.25,), TILE_PX, 8, 0, template=True)
    segmenter = ResetMeanwhile(contract, 2)
    segmenter.ring = ring
    blind = TileGate(TemplateGate(1, 4, 8, 255.0), AUDIT_EVERY)
    plan = InspectionPlan(segmenter, [DefectClass(1, "open", (0, 0, 255), 128)], Recipe("r"), "m", "d", blind)
    part_id = next(n for n in range(1, 999) if is_audited(n, 6, AUDIT_EVERY) and not is_audited(n, 15, AUDIT_EVERY))
    arrays = slot_arrays(ring, 0, (SIDE_PX, SIDE_PX), 2)
    arrays.image[...], arrays.template[...] = CLEAN, CLEAN
    for tile in range(TILES):  # each tile has a defect of its own
        y, x = tile // 4 * TILE_PX + 20, tile % 4 * TILE_PX + 20
        arrays.image[y : y + 8, x : x + 8] = DEFECT
    line, end = Channel.pair()
    ring.start(0, part_id)
    line.send(Inspect(0, part_id, (SIDE_PX, SIDE_PX), 1))
    line.send(Stop())
    InspectionWorker(0, end, ring, {1: plan}, SystemClock()).serve()
    gc.unfreeze()
    result = next(message for message in iter(line.receive, None) if isinstance(message, Inspected))
    line.close()
    end.close()
    assert result.tile_counts.missed > 0
    assert (result.tile_counts.skipped, result.verdict.defect_count) == (0, TILES)
