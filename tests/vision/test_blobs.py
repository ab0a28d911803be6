from __future__ import annotations

import tracemalloc
from heapq import nlargest
from itertools import pairwise, product
from math import pi, sqrt

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.values import MAX_DEFECTS, Defect, DefectClass, Mask, Recipe, Zone
from edge_runtime.vision.blobs import Thresholds, defect_batches, find_defects, foreground_cells, locate_defects
from edge_runtime.vision.decision import decide, make_verdict
from edge_runtime.vision.defect_columns import DefectColumns
from edge_runtime.vision.regions import WATCHED_AROUND_PX, inspected_cells

CLASSES = [
    DefectClass(1, "open", (0, 0, 255), 100),
    DefectClass(2, "short", (0, 255, 0), 150),
    DefectClass(7, "mousebite", (255, 0, 0), 255),
]


@st.composite
def masks(draw: st.DrawFn) -> tuple[Mask, tuple[int, int]]:
    """A small mask, from empty to full, and an image that its last cells may overhang."""
    rows, columns, stride_px = draw(st.integers(1, 12)), draw(st.integers(1, 12)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    filled = rng.random((rows, columns)) < draw(st.sampled_from([0.0, 0.05, 0.15, 0.4, 1.0]))
    class_ids = rng.choice(np.array([1, 2, 7], np.uint8), (rows, columns)) * filled
    scores = rng.choice(np.array([0, 99, 100, 149, 150, 254, 255], np.uint8), (rows, columns))
    overhang = st.integers(0, stride_px - 1)
    image_hw = rows * stride_px - draw(overhang), columns * stride_px - draw(overhang)
    return Mask(class_ids.astype(np.uint8), scores, stride_px), image_hw


@st.composite
def polygons(draw: st.DrawFn) -> tuple[tuple[float, float], ...]:
    """Triangles to pentagons whose sides pass through no cell centre: the offsets are irrational."""
    corner = st.tuples(st.integers(-10, 50), st.integers(-10, 50))
    corners = draw(st.lists(corner, min_size=3, max_size=5, unique=True))
    return tuple((x + sqrt(2) / 10, y + pi / 10) for x, y in corners)


def recipes() -> st.SearchStrategy[Recipe]:
    return st.builds(
        Recipe,
        name=st.just("naive"),
        mm_per_px=st.sampled_from([None, 0.05]),
        join_px=st.integers(0, 14),
        include=st.lists(polygons(), max_size=2).map(tuple),
        ignore=st.lists(polygons(), max_size=2).map(tuple),
    )


def pixels_of(cell: tuple[int, int], stride_px: int, image_hw: tuple[int, int]) -> list[tuple[int, int]]:
    rows, columns = (range(i * stride_px, min((i + 1) * stride_px, n)) for i, n in zip(cell, image_hw, strict=True))
    return list(product(rows, columns))


def gap_px(a: tuple[int, int], b: tuple[int, int], stride_px: int) -> int:
    return max(max(0, abs(i - j) - 1) * stride_px for i, j in zip(a, b, strict=True))


def touching(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return max(abs(a[0] - b[0]), abs(a[1] - b[1])) <= 1


def naive_groups(cells: list[tuple[int, int]], recipe: Recipe, stride_px: int) -> list[list[tuple[int, int]]]:
    groups: list[list[tuple[int, int]]] = []
    for cell in cells:
        near = [
            group
            for group in groups
            if any(touching(cell, other) or gap_px(cell, other, stride_px) < recipe.join_px for other in group)
        ]
        groups = [group for group in groups if group not in near] + [sum(near, [cell])]
    return groups


def in_polygon(polygon: tuple[tuple[float, float], ...], x: float, y: float) -> bool:
    return cv2.pointPolygonTest(np.array(polygon, np.float32), (x, y), False) > 0


def naive_inside(cell: tuple[int, int], recipe: Recipe, stride_px: int) -> bool:
    y, x = ((i + 0.5) * stride_px for i in cell)
    included = not recipe.include or any(in_polygon(polygon, x, y) for polygon in recipe.include)
    return included and not any(in_polygon(polygon, x, y) for polygon in recipe.ignore)


def naive_watched(cell: tuple[int, int], mask: Mask, recipe: Recipe) -> bool:
    reach = WATCHED_AROUND_PX // mask.stride_px
    near = product(
        *(range(max(0, i - reach), min(n, i + reach + 1)) for i, n in zip(cell, mask.scores.shape, strict=True))
    )
    return any(naive_inside(other, recipe, mask.stride_px) for other in near)


def naive_defect(group: list[tuple[int, int]], mask: Mask, recipe: Recipe, image_hw: tuple[int, int]) -> Defect:
    pixels = [pixel for cell in group for pixel in pixels_of(cell, mask.stride_px, image_hw)]
    ys, xs = [y for y, _ in pixels], [x for _, x in pixels]
    sums = {known.class_id: 0 for known in CLASSES}
    for cell in group:
        sums[int(mask.class_ids[cell])] += int(mask.scores[cell])
    outside = sum(not naive_inside(cell, recipe, mask.stride_px) for cell in group)
    return Defect(
        class_id=min(sums, key=lambda class_id: (-sums[class_id], class_id)),
        xyxy_px=(min(xs), min(ys), max(xs) + 1, max(ys) + 1),
        area_px=len(pixels),
        area_mm2=None if recipe.mm_per_px is None else len(pixels) * recipe.mm_per_px**2,
        score=sum(sums.values()) / len(group) / 255,
        zone=Zone.IGNORE if outside > len(group) - outside else Zone.INSPECT,
    )


def naive_defects(mask: Mask, recipe: Recipe, image_hw: tuple[int, int]) -> list[Defect]:
    threshold = {known.class_id: known.threshold for known in CLASSES} | {0: 256}
    cells = [
        (int(y), int(x))
        for y, x in np.ndindex(mask.class_ids.shape)
        if mask.scores[y, x] >= threshold[int(mask.class_ids[y, x])] and naive_watched((int(y), int(x)), mask, recipe)
    ]
    defects = [naive_defect(group, mask, recipe, image_hw) for group in naive_groups(cells, recipe, mask.stride_px)]
    return sorted(defects, key=lambda defect: (defect.xyxy_px[1], defect.xyxy_px[0], *defect.xyxy_px[:1:-1]))


@settings(max_examples=300)
@given(masks(), recipes())
def test_find_defects_equals_a_slow_reading_of_its_contract(mask_and_image, recipe):
    mask, image_hw = mask_and_image
    assert find_defects(mask, CLASSES, recipe, image_hw) == naive_defects(mask, recipe, image_hw)


@given(masks(), recipes())
def test_a_located_defect_is_what_its_cells_alone_would_be(mask_and_image, recipe):
    mask, image_hw = mask_and_image
    found = locate_defects(mask, CLASSES, recipe, image_hw)
    listed = found.defects.as_list(recipe)
    assert sorted(listed, key=repr) == sorted(find_defects(mask, CLASSES, recipe, image_hw), key=repr)
    assert len(found.ys) == len(found.xs) == len(found.places)
    for place, defect in enumerate(listed):
        cells = zip(found.ys[found.places == place].tolist(), found.xs[found.places == place].tolist(), strict=True)
        assert naive_defect(list(cells), mask, recipe, image_hw) == defect


@settings(max_examples=200)
@given(masks(), recipes(), st.data())
def test_looking_only_where_the_tiles_have_foreground_finds_the_same_defects(mask_and_image, recipe, data):
    """Each tile's box, joined: what the workers of a frame tell each other."""
    mask, image_hw = mask_and_image
    thresholds = Thresholds(CLASSES)
    cuts = [sorted(data.draw(st.sets(st.integers(0, side), max_size=3)) | {0, side}) for side in mask.class_ids.shape]
    boxes = []
    for (y0, y1), (x0, x1) in product(*map(pairwise, cuts)):
        box = thresholds.box_xyxy(mask.class_ids[y0:y1, x0:x1], mask.scores[y0:y1, x0:x1])
        if box is not None:
            boxes.append((box[0] + x0, box[1] + y0, box[2] + x0, box[3] + y0))
    expected = find_defects(mask, CLASSES, recipe, image_hw)
    if not boxes:
        assert expected == []
        return
    joined = tuple(min(b[i] for b in boxes) if i < 2 else max(b[i] for b in boxes) for i in range(4))
    assert find_defects(mask, CLASSES, recipe, image_hw, joined) == expected
    ys, xs = np.nonzero(foreground_cells(mask, CLASSES))
    assert joined == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)


@settings(max_examples=60)
@given(st.sets(st.tuples(st.integers(0, 200), st.integers(0, 200)), min_size=1, max_size=12), st.integers(0, 60))
def test_few_cells_far_apart_join_as_near_ones_do(cells, join_px):
    class_ids = np.zeros((201, 201), np.uint8)
    class_ids[tuple(zip(*cells, strict=True))] = 1
    mask, recipe = Mask(class_ids, np.full_like(class_ids, 255), 2), Recipe("far", join_px=join_px)
    assert find_defects(mask, CLASSES, recipe, (402, 402)) == [
        naive_defect(group, mask, recipe, (402, 402)) for group in sorted_groups(cells, recipe)
    ]


def sorted_groups(cells: set[tuple[int, int]], recipe: Recipe) -> list[list[tuple[int, int]]]:
    """By y0, x0, y1, x1 of their boxes."""
    return sorted(
        naive_groups(sorted(cells), recipe, 2),
        key=lambda group: [edge(axis) for edge in (min, max) for axis in zip(*group, strict=True)],
    )


def test_a_clean_tile_has_no_box_and_a_strange_class_is_refused_all_the_same():
    thresholds = Thresholds(CLASSES)
    class_ids = np.array([[0, 1, 2, 7]], np.uint8)
    assert thresholds.box_xyxy(class_ids, np.array([[255, 99, 149, 254]], np.uint8)) is None
    for strange in (3, 8, 255):
        class_ids[0, 0] = strange
        with pytest.raises(ValueError, match=rf"class ids \[{strange}\]"):
            thresholds.box_xyxy(class_ids, np.zeros((1, 4), np.uint8))


def mask_of(*lines: str, stride_px: int = 1) -> Mask:
    """Each character a class id, certain where it is not 0."""
    class_ids = np.array([[int(cell) for cell in line] for line in lines], np.uint8)
    return Mask(class_ids, np.where(class_ids > 0, 255, 0).astype(np.uint8), stride_px)


@pytest.mark.parametrize(("join_px", "count"), [(0, 2), (1, 2), (4, 2), (5, 1), (50, 1)])
def test_cells_join_when_the_gap_is_smaller_than_join_px(join_px, count):
    mask = mask_of("1001", stride_px=2)
    assert len(find_defects(mask, CLASSES, Recipe("join", join_px=join_px), (2, 8))) == count


def test_cells_that_touch_at_a_corner_are_one_defect_whatever_their_class():
    (defect,) = find_defects(mask_of("100", "020", "002"), CLASSES, Recipe("corner"), (3, 3))
    assert (defect.class_id, defect.area_px, defect.xyxy_px) == (2, 3, (0, 0, 3, 3))


def test_the_lowest_class_id_wins_a_tie():
    (defect,) = find_defects(mask_of("72"), CLASSES, Recipe("tie"), (1, 2))
    assert defect.class_id == 2


def test_half_inside_is_inspected_and_less_is_ignored():
    left_half = Recipe("roi", include=(((0.0, 0.0), (2.0, 0.0), (2.0, 9.0), (0.0, 9.0)),))
    half, less = find_defects(mask_of("1111", "0000", "0111"), CLASSES, left_half, (3, 4))
    assert (half.zone, less.zone) == (Zone.INSPECT, Zone.IGNORE)


def test_a_rectangle_holds_exactly_its_pixels():
    rectangle = ((1.0, 2.0), (4.0, 2.0), (4.0, 5.0), (1.0, 5.0))
    expected = np.zeros((6, 6), bool)
    expected[2:5, 1:4] = True
    np.testing.assert_array_equal(inspected_cells((rectangle,), (), (6, 6), 1), expected)
    np.testing.assert_array_equal(inspected_cells((), (rectangle,), (6, 6), 1), ~expected)


def test_the_shared_region_of_interest_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        inspected_cells((), (), (2, 2), 1)[0, 0] = False


def test_a_cell_at_its_threshold_is_foreground_and_background_never_is():
    mask = Mask(np.array([[0, 1, 1, 2, 2, 7]], np.uint8), np.array([[255, 99, 100, 149, 150, 255]], np.uint8), 1)
    np.testing.assert_array_equal(foreground_cells(mask, CLASSES), [[0, 0, 255, 0, 255, 255]])


def test_a_class_id_the_bundle_does_not_name_is_refused_even_when_it_scores_nothing():
    mask = Mask(np.array([[0, 1, 3, 9]], np.uint8), np.zeros((1, 4), np.uint8), 1)
    with pytest.raises(ValueError, match=r"class ids \[3, 9\]"):
        find_defects(mask, CLASSES, Recipe("strange"), (1, 4))


@pytest.mark.parametrize("image_hw", [(4, 4), (6, 4), (2, 6), (4, 7)])
def test_a_mask_of_another_size_is_refused(image_hw):
    with pytest.raises(ValueError, match="does not fit an image"):
        find_defects(mask_of("000", "000", stride_px=2), CLASSES, Recipe("size"), image_hw)


@settings(max_examples=100)
@given(
    st.integers(0, 9999),
    st.integers(0, 6),
    st.sampled_from([0.03, 0.3, 0.4, 0.5, 0.7, 1.0]),
    st.booleans(),
    st.integers(1, 50),
)
def test_bands_of_rows_give_the_defects_of_the_whole(seed, join_px, density, with_zones, band_cells):
    """Around the density where cells begin to hang together groups wind through many bands."""
    rng = np.random.default_rng(seed)
    filled = rng.random((rng.integers(8, 120), rng.integers(1, 16))) < density
    class_ids = (rng.choice(np.array([1, 2, 7], np.uint8), filled.shape) * filled).astype(np.uint8)
    mask = Mask(class_ids, np.where(rng.random(filled.shape) < 0.9, 255, 120).astype(np.uint8), 2)
    image_hw = filled.shape[0] * 2 - 1, filled.shape[1] * 2
    zone = ((5.1, 20.3), (22.7, 40.1), (3.3, 150.9))
    recipe = Recipe("bands", 0.1, join_px, include=(zone,) if with_zones else ())
    whole = locate_defects(mask, CLASSES, recipe, image_hw).defects
    batches = list(defect_batches(mask, CLASSES, recipe, image_hw, None, band_cells))
    found = DefectColumns.joined([*batches, whole.taken(np.zeros(0, np.intp))])
    for column, expected in zip(*(each.taken(each.reading_order()) for each in (found, whole)), strict=True):
        np.testing.assert_array_equal(column, expected)


@given(st.integers(0, 9999), st.sampled_from([0.02, 0.1, 0.3]))
@settings(max_examples=15)
def test_the_verdict_on_bands_is_that_on_all_defects(seed, density):
    rng = np.random.default_rng(seed)
    class_ids = (rng.random((128, 96)) < density).astype(np.uint8)
    mask, recipe, image_hw = Mask(class_ids, class_ids * 255, 1), Recipe("bands", 0.1), (128, 96)
    found = find_defects(mask, CLASSES, recipe, image_hw)
    verdict = make_verdict(
        part_id=1,
        batches=defect_batches(mask, CLASSES, recipe, image_hw, None, 64),
        recipe=recipe,
        class_names={1: "open"},
        now_ns=lambda: 1,
        model_id="m",
        recipe_id="r",
    )
    assert (verdict.outcome, verdict.reasons) == decide(found, recipe, {1: "open"})
    assert verdict.defect_count == len(found)
    assert list(verdict.defects) == nlargest(MAX_DEFECTS, found, key=lambda defect: defect.area_px)


@pytest.mark.parametrize("pattern", [np.s_[::2, ::2], np.s_[:, :], np.s_[:, ::2]], ids=["specks", "full", "stripes"])
def test_a_mask_full_of_defects_takes_little_memory(pattern):
    class_ids = np.zeros((768, 1024), np.uint8)
    class_ids[pattern] = 1
    mask, recipe = Mask(class_ids, np.full_like(class_ids, 255), 2), Recipe("full")
    tracemalloc.start()
    count = sum(batch.rows for batch in defect_batches(mask, CLASSES, recipe, (1536, 2048)))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == {4: 384 * 512, 2: 512, 1: 1}[round(class_ids.size / class_ids.sum())]
    assert peak_bytes < 20 << 20


def test_few_cells_on_many_rows_are_looked_at_in_bands_too():
    rng = np.random.default_rng(7)
    class_ids = np.zeros((1500, 1000), np.uint8)
    class_ids[rng.integers(0, 1500, 6000), rng.integers(0, 1000, 6000)] = 1
    mask, recipe = Mask(class_ids, class_ids * 255, 2), Recipe("scattered", join_px=14)
    batches = list(defect_batches(mask, CLASSES, recipe, (3000, 2000)))
    found, whole = DefectColumns.joined(batches), locate_defects(mask, CLASSES, recipe, (3000, 2000)).defects
    assert len(batches) > 1
    for column, expected in zip(*(each.taken(each.reading_order()) for each in (found, whole)), strict=True):
        np.testing.assert_array_equal(column, expected)
