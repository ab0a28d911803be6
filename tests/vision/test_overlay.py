from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.values import Defect, DefectClass, Mask, Outcome, Recipe, Zone
from edge_runtime.vision.overlay import IGNORED, INCLUDE, OUTCOME_COLORS, draw_overlay

RED = (0, 0, 255)
CLASSES = [DefectClass(1, "open", RED, 100)]
PLAIN = Recipe("plain")


def gray(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 100, np.uint8)


def mask_for(image: np.ndarray, stride_px: int, *cells: tuple[int, int], score: int = 255) -> Mask:
    planes_hw = tuple(-(-side // stride_px) for side in image.shape[:2])
    class_ids, scores = np.zeros(planes_hw, np.uint8), np.zeros(planes_hw, np.uint8)
    for cell in cells:
        class_ids[cell], scores[cell] = 1, score
    return Mask(class_ids, scores, stride_px)


def has_color(image: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool((image == color).all(axis=-1).any())


@settings(max_examples=40)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 5), st.sampled_from(Outcome))
def test_any_picture_can_be_drawn_on_and_stays_as_it_was(height, width, stride_px, outcome):
    image = gray(height, width)
    image.flags.writeable = False
    defects = [Defect(1, (0, 0, width, height), 5, None, 0.5), Defect(9, (0, 0, 1, 1), 1, None, 1.0, Zone.IGNORE)]
    recipe = Recipe("roi", include=(((-50.0, -9.0), (500.0, 3.0), (7.0, 99.5)),), ignore=(((0.0, 0.0), (3.0, 9.0)),))
    picture = draw_overlay(image, defects, mask_for(image, stride_px, (0, 0)), CLASSES, recipe, outcome)
    assert (picture.shape, picture.dtype) == (image.shape, np.uint8)
    assert (image == 100).all()


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("side_px", [256, 2048])
def test_the_banner_shows_the_outcome_in_its_colour(outcome, side_px):
    picture = draw_overlay(gray(side_px, side_px), [], None, CLASSES, PLAIN, outcome)
    banner = (picture != 100).any(axis=-1)
    assert tuple(picture[0, 0]) == OUTCOME_COLORS[outcome]
    assert 0.01 < banner[:, : side_px // 2].any(axis=1).mean() < 0.15
    assert banner.any(axis=0).mean() < 0.8


def test_foreground_cells_are_tinted_and_all_others_left_alone():
    image = gray(200, 200)
    mask = mask_for(image, 4, (30, 20))
    mask.class_ids[40, 40], mask.scores[40, 40] = 1, 99
    picture = draw_overlay(image, [], mask, CLASSES, PLAIN, Outcome.PASS)
    tinted = (picture == (50, 50, 177)).all(axis=-1)
    expected = np.zeros((200, 200), bool)
    expected[120:124, 80:84] = True
    np.testing.assert_array_equal(tinted, expected)
    assert (picture[100:][~expected[100:]] == 100).all()


def test_every_foreground_cell_of_a_tall_mask_is_tinted_to_the_pictures_edge():
    """Taller than what is tinted at a time; the last cells overhang the picture by a pixel."""
    image = gray(3 * 150 - 1, 3 * 20 - 1)
    class_ids = np.random.default_rng(0).integers(0, 2, (150, 20), np.uint8)
    mask = Mask(class_ids, np.full_like(class_ids, 255), 3)
    picture = draw_overlay(image, [], mask, CLASSES, PLAIN, Outcome.PASS)
    expected = np.kron(class_ids, np.ones((3, 3), np.uint8))[:-1, :-1] > 0
    np.testing.assert_array_equal((picture == (50, 50, 177)).all(axis=-1)[40:], expected[40:])
    assert (picture[40:][~expected[40:]] == 100).all()


@pytest.mark.parametrize(("zone", "color"), [(Zone.INSPECT, RED), (Zone.IGNORE, IGNORED)])
def test_a_defect_gets_a_box_on_its_own_pixels(zone, color):
    defect = Defect(1, (50, 120, 80, 150), 900, None, 0.75, zone)
    picture = draw_overlay(gray(256, 256), [defect], None, CLASSES, PLAIN, Outcome.REJECT)
    box = picture[120:150, 50:80]
    for side in (box[0], box[-1], box[:, 0], box[:, -1]):
        assert (side == color).all()
    assert (box[1:-1, 1:-1] == 100).all()
    assert (picture[150:] == 100).all()


@pytest.mark.parametrize("box", [(120, 120, 140, 140), (236, 236, 256, 256), (0, 60, 9, 69), (250, 20, 256, 256)])
def test_a_label_is_written_inside_the_picture(box):
    with_label = draw_overlay(gray(256, 256), [Defect(1, box, 9, None, 0.5)], None, CLASSES, PLAIN, Outcome.PASS)
    strip = (with_label == RED).all(axis=-1)
    assert strip.sum() > 60 * 10


def test_a_defect_as_large_as_the_picture_still_has_its_label():
    picture = draw_overlay(
        gray(256, 256), [Defect(1, (0, 0, 256, 256), 9, None, 0.5)], None, CLASSES, PLAIN, Outcome.PASS
    )
    assert (picture[-10:, 4:40] == RED).all(axis=-1).mean() > 0.3


def test_regions_are_outlined():
    square = ((40.0, 80.0), (200.0, 80.0), (200.0, 200.0), (40.0, 200.0))
    for recipe, color in ((Recipe("a", include=(square,)), INCLUDE), (Recipe("b", ignore=(square,)), IGNORED)):
        picture = draw_overlay(gray(256, 256), [], None, CLASSES, recipe, Outcome.PASS)
        outline = (picture[79:202, 39:202] != 100).any(axis=-1)
        assert outline[:3].any(axis=0).all()
        assert outline[:, :3].any(axis=1).all()
        assert not outline[5:-5, 5:-5].any()
        assert color[0] != 100


def test_a_mask_of_another_picture_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        draw_overlay(gray(20, 20), [], mask_for(gray(10, 10), 2), CLASSES, PLAIN, Outcome.PASS)
