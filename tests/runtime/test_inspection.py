"""An inspection worker on its own: what it makes of a gate that missed a defect."""

import gc
from contextlib import closing
from dataclasses import replace

import pytest

from edge_runtime.clock import SystemClock
from edge_runtime.errors import InferenceError
from edge_runtime.inference.scripted import ScriptedSegmenter
from edge_runtime.runtime.channel import Channel
from edge_runtime.runtime.frame_ring import FrameRing
from edge_runtime.runtime.inspection import InspectionPlan, InspectionWorker
from edge_runtime.runtime.messages import Inspect, Inspected, Left, Stop
from edge_runtime.runtime.ring_layout import RingLayout
from edge_runtime.runtime.slot_arrays import slot_arrays
from edge_runtime.runtime.tile_gate import TileGate
from edge_runtime.values import ClassRule, DefectClass, InputContract, Outcome, Recipe, TileCounts
from edge_runtime.vision.gate import TemplateGate, is_audited

SIDE_PX, TILE_PX, TILES, AUDIT_EVERY = 256, 64, 16, 12
CLEAN, DEFECT = 60, 101
CONTRACT = InputContract("GRAY", (0.5,), (0.25,), TILE_PX, 8, 0, template=True)
CLASSES = [DefectClass(1, "open", (0, 0, 255), 128), DefectClass(2, "short", (0, 0, 255), 128)]
BLIND = TileGate(TemplateGate(1, 4, 8, 255.0), AUDIT_EVERY)
ALL_AUDITED = TileGate(BLIND.gate, 1)


class ResetMeanwhile(ScriptedSegmenter):
    """The controller resets while each tile is computed."""

    ring: FrameRing

    def predict(self, picture, template=None):
        self.ring.gate.open()
        return super().predict(picture, template)


def inspect(recipe, gate, part_id, boxes, segmenter=None):
    """What a worker says of one picture with defects in these boxes, and whether the gate is closed then."""
    ring = FrameRing.create(RingLayout(1, SIDE_PX * SIDE_PX))
    segmenter = segmenter or ScriptedSegmenter(CONTRACT, 2)
    segmenter.ring = ring
    plan = InspectionPlan(segmenter, CLASSES, recipe, "model/1@0", "d", "scripted", gate)
    arrays = slot_arrays(ring, 0, (SIDE_PX, SIDE_PX), 2)
    arrays.image[...], arrays.template[...] = CLEAN, CLEAN
    for x0, y0, x1, y1 in boxes:
        arrays.image[y0:y1, x0:x1] = DEFECT
    ring.start(0, part_id)
    result = next(message for message in said(ring, plan, part_id) if isinstance(message, Inspected))
    return result, ring.gate.closed_by


def said(ring, plan, part_id):
    """All that a worker says when it is asked for the tiles of this part, which nobody else works on."""
    line, end = Channel.pair()
    line.send(Inspect(0, part_id, (SIDE_PX, SIDE_PX), 1))
    line.send(Stop())
    with closing(line), closing(end):
        try:
            InspectionWorker(0, end, ring, {1: plan}, SystemClock()).serve()
        finally:
            gc.unfreeze()
        return list(iter(line.receive, None))


def part_where(audited, skipped):
    """A part of which this tile is audited, and that one is not."""
    return next(n for n in range(1, 9999) if is_audited(n, audited, AUDIT_EVERY) > is_audited(n, skipped, AUDIT_EVERY))


def test_a_frame_in_which_the_gate_missed_a_defect_is_computed_whole_though_a_reset_opened_the_gate_meanwhile():
    boxes = [(x, y, x + 8, y + 8) for y in range(20, SIDE_PX, TILE_PX) for x in range(20, SIDE_PX, TILE_PX)]
    result, _ = inspect(Recipe("r"), BLIND, part_where(6, 15), boxes, ResetMeanwhile(CONTRACT, 2))
    assert result.tile_counts.missed > 0
    assert (result.tile_counts.skipped, result.verdict.defect_count) == (0, TILES)


# Tile 6 covers x 128..192, y 64..128, tile 7 lies on its right.
INSIDE, ACROSS = (150, 90, 158, 98), (184, 90, 200, 98)
ON_TILE_6 = ((128.0, 64.0), (192.0, 64.0), (192.0, 128.0), (128.0, 128.0))


@pytest.mark.parametrize(
    ("box", "recipe", "missed"),
    [
        (INSIDE, Recipe("all counts"), True),
        (INSIDE, Recipe("ignored zone", ignore=(ON_TILE_6,)), False),
        (INSIDE, Recipe("too small", default_rule=ClassRule(min_area_px=65)), False),
        (INSIDE, Recipe("large enough", default_rule=ClassRule(min_area_px=64)), True),
        (INSIDE, Recipe("class not watched", rules={"open": ClassRule(min_area_px=1e9)}), False),
        (INSIDE, Recipe("another class not watched", rules={"short": ClassRule(min_area_px=1e9)}), True),
        (INSIDE, Recipe("some are allowed", default_rule=ClassRule(max_count=2)), True),
        (ACROSS, Recipe("all counts"), True),
        (ACROSS, Recipe("two halves are enough", default_rule=ClassRule(min_area_px=128)), True),
        (ACROSS, Recipe("two halves are too small", default_rule=ClassRule(min_area_px=129)), False),
        (ACROSS, Recipe("the other half is ignored", ignore=((((192.0, 0.0), (256.0, 0.0), (256.0, 256.0))),)), True),
    ],
    ids=lambda value: value.name if isinstance(value, Recipe) else None,
)
def test_an_audit_closes_the_gate_exactly_for_what_the_recipe_counts(box, recipe, missed):
    result, closed_by = inspect(recipe, BLIND, part_where(6, 7), [box])
    assert bool(result.tile_counts.missed) is missed
    assert closed_by == ("model/1@0" if missed else "")
    assert result.tile_counts.audited > 0
    if missed:
        assert result.tile_counts.skipped == 0, "made up for"
    elif box is ACROSS:
        assert result.tile_counts.skipped == TILES - result.tile_counts.audited - 1, "only its neighbour tells more"
    else:
        assert result.tile_counts.skipped == TILES - result.tile_counts.audited
    assert (result.verdict.outcome is Outcome.REJECT) is (missed and recipe.default_rule.max_count == 0)


def test_only_tiles_that_were_audited_are_missed_when_the_gate_closes_in_mid_frame():
    across = [(56, 20, 72, 28), (184, 90, 200, 98), (184, 150, 200, 158)]  # tiles 0 and 1, then 6 and 7, 10 and 11
    result, closed_by = inspect(Recipe("all counts"), ALL_AUDITED, 1, [*across, (150, 20, 158, 28)])  # it closes in 2
    assert (result.tile_counts, closed_by) == (TileCounts(TILES, 0, audited=3, missed=3), "model/1@0")
    assert result.verdict.defect_count == 4


def test_a_speck_in_the_box_of_a_defect_that_counts_is_no_piece_of_it():
    corner = [(20, 20, 28, 200), (20, 192, 240, 200)]  # tiles 0, 4, 8 and 12 to 15
    recipe = Recipe("specks are ignored", default_rule=ClassRule(min_area_px=100))
    result, _ = inspect(recipe, ALL_AUDITED, 1, [*corner, (188, 90, 196, 94)])
    assert result.tile_counts == TileCounts(TILES, 0, audited=TILES, missed=7)


def test_a_long_defect_is_followed_from_an_audited_tile_through_all_that_were_skipped():
    scratch = (0, 90, 256, 94)  # tiles 4 to 7; a quarter of it is too small
    recipe = Recipe("long ones count", default_rule=ClassRule(min_area_px=1024))
    part_id = next(
        n for n in range(1, 9999) if [is_audited(n, tile, AUDIT_EVERY) for tile in (4, 5, 6, 7)] == [1, 0, 0, 0]
    )
    result, closed_by = inspect(recipe, BLIND, part_id, [scratch])
    assert (result.tile_counts.missed, result.tile_counts.skipped, closed_by) == (1, 0, "model/1@0")
    assert result.verdict.outcome is Outcome.REJECT


def test_a_part_is_computed_by_the_engine_that_its_record_names():
    ring = FrameRing.create(RingLayout(1, SIDE_PX * SIDE_PX))
    one = InspectionPlan(ScriptedSegmenter(CONTRACT, 2), CLASSES, Recipe("r"), "model/1@0", "d", "openvino")
    ring.start(0, 1)
    assert [each.engine for each in said(ring, one, 1) if isinstance(each, Inspected)] == ["openvino"]
    assert Left(1, 0, 0.0) in said(ring, one, 1), "another worker of that engine finds nothing left to do"
    with pytest.raises(InferenceError, match="16 tiles of 64 px by openvino:bf16, others do otherwise"):
        said(ring, replace(one, engine="openvino:bf16"), 1)
