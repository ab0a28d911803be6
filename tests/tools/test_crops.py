import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_runtime.values import InputContract
from edge_runtime.vision.preprocess import TilePreprocessor
from tools.crops import coarse_mask, crop_source, is_two_level, make_batch, make_crop, to_input, vary_grey
from tools.dataset import load_dataset
from tools.networks import MEAN, STD


@pytest.fixture
def source(boards_folder):
    return crop_source(load_dataset(boards_folder))


@given(hnp.arrays(np.uint8, (8, 12), elements=st.integers(0, 6)))
def test_a_cell_is_defective_exactly_when_one_of_its_pixels_is(mask):
    cells = coarse_mask(mask)
    for y in range(4):
        for x in range(6):
            assert cells[y, x] == mask[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].max()


def test_crops_depend_on_the_generator_alone(source):
    first, second = (make_crop(source, 96, np.random.default_rng(7)) for _ in range(2))
    other = make_crop(source, 96, np.random.default_rng(8))
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    assert (first[0] != other[0]).any()


@pytest.mark.parametrize("crop_px", [64, 160, 256])
def test_a_batch_fits_crops_smaller_and_larger_than_the_picture(source, crop_px):
    images, classes = make_batch([source], [1.0], crop_px, 3, np.random.default_rng(1))
    assert images.shape == (3, 1, crop_px, crop_px)
    assert images.dtype == np.float32
    assert classes.shape == (3, crop_px // 2, crop_px // 2)
    assert set(np.unique(classes)) <= set(range(7))


def test_half_of_the_crops_hold_a_defect(source):
    rng = np.random.default_rng(3)
    defective = sum(make_crop(source, 64, rng)[1].any() for _ in range(200))
    assert defective > 90


def test_shares_decide_where_crops_come_from(source, boards_folder):
    blank = crop_source(load_dataset(boards_folder))
    blank = type(blank)(blank.pictures[:1], ())
    _, classes = make_batch([source, blank], [0.0, 1.0], 160, 4, np.random.default_rng(1))
    only = load_dataset(boards_folder).pictures[0].read_mask()
    assert set(np.unique(classes)) <= set(np.unique(only))


@given(st.integers(0, 2**32 - 1))
def test_a_scan_stays_two_level_or_becomes_a_picture_with_bright_copper(seed):
    scan = np.full((64, 64), 255, np.uint8)
    scan[:, :32] = 0
    varied = vary_grey(scan, np.random.default_rng(seed))
    if is_two_level(varied):
        assert (varied == scan).all()
    else:
        assert varied[:, :28].mean() > varied[:, 36:].mean()


def test_input_is_the_one_the_device_computes():
    picture = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    contract = InputContract("GRAY", (MEAN,), (STD,), tile_px=64, stride_px=8, margin_px=0)
    device = TilePreprocessor(contract).tile(np.ascontiguousarray(np.dstack([picture] * 3)), (0, 0))
    assert (to_input(picture) == device[0, 0]).all()
