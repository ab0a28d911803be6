from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.values import InputContract
from edge_runtime.vision.preprocess import TilePreprocessor, cut_tile, value_table

MEAN, STD = (0.406, 0.456, 0.485), (0.225, 0.224, 0.229)


def contract(channels: str, tile_px: int = 16) -> InputContract:
    count = 1 if channels == "GRAY" else 3
    return InputContract(channels, MEAN[:count], STD[:count], tile_px, stride_px=8, margin_px=2)


def with_template() -> InputContract:
    return replace(contract("GRAY"), template=True)


def picture(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def naive_tile(image, origin_yx, channels, tile_px):
    """The docstring's formula, pixel by pixel in float64: (1, C, tile_px, tile_px)."""
    y, x = origin_yx
    crop = image[y : y + tile_px, x : x + tile_px]
    crop = np.pad(crop, ((0, tile_px - crop.shape[0]), (0, tile_px - crop.shape[1]), (0, 0)), mode="reflect")
    planes = {"BGR": crop, "RGB": crop[:, :, ::-1], "GRAY": crop[:, :, :1]}[channels].transpose(2, 0, 1)
    count = planes.shape[0]
    mean, std = (np.array(values[:count]).reshape(count, 1, 1) for values in (MEAN, STD))
    return ((planes / 255.0 - mean) / std)[np.newaxis]


@given(st.integers(0, 99), st.integers(1, 40), st.integers(1, 40), st.sampled_from(["BGR", "RGB", "GRAY"]), st.data())
def test_a_tile_is_the_formula_of_the_contract(seed, height, width, channels, data):
    image = picture(seed, height, width)
    if channels == "GRAY":
        image[:, :, 1:] = image[:, :, :1]
    origin_yx = data.draw(st.tuples(st.integers(0, height - 1), st.integers(0, width - 1)))
    tile = TilePreprocessor(contract(channels)).tile(image, origin_yx)
    assert tile.dtype == np.float32
    assert tile.flags.c_contiguous
    np.testing.assert_array_equal(tile, naive_tile(image, origin_yx, channels, 16).astype(np.float32))


@given(st.integers(0, 99), st.integers(1, 40), st.integers(1, 40), st.data())
def test_with_a_template_a_tile_is_both_pictures_tiles_one_after_the_other(seed, height, width, data):
    image, template = picture(seed, height, width), picture(seed + 100, height, width)[..., 0].copy()
    template_bgr = np.repeat(template[..., None], 3, axis=2)
    origin_yx = data.draw(st.tuples(st.integers(0, height - 1), st.integers(0, width - 1)))
    tile = TilePreprocessor(with_template()).tile(image, origin_yx, template)
    alone = TilePreprocessor(contract("GRAY"))
    parts = [alone.tile(each, origin_yx).copy() for each in (image, template_bgr)]
    assert (tile.dtype, tile.flags.c_contiguous) == (np.float32, True)
    np.testing.assert_array_equal(tile, np.concatenate(parts, axis=1))


@pytest.mark.parametrize(
    ("takes_one", "template", "message"),
    [
        (True, None, "the model needs a template"),
        (False, np.zeros((20, 30), np.uint8), "the model takes no template"),
        (True, np.zeros((20, 31), np.uint8), r"must be uint8 \(20, 30\) as the picture, not uint8 \(20, 31\)"),
        (True, np.zeros((20, 30, 3), np.uint8), r"not uint8 \(20, 30, 3\)"),
        (True, np.zeros((20, 30), np.float32), r"not float32 \(20, 30\)"),
    ],
)
def test_a_template_that_does_not_belong_to_the_picture_is_refused(takes_one, template, message):
    preprocessor = TilePreprocessor(with_template() if takes_one else contract("GRAY"))
    with pytest.raises(ValueError, match=message):
        preprocessor.tile(picture(0, 20, 30), (0, 0), template)


def test_only_grey_pictures_have_a_template():
    with pytest.raises(ValueError, match="a template goes with channels GRAY only, not BGR"):
        replace(contract("BGR"), template=True)


@given(st.floats(0, 1), st.floats(0.01, 4))
def test_evaluating_in_float32_throughout_stays_within_the_stated_tolerance(mean, std):
    pixels = np.arange(256).astype(np.float32)
    in_float32 = (pixels / np.float32(255) - np.float32(mean)) / np.float32(std)
    assert np.abs(value_table(mean, std) - in_float32).max() <= 3e-7 / std


def test_gray_of_equal_channels_is_the_channel_itself():
    ramp = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    plain = TilePreprocessor(InputContract("GRAY", (0.0,), (1.0,), 16, 8, 0))
    np.testing.assert_array_equal(np.rint(plain.tile(ramp, (0, 0)) * 255).reshape(-1), np.arange(256))


def test_gray_of_a_colour_weighs_blue_green_and_red():
    image = picture(3, 16, 16)
    plain = TilePreprocessor(InputContract("GRAY", (0.0,), (1.0,), 16, 8, 0))
    weighted = image @ np.array([0.114, 0.587, 0.299])
    assert np.abs(plain.tile(image, (0, 0))[0, 0] * 255 - weighted).max() <= 0.51


@given(st.integers(0, 99), st.sampled_from(["BGR", "RGB", "GRAY", "template"]))
def test_it_writes_all_of_an_engines_input_and_nothing_else(seed, channels):
    takes = with_template() if channels == "template" else contract(channels)
    template = picture(seed, 20, 30)[2:18, 3:19, 0].copy() if takes.template else None
    tile, preprocessor = picture(seed + 1, 40, 40)[5:21, 9:25], TilePreprocessor(takes)
    values, planes = np.full((3, takes.channel_count, 16, 16), np.nan, np.float32), np.zeros((3, 6, 16, 16), np.uint8)
    preprocessor.write_floats(tile, template, values[1:2])
    preprocessor.write_planes(tile, template, planes[1, : takes.channel_count])
    np.testing.assert_array_equal(values[1:2], preprocessor.tile(np.ascontiguousarray(tile), (0, 0), template))
    assert np.isnan(values[[0, 2]]).all()
    tables = [value_table(mean, std) for mean, std in zip(takes.mean, takes.std, strict=True)] * 2
    for table, plane, scaled in zip(tables, planes[1], values[1], strict=False):
        np.testing.assert_array_equal(table[plane], scaled)
    assert not planes[[0, 2]].any()
    assert not planes[1, takes.channel_count :].any()


NO_INPUTS = {
    "another size": np.zeros((1, 3, 16, 17), np.float32),
    "another type": np.zeros((1, 3, 16, 16)),
    "not contiguous": np.zeros((1, 3, 16, 32), np.float32)[..., ::2],
}


@pytest.mark.parametrize("kind", NO_INPUTS)
def test_memory_that_is_no_input_of_the_model_is_refused(kind):
    with pytest.raises(ValueError, match=r"must be C-contiguous float32 \(1, 3, 16, 16\), not float"):
        TilePreprocessor(contract("BGR")).write_floats(picture(0, 16, 16), None, NO_INPUTS[kind])


@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_a_tile_inside_the_picture_is_no_copy(height, width, data):
    image = picture(0, height, width)
    y, x = data.draw(st.tuples(st.integers(0, height - 1), st.integers(0, width - 1)))
    tile = cut_tile(image, (y, x), 16)
    assert tile.shape == (16, 16, 3)
    assert np.shares_memory(tile, image) == (y + 16 <= height and x + 16 <= width)


def test_a_read_only_picture_is_left_as_it_was():
    image = picture(6, 20, 20)
    image.flags.writeable = False
    before = image.copy()
    TilePreprocessor(contract("RGB")).tile(image, (8, 8))
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("origin_yx", [(-8, 0), (0, -1), (20, 0), (0, 30)])
def test_an_origin_outside_the_picture_is_refused(origin_yx):
    with pytest.raises(ValueError, match="outside the picture of 20 x 30 px"):
        TilePreprocessor(contract("BGR")).tile(picture(0, 20, 30), origin_yx)


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 1), (20, 30, 4), (0, 30, 3)])
def test_anything_but_a_colour_picture_is_refused(shape):
    with pytest.raises(ValueError, match="picture must be"):
        TilePreprocessor(contract("BGR")).tile(np.zeros(shape, np.uint8), (0, 0))


@settings(max_examples=20)
@given(st.integers(1, 3), st.integers(1, 3))
def test_a_picture_far_smaller_than_the_tile_is_mirrored_over_and_over(height, width):
    image = picture(7, height, width)
    tile = TilePreprocessor(contract("BGR", tile_px=64)).tile(image, (0, 0))
    np.testing.assert_array_equal(tile, naive_tile(image, (0, 0), "BGR", 64).astype(np.float32))
