"""A template laid onto the picture: shifts are followed, defects stay, nothing depends on chance."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.vision.boards import BINARY, paint_board
from edge_runtime.vision.registration import BLOCK_PX, register_template
from edge_runtime.vision.warp import warped

SIDE = 320
EDGE = 24
GREAT = paint_board(3, 1, (SIDE + 2 * EDGE, SIDE + 2 * EDGE), BINARY).template


def view(dy=0, dx=0, side=SIDE):
    """A part of a great artwork, `dy` and `dx` further down and right."""
    return np.ascontiguousarray(GREAT[EDGE + dy : EDGE + dy + side, EDGE + dx : EDGE + dx + side])


def inner(plane, edge=EDGE):
    return plane[edge:-edge, edge:-edge]


@settings(max_examples=30, deadline=None)
@given(st.integers(-19, 19), st.integers(-19, 19))
def test_a_shift_of_the_whole_picture_is_undone(dy, dx):
    registered = register_template(view(), view(dy, dx))
    assert np.array_equal(inner(registered), inner(view()))


@pytest.mark.parametrize("side", [68, 70, 72, 76])
@pytest.mark.parametrize(("dy", "dx"), [(16, 16), (-16, 16), (4, -4), (0, 0)])
def test_a_small_picture_gets_the_whole_shift_or_none(side, dy, dx):
    """However coarse the look that found it: the finer ones are left out where too little would overlap."""
    noise = np.random.default_rng(5).integers(0, 2, (15, 15)).astype(np.uint8) * 200
    coarse = np.kron(noise, np.ones((8, 8), np.uint8))
    picture, template = (coarse[y : y + side, x : x + side] for y, x in ((20, 20), (20 + dy, 20 + dx)))
    registered = register_template(np.ascontiguousarray(picture), np.ascontiguousarray(template))
    assert np.array_equal(inner(registered, 20), inner(picture, 20)) or np.array_equal(registered, template)


@settings(max_examples=30, deadline=None)
@given(st.integers(-6, 6), st.integers(-6, 6), st.sampled_from([-10, -8, -6, -5, -4, 4, 5, 6, 8, 10]), st.booleans())
def test_a_stretch_of_one_half_is_followed_nearly(dy, dx, stretch, across):
    picture = view(dy, dx)
    right = np.s_[:, SIDE // 2 :]
    picture[right] = view(dy + stretch * across, dx + stretch * (not across))[right]
    half_right, registered = view(dy, dx), register_template(picture, view())
    far_from_the_seam = np.r_[EDGE : SIDE // 2 - 64, SIDE // 2 + 64 : SIDE - EDGE]
    before, after = ((plane != picture)[EDGE:-EDGE, far_from_the_seam].mean() for plane in (half_right, registered))
    assert after < 0.75 * before


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


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(-9, 9), st.integers(-9, 9), st.integers(0, 999))
def test_a_template_is_warped_as_by_a_field_of_the_whole_picture(height, width, dy, dx, seed):
    rng = np.random.default_rng(seed)
    template = rng.integers(0, 256, (height, width), np.uint8)
    blocks_hw = (-(-height // BLOCK_PX), -(-width // BLOCK_PX))
    shifts = rng.integers(-4, 5, (*blocks_hw, 2)).astype(np.float32) * 2
    shifts[rng.random(blocks_hw) < rng.random()] = rng.integers(-1, 2) * 2  # where neighbours agree, it is copied
    fields = [cv2.resize(np.ascontiguousarray(shifts[..., axis]), (width, height)) for axis in range(2)]
    rows = (np.arange(height, dtype=np.float32) - dy)[:, None] - np.rint(fields[0])
    columns = (np.arange(width, dtype=np.float32) - dx) - np.rint(fields[1])
    expected = cv2.remap(template, columns, rows, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    half = np.any([np.abs(field % 1 - 0.5) < 1e-4 for field in fields], axis=0)  # may be rounded either way
    assert np.array_equal(warped(template, shifts, (dy, dx))[~half], expected[~half])


def test_rows_may_lie_apart_in_memory():
    picture, template = view(2, -3), view()
    template[100:200] = view(1, 1)[100:200]
    apart = [np.pad(plane, ((0, 0), (3, 40)), constant_values=7)[:, 3:-40] for plane in (picture, template)]
    assert not apart[0].flags.c_contiguous
    assert np.array_equal(register_template(*apart), register_template(picture, template))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 200), st.integers(1, 200), st.integers(0, 999))
def test_a_picture_of_any_size_gets_a_template_of_its_size(height, width, seed):
    picture, template = np.random.default_rng(seed).integers(0, 2, (2, height, width), np.uint8) * 255
    registered = register_template(picture, template)
    assert (registered.shape, registered.dtype) == (picture.shape, np.uint8)
    assert np.array_equal(register_template(picture, picture), picture)
