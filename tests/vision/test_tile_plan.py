"""Plans: what they cover, what they cost, and that a picture's verdict does not depend on them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.values import DefectClass, InputContract, Mask, Recipe, TilePlan
from edge_runtime.vision.blobs import find_defects
from edge_runtime.vision.decision import decide
from edge_runtime.vision.preprocess import TilePreprocessor
from edge_runtime.vision.regions import WATCHED_AROUND_PX, clear_unwatched, inspected_cells, watched_cells
from edge_runtime.vision.stitching import mask_hw, place_core
from edge_runtime.vision.tile_plan import (
    PlanRules,
    Watched,
    pixels_and_overhead,
    plan_cost,
    plan_tiles,
    ranked_plans,
    tiles_for,
    watched_part,
)
from edge_runtime.vision.tiling import plan_grid, plan_of

WHOLE = Recipe("whole")
CLASSES = [DefectClass(1, "open", (0, 0, 255), 100), DefectClass(2, "short", (0, 255, 0), 140)]
NAMES = {each.class_id: each.name for each in CLASSES}


@st.composite
def rectangles(draw: st.DrawFn, side_px: int) -> tuple[tuple[float, float], ...]:
    x, y = draw(st.integers(-20, side_px)), draw(st.integers(-20, side_px))
    width, height = draw(st.integers(1, side_px)), draw(st.integers(1, side_px))
    corners = ((x, y), (x + width, y), (x + width, y + height), (x, y + height))
    return tuple((float(cx), float(cy)) for cx, cy in corners)


@st.composite
def recipes(draw: st.DrawFn, side_px: int = 260) -> Recipe:
    include = draw(st.lists(rectangles(side_px), max_size=4).map(tuple))
    ignore = draw(st.lists(rectangles(side_px), max_size=2).map(tuple))
    return Recipe("zones", join_px=draw(st.sampled_from([0, 6])), include=include, ignore=ignore)


rules_of_models = st.builds(PlanRules, margin_px=st.integers(0, 12), stride_px=st.sampled_from([2, 4, 8]))
image_sizes = st.tuples(st.integers(1, 260), st.integers(1, 260))
tile_strides = st.integers(5, 16)


@settings(max_examples=200)
@given(image_sizes, recipes(), rules_of_models, tile_strides)
def test_cores_are_disjoint_and_cover_all_that_is_watched(image_hw, recipe, rules, strides):
    tile_px = 2 * rules.margin_px // rules.stride_px * rules.stride_px + strides * rules.stride_px
    plan = plan_tiles(watched_part(image_hw, recipe, 2, rules.stride_px), tile_px, rules)
    visits = np.zeros(image_hw, int)
    for x0, y0, x1, y1 in plan.cores_xyxy_px:
        visits[y0:y1, x0:x1] += 1
    assert len(plan) >= 1
    assert visits.max() == 1
    watched = watched_cells(recipe.include, recipe.ignore, mask_hw(image_hw, 2), 2) > 0
    shown = np.repeat(np.repeat(watched, 2, axis=0), 2, axis=1)[: image_hw[0], : image_hw[1]]
    assert visits[shown].all()


@settings(max_examples=200)
@given(image_sizes, recipes(), rules_of_models, tile_strides)
def test_each_core_keeps_the_margin_and_each_tile_the_picture(image_hw, recipe, rules, strides):
    tile_px = 2 * rules.margin_px // rules.stride_px * rules.stride_px + strides * rules.stride_px
    plan = plan_tiles(watched_part(image_hw, recipe, 2, rules.stride_px), tile_px, rules)
    for (oy, ox), (x0, y0, x1, y1) in zip(plan.origins_yx, plan.cores_xyxy_px, strict=True):
        for origin, begin, end, length in ((ox, x0, x1, image_hw[1]), (oy, y0, y1, image_hw[0])):
            assert origin % rules.stride_px == begin % rules.stride_px == 0
            assert 0 <= origin < length
            assert origin == 0 or origin + tile_px < length + rules.stride_px
            assert begin - origin >= (rules.margin_px if origin else 0)
            assert origin + tile_px >= length or origin + tile_px - end >= rules.margin_px
            assert end == length or end % rules.stride_px == 0


@given(image_sizes, rules_of_models, tile_strides)
def test_without_zones_it_is_the_grid_of_the_fewest_tiles(image_hw, rules, strides):
    tile_px = 2 * rules.margin_px // rules.stride_px * rules.stride_px + strides * rules.stride_px
    plan = plan_tiles(watched_part(image_hw, WHOLE, 2, rules.stride_px), tile_px, rules)
    assert plan == plan_of(plan_grid(image_hw, tile_px, rules.margin_px, rules.stride_px))


@settings(max_examples=100, deadline=None)
@given(image_sizes, recipes(), rules_of_models, st.integers(1, 5), st.data())
def test_no_plan_costs_more_than_that_of_one_side(image_hw, recipe, rules, workers, data):
    least = 2 * rules.margin_px // rules.stride_px * rules.stride_px + 5 * rules.stride_px
    sides = range(least, least + 12 * rules.stride_px, rules.stride_px)
    default_px = data.draw(st.sampled_from(sides))
    watched = watched_part(image_hw, recipe, 2, rules.stride_px)
    best = ranked_plans(watched, sides, default_px, rules, workers)[0]
    assert plan_cost(best, workers) <= plan_cost(plan_tiles(watched, default_px, rules), workers)
    if not (recipe.include or recipe.ignore):
        fitting = [side for side in sides if all(side < length + rules.stride_px for length in image_hw)]
        costs = [plan_cost(plan_tiles(watched, side, rules), workers) for side in fitting]
        assert plan_cost(best, workers) <= min(costs, default=np.inf)


@pytest.mark.parametrize(
    ("image_hw", "workers", "tiles", "tile_px"),
    [
        ((2048, 2048), 2, 4, 1088),
        ((2048, 2048), 4, 4, 1088),
        ((1024, 1024), 1, 1, 1024),
        ((1024, 1024), 2, 4, 576),
        ((640, 640), 1, 1, 640),
        ((640, 640), 2, 4, 384),
        ((1080, 1920), 2, 2, 1080),
        ((200, 600), 1, 2, 512),
    ],
)
def test_plans_of_usual_cameras(image_hw, workers, tiles, tile_px):
    rules = PlanRules(margin_px=64, stride_px=8)
    plan = ranked_plans(watched_part(image_hw, WHOLE, 2, 8), range(256, 1137, 8), 512, rules, workers)[0]
    assert (len(plan), plan.tile_px) == (tiles, tile_px)


def test_where_the_natural_side_is_too_small_the_least_that_may_be_takes_its_place():
    rules = PlanRules(margin_px=0, stride_px=8)
    best = ranked_plans(watched_part((41, 41), WHOLE, 2, 8), range(40, 136, 8), 48, rules, workers=4)[0]
    assert (len(best), best.tile_px) == (4, 40)


def test_a_measured_cost_decides():
    watched, rules = watched_part((2048, 2048), WHOLE, 2, 8), PlanRules(64, 8)
    slow_when_large = {512: 10.0, 1088: 70.0}.get
    plan = ranked_plans(watched, (512, 1088), 512, rules, 2, lambda side: slow_when_large(side, 0.0))[0]
    assert plan.tile_px == 512
    assert plan_cost(plan, 2, lambda side: slow_when_large(side, 0.0)) == 130.0


def test_two_far_regions_are_tiled_apart():
    def square(x: float, y: float) -> tuple[tuple[float, float], ...]:
        return ((x, y), (x + 300, y), (x + 300, y + 300), (x, y + 300))

    recipe = Recipe("two", include=(square(100, 100), square(1500, 1600)))
    plan = ranked_plans(watched_part((2048, 2048), recipe, 2, 8), range(256, 1137, 8), 512, PlanRules(64, 8), 1)[0]
    assert len(plan) == 2
    assert len(plan) * pixels_and_overhead(plan.tile_px) < 0.1 * 2048**2 * 1.5


@pytest.mark.parametrize(
    "include", [((5000.0, 0.0), (5100.0, 0.0), (5100.0, 90.0)), ((1.0, 1.0), (2.0, 1.0), (1.5, 1.0))]
)
def test_a_picture_of_which_nothing_is_watched_still_has_a_tile(include):
    watched = watched_part((100, 100), Recipe("none", include=(include,)), 2, 8)
    plan = plan_tiles(watched, 64, PlanRules(8, 8))
    assert plan.origins_yx == ((0, 0),)


def test_cells_around_the_region_are_watched_and_no_others():
    square = ((100.0, 100.0), (120.0, 100.0), (120.0, 120.0), (100.0, 120.0))
    watched = watched_cells((square,), (), (200, 200), 2)
    ys, xs = np.nonzero(watched)
    first, last = (100 - WATCHED_AROUND_PX) // 2, (120 + WATCHED_AROUND_PX) // 2 - 1
    assert (ys.min(), ys.max(), xs.min(), xs.max()) == (first, last, first, last)
    assert (watched > 0).sum() == (last - first + 1) ** 2


# -- the verdict ----------------------------------------------------------------------------------------------------


def answer(tile: np.ndarray, radius_px: int) -> tuple[np.ndarray, np.ndarray]:
    """A network of exact receptive radius: the maximum of a square window, zeros outside; mask stride 2."""
    pixels = np.rint(tile[0, 0] * 255).astype(np.uint8)
    for _ in range(2):
        padded = np.pad(pixels, ((radius_px, radius_px), (0, 0)))
        pixels = np.maximum.reduce([padded[shift : shift + len(pixels)] for shift in range(2 * radius_px + 1)]).T
    scores = pixels.reshape(len(pixels) // 2, 2, -1, 2).max(axis=(1, 3))
    return np.where(scores > 0, scores % 2 + 1, 0).astype(np.uint8), scores


def inspected(image: np.ndarray, recipe: Recipe, plan: TilePlan, contract: InputContract) -> Mask:
    """As an inspection worker does it, into planes that still hold an earlier part."""
    planes_hw = mask_hw(plan.image_hw, 2)
    mask = Mask(np.full(planes_hw, 9, np.uint8), np.full(planes_hw, 255, np.uint8), 2)
    preprocessor = TilePreprocessor(contract)
    for index, origin_yx in enumerate(plan.origins_yx):
        planes = answer(preprocessor.tile(image, origin_yx), contract.margin_px)
        place_core(mask.class_ids, planes[0], plan, index, 2)
        place_core(mask.scores, planes[1], plan, index, 2)
    for plane in (mask.class_ids, mask.scores):
        clear_unwatched(plane, recipe, 2)
    return mask


def contract_of(tile_px: int) -> InputContract:
    return InputContract("GRAY", (0.0,), (1.0,), tile_px, 8, 4)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 9999), recipes(), st.sampled_from([32, 48, 64, 104]))
def test_the_verdict_is_that_of_inspecting_everything_and_filtering(seed, recipe, tile_px):
    image_hw = (200, 264)
    rng = np.random.default_rng(seed)
    specks = rng.integers(1, 256, image_hw) * (rng.random(image_hw) < 0.004)
    image = np.repeat(specks.astype(np.uint8)[..., None], 3, axis=2)
    everything = inspected(image, WHOLE, tiles_for(contract_of(40), 2, image_hw, WHOLE), contract_of(40))
    expected = find_defects(everything, CLASSES, recipe, image_hw)
    mask = inspected(image, recipe, tiles_for(contract_of(tile_px), 2, image_hw, recipe), contract_of(tile_px))
    assert find_defects(mask, CLASSES, recipe, image_hw) == expected
    assert decide(expected, recipe, NAMES) == decide(find_defects(mask, CLASSES, recipe, image_hw), recipe, NAMES)
    for plane, whole in ((mask.class_ids, everything.class_ids), (mask.scores, everything.scores)):
        shown = watched_cells(recipe.include, recipe.ignore, plane.shape, 2) > 0
        np.testing.assert_array_equal(plane, np.where(shown, whole, 0))


@given(st.integers(0, 9999), recipes())
def test_a_defect_inside_the_region_is_inspected_as_if_it_were_all(seed, recipe):
    """What lies within the region cannot be lost: its own cells are all watched."""
    image_hw = (200, 264)
    rng = np.random.default_rng(seed)
    planes_hw = mask_hw(image_hw, 2)
    class_ids = (rng.random(planes_hw) < 0.02).astype(np.uint8) * inspected_cells(
        recipe.include, recipe.ignore, planes_hw, 2
    )
    mask = Mask(class_ids.astype(np.uint8), class_ids.astype(np.uint8) * 255, 2)
    found = find_defects(mask, CLASSES, recipe, image_hw)
    assert sum(each.area_px for each in found) == 4 * int(class_ids.sum())


def test_meets_looks_at_whole_squares():
    squares = np.zeros((4, 4), np.uint8)
    squares[1, 2] = 1
    watched = Watched((30, 30), 8, squares, ((16, 8, 24, 16),))
    assert watched.meets((16, 8, 24, 16))
    assert watched.meets((0, 0, 30, 30))
    assert not watched.meets((0, 0, 16, 30))
