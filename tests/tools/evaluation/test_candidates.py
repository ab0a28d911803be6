import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.values import DefectClass, Mask, Recipe
from edge_runtime.vision.blobs import find_defects
from tools.evaluation.candidates import LEVELS, find_candidates

CLASSES = [DefectClass(1, "open", (0, 0, 0), 200), DefectClass(2, "short", (0, 0, 0), 200)]
APART = Recipe("apart", join_px=0)


def mask_of(scores, class_id=1):
    plane = np.array(scores, np.uint8)
    return Mask(np.full_like(plane, class_id), plane, 1)


def candidates(mask, classes=CLASSES, recipe=APART):
    return find_candidates(mask, classes, recipe, mask.scores.shape)


def boxes(found):
    return sorted(defect.xyxy_px for defect in found)


def test_a_defect_below_its_threshold_is_a_candidate_with_its_mean_score():
    (found,) = candidates(mask_of([[0, 0, 0, 0], [0, 90, 110, 0], [0, 0, 0, 0]]))
    assert (found.class_id, found.xyxy_px, found.score) == (1, (1, 1, 3, 2), pytest.approx(100 / 255))


def test_thresholds_play_no_part():
    plane = np.random.default_rng(3).integers(0, 256, (24, 24)).astype(np.uint8)
    low = [DefectClass(known.class_id, known.name, (0, 0, 0), 1) for known in CLASSES]
    assert candidates(mask_of(plane)) == candidates(mask_of(plane), low)


def test_two_defects_that_flow_together_at_a_low_level_stay_two():
    assert boxes(candidates(mask_of([[240, 240, 240, 20, 240, 240, 240]]))) == [(0, 0, 3, 1), (4, 0, 7, 1)]


def test_a_defect_with_two_tips_stays_one():
    assert boxes(candidates(mask_of([[200, 220, 200, 200, 200, 220, 200]]))) == [(0, 0, 7, 1)]


def test_a_background_that_is_nowhere_zero_is_no_candidate():
    plane = np.full((30, 30), 60)
    plane[10:14, 10:14] = 230
    assert boxes(candidates(mask_of(plane))) == [(10, 10, 14, 14)]


def test_defects_nearer_than_the_recipe_joins_are_one():
    scores = [[240, 0, 0, 0, 240]]
    assert len(candidates(mask_of(scores), recipe=Recipe("joined", join_px=4))) == 1
    assert len(candidates(mask_of(scores), recipe=Recipe("apart", join_px=3))) == 2


def test_a_plane_without_background_is_one_candidate():
    assert boxes(candidates(mask_of(np.full((5, 6), 77)))) == [(0, 0, 6, 5)]


def test_cells_of_class_0_are_none():
    assert candidates(Mask(np.zeros((4, 4), np.uint8), np.full((4, 4), 255, np.uint8), 1)) == []


PLANES = st.integers(0, 2**32 - 1).map(lambda seed: random_plane(seed))


def random_plane(seed):
    """Smooth hills, so that components are born, grow and meet."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.random((16, 16)), (0, 0), 1.2)
    return np.interp(noise, (noise.min(), noise.max()), (0, 255)).astype(np.uint8)


@given(PLANES)
def test_candidates_are_disjoint_and_none_is_forgotten(plane):
    found = candidates(mask_of(plane))
    lowest = [DefectClass(1, "open", (0, 0, 0), LEVELS[0])]
    roots = find_defects(mask_of(plane), lowest, APART, plane.shape)
    assert sum(defect.area_px for defect in found) <= sum(root.area_px for root in roots)
    for root in roots:
        assert any(inside(defect.xyxy_px, root.xyxy_px) for defect in found)


def inside(box, other):
    return box[0] >= other[0] and box[1] >= other[1] and box[2] <= other[2] and box[3] <= other[3]


@settings(max_examples=50)
@given(PLANES)
def test_the_choice_equals_a_slow_and_plain_one(plane):
    cells = {(int(y), int(x)) for y, x in np.argwhere(plane >= LEVELS[0])}
    wanted = [box_of(part) for root in components(cells) for part in best(plane, root, 0)[0]]
    assert boxes(candidates(mask_of(plane))) == sorted(wanted)


def best(plane, cells, index):
    """The chosen sets of cells within a component of level `index`, and their mass; by plain recursion."""
    peak = max(level for level in LEVELS if level <= max(plane[cell] for cell in cells))
    mass, chosen, level, inner = 0, None, index, cells
    while True:
        if 2 * LEVELS[level] >= peak:
            mass += len(inner)
            chosen = chosen or inner
        level += 1
        above = {cell for cell in inner if level < len(LEVELS) and plane[cell] >= LEVELS[level]}
        parts = components(above)
        if len(parts) != 1:
            break
        inner = parts[0]
    inside_best = [best(plane, part, level) for part in parts]
    parts_mass = sum(part_mass for _, part_mass in inside_best)
    if parts_mass > mass or chosen is None:
        return [one for part, _ in inside_best for one in part], parts_mass
    return [chosen], mass


def components(cells):
    left, found = set(cells), []
    while left:
        part, edge = set(), [left.pop()]
        while edge:
            y, x = edge.pop()
            part.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            edge += near
        found.append(part)
    return found


def box_of(cells):
    ys, xs = [y for y, _ in cells], [x for _, x in cells]
    return min(xs), min(ys), max(xs) + 1, max(ys) + 1
