"""The gate's audit: what it says of one tile is what the recipe would say of the whole frame."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.inference.scripted import ScriptedSegmenter
from edge_runtime.runtime.frame_ring import TileFate
from edge_runtime.runtime.inspection import InspectionPlan, RecipeWork
from edge_runtime.runtime.slot_arrays import SlotArrays
from edge_runtime.runtime.tile_gate import TileGate, tiles_with
from edge_runtime.values import ClassRule, DefectClass, InputContract, Mask, Recipe
from edge_runtime.vision.blobs import find_defects, locate_defects
from edge_runtime.vision.decision import counted
from edge_runtime.vision.defect_columns import DefectColumns
from edge_runtime.vision.gate import TemplateGate
from edge_runtime.vision.stitching import core_cells

SIDE_PX, STRIDE_PX, CELLS = 64, 2, 32
CONTRACT = InputContract("GRAY", (0.5,), (0.25,), 32, 8, 0, template=True)
CLASSES = [DefectClass(1, "open", (0, 0, 255), 128), DefectClass(2, "short", (0, 0, 255), 128)]
NAMES = {each.class_id: each.name for each in CLASSES}
EVERYWHERE = (0, 0, CELLS, CELLS)
EVERYTHING = TileGate(TemplateGate(1, 4, 8, 255.0), audit_every=1)
PLACES = st.integers(0, CELLS - 1) | st.integers(CELLS // 2 - 4, CELLS // 2 + 2)  # many across the cores' edges
BLOBS = st.lists(st.tuples(PLACES, PLACES, *[st.integers(1, 6)] * 2, st.integers(1, 2)), min_size=1, max_size=5)
RECIPES = st.builds(
    Recipe,
    st.just("r"),
    join_px=st.integers(0, 12),
    default_rule=st.builds(ClassRule, min_area_px=st.integers(0, 120)),
    rules=st.sampled_from([{}, {"short": ClassRule(min_area_px=1e9)}]),
    ignore=st.sampled_from([(), (((20.0, 0.0), (40.0, 0.0), (40.0, 64.0), (20.0, 64.0)),)]),
)


@given(BLOBS, RECIPES, st.sets(st.integers(0, 3), min_size=1, max_size=3))
def test_an_audited_tile_is_missed_exactly_if_a_cell_of_what_the_recipe_counts_lies_in_its_core(blobs, recipe, skipped):
    work = RecipeWork(
        InspectionPlan(ScriptedSegmenter(CONTRACT, STRIDE_PX), CLASSES, recipe, "m", "d", "e", EVERYTHING)
    )
    plan = work.tiles((SIDE_PX, SIDE_PX))
    assert len(plan) == 4
    class_ids = np.zeros((CELLS, CELLS), np.uint8)
    for x, y, width, height, class_id in blobs:
        class_ids[y : y + height, x : x + width] = class_id
    arrays = arrays_of(class_ids)
    cores = [core_cells(plan, index, STRIDE_PX) for index in range(len(plan))]
    for index in skipped:
        arrays.class_ids[cores[index]] = arrays.scores[cores[index]] = 0
    fates = [TileFate.SKIPPED if index in skipped else work.audit(arrays, plan, index) for index in range(len(plan))]
    found = work.locate(arrays, plan, EVERYWHERE)
    while asked := work.tiles_to_ask(found, plan, fates):
        for index in asked:
            assert (fates[index], TileFate.DOUBTED in fates) == (TileFate.SKIPPED, True)
            arrays.class_ids[cores[index]] = class_ids[cores[index]]
            arrays.scores[cores[index]] = scores_of(class_ids)[cores[index]]
            fates[index] = TileFate.COMPUTED
        found = work.locate(arrays, plan, EVERYWHERE)
    missed = set(work.missed_tiles(found, plan, fates)) | set(tiles_with(TileFate.MISSED, fates))
    whole = locate_defects(Mask(class_ids, scores_of(class_ids), STRIDE_PX), CLASSES, recipe, plan.image_hw)
    counted_cells = np.zeros((CELLS, CELLS), np.bool_)
    counted_cells[whole.ys, whole.xs] = counted(whole.defects, recipe, NAMES)[whole.places]
    audited = [index for index in range(len(plan)) if index not in skipped]
    assert missed == {index for index in audited if counted_cells[cores[index]].any()}
    for index in set(audited) - missed:
        without = class_ids.copy()
        without[cores[index]] = 0
        assert counted_of(class_ids, recipe) <= counted_of(without, recipe), "nothing that counts is lost without it"


def scores_of(class_ids):
    return np.where(class_ids, np.uint8(200), np.uint8(0))


def arrays_of(class_ids):
    image, grey = np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8), np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    return SlotArrays(image, grey, class_ids.copy(), scores_of(class_ids))


def counted_of(class_ids, recipe):
    """What the recipe counts in the whole frame."""
    mask = Mask(class_ids, scores_of(class_ids), STRIDE_PX)
    found = find_defects(mask, CLASSES, recipe, (SIDE_PX, SIDE_PX))
    rows = counted(DefectColumns.of(found), recipe, NAMES)
    return {each.xyxy_px for each, counts in zip(found, rows, strict=True) if counts}
