"""Crops: whatever happens to the picture happens to its template and its mask too."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_runtime.values import InputContract
from edge_runtime.vision.preprocess import TilePreprocessor
from tools.crops import (
    MEAN,
    STD,
    Augmentation,
    CropSource,
    coarse_mask,
    crop_source,
    is_two_level,
    make_batch,
    make_crop,
    read_planes,
    to_input,
)
from tools.dataset import Picture, load_dataset
from tools.errors import ToolError
from tools.scoring import LabelledBox

STILL = Augmentation(light=0.0, template_shift_px=0)
SEEDS = st.integers(0, 2**32 - 1)
SIDE = 96


def picture(boxes=()):
    return Picture(Path("made.png"), None, None, (SIDE, SIDE), tuple(boxes), (), bytes(256))


@pytest.fixture(scope="module")
def source(boards_folder):
    return crop_source(load_dataset(boards_folder))


@given(hnp.arrays(np.uint8, (8, 12), elements=st.integers(0, 6)), st.sampled_from([1, 2, 4]))
def test_a_cell_is_defective_exactly_when_one_of_its_pixels_is(mask, stride_px):
    cells = coarse_mask(mask, stride_px)
    assert cells.shape == (8 // stride_px, 12 // stride_px)
    for (y, x), cell in np.ndenumerate(cells):
        assert cell == mask[y * stride_px : (y + 1) * stride_px, x * stride_px : (x + 1) * stride_px].max()


def made_crop(image, template, mask, augmentation, crop_px, seed):
    """A crop of planes that are given instead of read."""
    source = CropSource((picture(),), ())
    planes = np.stack([image, template])
    return make_crop(source, crop_px, augmentation, lambda _: (planes, mask), np.random.default_rng(seed))


@settings(max_examples=200)
@given(SEEDS, st.sampled_from([32, 64, 160]))
def test_planes_and_mask_keep_together_through_turns_and_scaling(seed, crop_px):
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[20:52, 30:40] = 3
    mask[60:70, 8:80] = 1
    image = (mask * 60 + 30).astype(np.uint8)
    planes, labels = made_crop(image, image, mask, replace(STILL, scale_max=1.6), crop_px, seed)
    assert planes.shape == (2, crop_px, crop_px)
    assert np.array_equal(planes[0], planes[1])
    inner = np.s_[1:-1, 1:-1]  # a sliver at the edge may be seen by one interpolation and not by the other
    wrong = np.count_nonzero(np.rint((planes[0] - 30) / 60.0).astype(int)[inner] != labels[inner])
    edges = sum(np.count_nonzero(np.diff(labels.astype(int), axis=axis)) for axis in (0, 1))
    assert wrong <= 2 * edges
    if crop_px < SIDE and labels.any():
        assert set(np.unique(labels)) <= {0, 1, 3}


@settings(max_examples=100)
@given(SEEDS, st.integers(0, 6))
def test_the_template_moves_by_no_more_than_asked(seed, shift_px):
    rng = np.random.default_rng(9)
    image = rng.integers(60, 190, (SIDE, SIDE), np.uint8)
    augmentation = replace(STILL, scale_max=1.0, turn=False, template_shift_px=shift_px)
    planes, _ = made_crop(image, image, np.zeros_like(image), augmentation, 64, seed)
    inner = planes[0][8:-8, 8:-8]
    moves = [
        (dy, dx)
        for dy in range(-7, 8)
        for dx in range(-7, 8)
        if np.array_equal(planes[1][8 + dy : 56 + dy, 8 + dx : 56 + dx], inner)
    ]
    assert len(moves) == 1
    assert max(map(abs, moves[0])) <= shift_px


def test_the_template_really_moves():
    image = np.random.default_rng(9).integers(60, 190, (SIDE, SIDE), np.uint8)
    pairs = [made_crop(image, image, image * 0, replace(STILL, template_shift_px=3), 64, seed)[0] for seed in range(8)]
    assert any(not np.array_equal(*planes) for planes in pairs)


@given(SEEDS)
def test_a_scan_stays_two_level_or_becomes_a_picture_with_bright_copper(seed):
    scan = np.full((SIDE, SIDE), 255, np.uint8)
    scan[:, :48] = 0
    mask = (scan == 0).astype(np.uint8)
    planes, copper = made_crop(scan, scan, mask, Augmentation(camera_share=0.5), 64, seed)
    for plane in planes:
        if is_two_level(planes[0]):
            assert set(np.unique(plane)) <= {0, 255}
        elif 0.1 < copper.mean() < 0.9:
            assert plane[copper == 1].mean() > plane[copper == 0].mean()
    assert is_two_level(planes[0]) == is_two_level(planes[1])


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_camera_share_is_the_share_of_scans_that_change(share):
    scan = np.full((SIDE, SIDE), 255, np.uint8)
    scan[:, ::2] = 0
    augmentation = Augmentation(camera_share=share, scale_max=1.0)
    kept = [is_two_level(made_crop(scan, scan, scan * 0, augmentation, 64, seed)[0][0]) for seed in range(20)]
    assert sum(kept) == 20 * (1 - share)


def test_crops_depend_on_the_generator_alone(source):
    def crop(seed):
        return make_crop(source, 96, Augmentation(), read_planes(True), np.random.default_rng(seed))

    (first, mask), (second, same), (other, _) = crop(7), crop(7), crop(8)
    assert np.array_equal(first, second)
    assert np.array_equal(mask, same)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("crop_px", [64, 160, 256])
@pytest.mark.parametrize("stride_px", [2, 4])
def test_a_batch_fits_crops_smaller_and_larger_than_the_picture(source, crop_px, stride_px):
    rng = np.random.default_rng(1)
    images, classes = make_batch([source], [1.0], crop_px, 3, stride_px, Augmentation(), read_planes(False), rng)
    assert (images.shape, images.dtype) == ((3, 1, crop_px, crop_px), np.float32)
    assert (classes.shape, classes.dtype) == ((3, crop_px // stride_px, crop_px // stride_px), np.int64)
    assert set(np.unique(classes)) <= set(range(7))


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 40), (1.0, 200, 200)])
def test_the_defect_share_holds_a_defect_in_each_of_its_crops(share, low, high):
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[80:84, 10:14] = 2
    one = picture([LabelledBox(2, (10, 80, 14, 84))])
    source = CropSource((one,), (((one, one.boxes[0]),),))
    rng, augmentation = np.random.default_rng(3), replace(STILL, defect_share=share)
    planes = (mask[None], mask)
    crops = [make_crop(source, 32, augmentation, lambda _: planes, rng)[1].any() for _ in range(200)]
    assert low <= sum(crops) <= high


def test_shares_decide_where_crops_come_from():
    planes = {name: (np.full((1, SIDE, SIDE), level, np.uint8),) * 2 for name, level in (("a", 50), ("b", 90))}
    sources = [CropSource((replace(picture(), image_path=Path(name)),), ()) for name in planes]

    def levels(shares):
        rng = np.random.default_rng(1)
        read = lambda p: (planes[p.name][0], planes[p.name][1][0])  # noqa: E731
        return make_batch(sources, shares, 32, 40, 2, STILL, read, rng)[1][:, 0, 0].tolist()

    assert set(levels([0.0, 1.0])) == {90}
    assert 2 <= levels([0.25, 0.75]).count(50) <= 18


def test_input_is_the_one_the_device_computes():
    both = np.random.default_rng(0).integers(0, 256, (2, 64, 64), np.uint8)
    contract = InputContract("GRAY", (MEAN,), (STD,), tile_px=64, stride_px=8, margin_px=0, template=True)
    device = TilePreprocessor(contract).tile(np.ascontiguousarray(np.dstack([both[0]] * 3)), (0, 0), both[1])
    assert np.array_equal(to_input(both), device[0])


@pytest.mark.parametrize(
    "change", [{"light": 1.5}, {"defect_share": -0.1}, {"scale_max": 0.5}, {"template_shift_px": -1}, {"light": np.nan}]
)
def test_impossible_augmentations_are_refused(change):
    with pytest.raises(ToolError, match=r"augmentation: .*must lie in"):
        Augmentation(**change)
