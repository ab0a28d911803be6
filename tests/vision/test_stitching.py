from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.pictures import grey_of
from edge_runtime.values import DefectClass, InputContract, Mask, Recipe, TileGrid
from edge_runtime.vision.blobs import find_defects
from edge_runtime.vision.preprocess import TilePreprocessor
from edge_runtime.vision.registration import register_template
from edge_runtime.vision.stitching import mask_hw, place_core
from edge_runtime.vision.tiling import core_box, plan_grid, plan_of

CLASSES = [DefectClass(1, "open", (0, 0, 255), 100), DefectClass(2, "short", (0, 255, 0), 140)]


class FakeNetwork:
    """A convolution-like network of exact receptive radius: sum and maximum of a square window, zeros outside.

    Works on whole numbers, so that no rounding hides or makes a seam. With a template it looks at the difference.
    """

    def __init__(self, radius_px: int, mask_stride_px: int) -> None:
        self.radius_px = radius_px
        self.mask_stride_px = mask_stride_px

    def predict(self, tile: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        planes = np.rint(tile[0] * 255).astype(np.int64)
        pixels = np.abs(planes[0] - planes[1]) if len(planes) == 2 else planes[0]
        scores = self._pooled(self._windowed(pixels, np.maximum))
        class_ids = self._pooled(self._windowed(pixels, np.add)) % 3
        return class_ids.astype(np.uint8), scores.astype(np.uint8)

    def _windowed(self, pixels: np.ndarray, combine: np.ufunc) -> np.ndarray:
        for _ in range(2):
            padded = np.pad(pixels, ((self.radius_px, self.radius_px), (0, 0)))
            shifts = [padded[shift : shift + len(pixels)] for shift in range(2 * self.radius_px + 1)]
            pixels = combine.reduce(shifts).T
        return pixels

    def _pooled(self, plane: np.ndarray) -> np.ndarray:
        stride = self.mask_stride_px
        return plane.reshape(plane.shape[0] // stride, stride, plane.shape[1] // stride, stride).max(axis=(1, 3))


def speckled(seed: int, image_hw: tuple[int, int]) -> np.ndarray:
    """Mostly dark, with bright specks: a picture in which neighbourhoods differ."""
    rng = np.random.default_rng(seed)
    specks = rng.integers(0, 256, (*image_hw, 3)) * (rng.random((*image_hw, 1)) < 0.05)
    return specks.astype(np.uint8)


def template_of(seed: int, image: np.ndarray) -> np.ndarray:
    """The picture itself, moved and with some specks of its own, as it is laid onto the picture."""
    rng = np.random.default_rng(seed)
    moved = np.roll(grey_of(image), (int(rng.integers(-3, 4)), int(rng.integers(-3, 4))), axis=(0, 1))
    return register_template(grey_of(image), np.where(rng.random(moved.shape) < 0.02, 200, moved).astype(np.uint8))


def stitched(image: np.ndarray, grid: TileGrid, network: FakeNetwork, template: np.ndarray | None = None) -> Mask:
    planes_hw = mask_hw(grid.image_hw, network.mask_stride_px)
    mask = Mask(np.full(planes_hw, 9, np.uint8), np.full(planes_hw, 9, np.uint8), network.mask_stride_px)
    contract = InputContract("GRAY", (0.0,), (1.0,), grid.tile_px, grid.stride_px, grid.margin_px, template is not None)
    preprocessor = TilePreprocessor(contract)
    for index, origin_yx in enumerate(grid.origins_yx):
        class_ids, scores = network.predict(preprocessor.tile(image, origin_yx, template))
        place_core(mask.class_ids, class_ids, plan_of(grid), index, network.mask_stride_px)
        place_core(mask.scores, scores, plan_of(grid), index, network.mask_stride_px)
    return mask


def whole(image: np.ndarray, grid: TileGrid, network: FakeNetwork, template: np.ndarray | None = None) -> Mask:
    """The network on the whole picture at once, padded at the far sides as the grid's last tiles are."""
    canvas_hw = [max(starts[-1] + grid.tile_px, 8) for starts in (grid.ys, grid.xs)]
    far = [(0, side - length) for side, length in zip(canvas_hw, grid.image_hw, strict=True)]
    canvas = np.pad(image, (*far, (0, 0)), mode="reflect")
    planes = [canvas] if template is None else [canvas, np.pad(template, far, mode="reflect")[..., None].repeat(3, 2)]
    preprocessor = TilePreprocessor(InputContract("GRAY", (0.0,), (1.0,), max(canvas_hw), 1, 0))
    tile = np.concatenate([preprocessor.tile(plane, (0, 0)).copy() for plane in planes], axis=1)
    class_ids, scores = network.predict(tile[:, :, : canvas_hw[0], : canvas_hw[1]])
    rows, columns = mask_hw(grid.image_hw, network.mask_stride_px)
    return Mask(class_ids[:rows, :columns].copy(), scores[:rows, :columns].copy(), network.mask_stride_px)


@settings(max_examples=80)
@given(st.data())
def test_stitching_has_no_seams(planned_grids, moved_grids, data):
    """Any valid grid gives the planes of whole-image inference, cell for cell, and so the same defects.

    With a template, too, for it is laid onto the picture before there are tiles.
    """
    grid = data.draw(planned_grids(min_tile_px=8, max_side_px=70))
    divisors = [stride for stride in range(1, grid.stride_px + 1) if grid.stride_px % stride == 0]
    network = FakeNetwork(data.draw(st.integers(0, grid.margin_px)), data.draw(st.sampled_from(divisors)))
    image = speckled(data.draw(st.integers(0, 999)), grid.image_hw)
    template = data.draw(st.none() | st.integers(0, 999).map(lambda seed: template_of(seed, image)))
    recipe = Recipe("seams", join_px=data.draw(st.integers(0, 9)))
    expected = whole(image, grid, network, template)
    defects = find_defects(expected, CLASSES, recipe, grid.image_hw)
    for tiles in (grid, data.draw(moved_grids(grid))):
        mask = stitched(image, tiles, network, template)
        np.testing.assert_array_equal(mask.class_ids, expected.class_ids)
        np.testing.assert_array_equal(mask.scores, expected.scores)
        assert find_defects(mask, CLASSES, recipe, grid.image_hw) == defects


def test_a_margin_smaller_than_the_receptive_radius_shows_seams():
    grid = plan_grid((60, 60), 32, 2, 2)
    network = FakeNetwork(radius_px=5, mask_stride_px=1)
    image = speckled(0, grid.image_hw)
    assert (stitched(image, grid, network).scores != whole(image, grid, network).scores).any()


@given(st.data())
def test_a_core_is_copied_and_nothing_else_is_touched(planned_grids, data):
    grid = data.draw(planned_grids(max_side_px=60))
    index = data.draw(st.integers(0, len(grid) - 1))
    plane = np.zeros(mask_hw(grid.image_hw, 1), np.uint8)
    place_core(plane, np.ones((grid.tile_px, grid.tile_px), np.uint8), plan_of(grid), index, 1)
    expected = np.zeros_like(plane)
    x0, y0, x1, y1 = core_box(grid, index)
    expected[y0:y1, x0:x1] = 1
    np.testing.assert_array_equal(plane, expected)


@pytest.mark.parametrize(
    ("image_hw", "stride_px", "cells"),
    [((1, 1), 8, (1, 1)), ((8, 9), 8, (1, 2)), ((100, 64), 1, (100, 64)), ((99, 64), 2, (50, 32))],
)
def test_the_mask_covers_the_image(image_hw, stride_px, cells):
    assert mask_hw(image_hw, stride_px) == cells


@pytest.mark.parametrize(
    ("mask_cells", "tile_cells", "mask_stride_px", "message"),
    [
        ((31, 32), (16, 16), 2, "mask plane"),
        ((32, 32), (16, 15), 2, "tile plane"),
        ((32, 32), (32, 32), 2, "tile plane"),
        ((22, 22), (11, 11), 3, "must divide"),
        ((64, 64), (32, 32), 0, "at least 1"),
    ],
)
def test_planes_of_another_size_are_refused(mask_cells, tile_cells, mask_stride_px, message):
    grid = plan_grid((64, 64), 32, 4, 4)
    with pytest.raises(ValueError, match=message):
        place_core(np.zeros(mask_cells, np.uint8), np.zeros(tile_cells, np.uint8), plan_of(grid), 0, mask_stride_px)
