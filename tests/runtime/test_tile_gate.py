"""The gate's audit: what it says of one tile is what the recipe would say of the whole frame."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.inference.scripted import ScriptedSegmenter
from edge_runtime.runtime.frame_ring import TileFate
from edge_runtime.runtime.inspection import InspectionPlan, RecipeWork
from edge_runtime.runtime.slot_arrays import SlotArrays
from edge_runtime.runtime.tile_gate import TileGate
from edge_runtime.values import ClassRule, DefectClass, InputContract, Mask, Recipe
from edge_runtime.vision.blobs import find_defects
from edge_runtime.vision.decision import is_counted
from edge_runtime.vision.gate import TemplateGate
from edge_runtime.vision.stitching import core_cells

SIDE_PX, STRIDE_PX, CELLS = 64, 2, 32
CONTRACT = InputContract("GRAY", (0.5,), (0.25,), 32, 8, 0, template=True)
CLASSES = [DefectClass(1, "open", (0, 0, 255), 128), DefectClass(2, "short", (0, 0, 255), 128)]
EVERYTHING = TileGate(TemplateGate(1, 4, 8, 255.0), audit_every=1)
BLOBS = st.lists(st.tuples(*[st.integers(0, CELLS - 1)] * 2, *[st.integers(1, 6)] * 2, st.integers(1, 2)), max_size=6)
RECIPES = st.builds(
    Recipe,
    st.just("r"),
    join_px=st.integers(0, 12),
    default_rule=st.builds(ClassRule, min_area_px=st.integers(0, 120)),
    rules=st.sampled_from([{}, {"short": ClassRule(min_area_px=1e9)}]),
    ignore=st.sampled_from([(), (((20.0, 0.0), (40.0, 0.0), (40.0, 64.0), (20.0, 64.0)),)]),
)


@given(BLOBS, RECIPES)
def test_without_a_tile_that_is_no_miss_nothing_is_lost_that_the_recipe_counts(blobs, recipe):
    work = RecipeWork(InspectionPlan(ScriptedSegmenter(CONTRACT, STRIDE_PX), CLASSES, recipe, "m", "d", EVERYTHING))
    plan = work.tiles((SIDE_PX, SIDE_PX))
    assert len(plan) == 4
    image, grey = np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8), np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    class_ids = np.zeros((CELLS, CELLS), np.uint8)
    for x, y, width, height, class_id in blobs:
        class_ids[y : y + height, x : x + width] = class_id
    arrays = SlotArrays(image, grey, class_ids, np.where(class_ids, np.uint8(200), np.uint8(0)))
    fates = [work.audit(arrays, plan, index) for index in range(len(plan))]
    confirmed = work.confirmed_doubts(1, arrays, plan, (0, 0, CELLS, CELLS))
    counted = counted_of(arrays.class_ids, arrays.scores, recipe)
    assert confirmed <= fates.count(TileFate.DOUBTED)
    for index, fate in enumerate(fates):
        without = class_ids.copy()
        without[core_cells(plan, index, STRIDE_PX)] = 0
        lost = counted - counted_of(without, np.where(without, np.uint8(200), np.uint8(0)), recipe)
        if fate is TileFate.AUDITED or (fate is TileFate.DOUBTED and not confirmed):
            assert not lost
        if fate is TileFate.MISSED:
            assert lost


def counted_of(class_ids, scores, recipe):
    """What the recipe counts in the whole frame."""
    found = find_defects(Mask(class_ids, scores, STRIDE_PX), CLASSES, recipe, (SIDE_PX, SIDE_PX))
    names = {each.class_id: each.name for each in CLASSES}
    return {each.xyxy_px for each in found if is_counted(each, recipe, names)}
