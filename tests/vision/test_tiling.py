from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.values import TileGrid
from edge_runtime.vision.tiling import axis_starts, check_grid, core_box, plan_grid


def overlap_px(grid: TileGrid) -> int:
    return 2 * -(-grid.margin_px // grid.stride_px) * grid.stride_px


@given(st.data())
def test_cores_partition_the_image(planned_grids, moved_grids, data):
    planned = data.draw(planned_grids())
    for grid in (planned, data.draw(moved_grids(planned))):
        visits = np.zeros(grid.image_hw, int)
        for index in range(len(grid)):
            x0, y0, x1, y1 = core_box(grid, index)
            assert x0 < x1
            assert y0 < y1
            visits[y0:y1, x0:x1] += 1
        assert (visits == 1).all()


@given(st.data())
def test_each_core_keeps_the_margin_from_its_tiles_inner_edges(planned_grids, moved_grids, data):
    planned = data.draw(planned_grids())
    for grid in (planned, data.draw(moved_grids(planned))):
        height, width = grid.image_hw
        for index, (oy, ox) in enumerate(grid.origins_yx):
            x0, y0, x1, y1 = core_box(grid, index)
            for origin, begin, end, length in ((ox, x0, x1, width), (oy, y0, y1, height)):
                assert begin == 0 if origin == 0 else begin - origin >= grid.margin_px
                if origin + grid.tile_px < length:
                    assert origin + grid.tile_px - end >= grid.margin_px
                else:
                    assert end == length


@given(st.data())
def test_core_edges_are_multiples_of_the_stride_except_at_the_far_border(planned_grids, moved_grids, data):
    planned = data.draw(planned_grids())
    for grid in (planned, data.draw(moved_grids(planned))):
        for index in range(len(grid)):
            x0, y0, x1, y1 = core_box(grid, index)
            assert x0 % grid.stride_px == 0
            assert y0 % grid.stride_px == 0
            assert x1 % grid.stride_px == 0 or x1 == grid.image_hw[1]
            assert y1 % grid.stride_px == 0 or y1 == grid.image_hw[0]


@given(st.data())
def test_origins_are_multiples_of_the_stride_and_neighbours_share_the_overlap(planned_grids, data):
    grid = data.draw(planned_grids())
    for starts, length in ((grid.ys, grid.image_hw[0]), (grid.xs, grid.image_hw[1])):
        steps = np.diff(starts)
        assert starts[0] == 0
        assert all(start % grid.stride_px == 0 for start in starts)
        assert (steps > 0).all()
        assert (grid.tile_px - steps >= overlap_px(grid)).all()
        assert steps.size == 0 or steps.max() - steps.min() <= grid.stride_px
        assert starts[-1] + grid.tile_px >= length
        assert len(starts) == 1 or starts[-1] + grid.tile_px - length < grid.stride_px


@given(st.data())
def test_the_plan_uses_the_fewest_tiles(planned_grids, data):
    """n tiles that share v px reach n·T - (n-1)·v px, so no fewer than the first n that reaches L can cover it."""
    grid = data.draw(planned_grids())
    for starts, length in ((grid.ys, grid.image_hw[0]), (grid.xs, grid.image_hw[1])):
        count = 1
        while count * grid.tile_px - (count - 1) * overlap_px(grid) < length:
            count += 1
        assert len(starts) == count


@pytest.mark.parametrize(
    ("length_px", "tile_px", "overlap_px", "stride_px", "starts"),
    [
        (2048, 512, 96, 16, [0, 384, 768, 1152, 1536]),
        (512, 512, 96, 16, [0]),
        (1, 512, 96, 16, [0]),
        (513, 512, 96, 16, [0, 16]),
        (1000, 512, 0, 8, [0, 488]),
        (100, 10, 9, 1, list(range(91))),
        (30, 10, 0, 10, [0, 10, 20]),
    ],
)
def test_axis_starts(length_px, tile_px, overlap_px, stride_px, starts):
    assert axis_starts(length_px, tile_px, overlap_px, stride_px) == starts


def test_a_margin_between_strides_is_rounded_up():
    assert plan_grid((64, 160), 64, 8, 8).xs == (0, 48, 96)
    assert plan_grid((64, 160), 64, 9, 8).xs == (0, 32, 64, 96)


@pytest.mark.parametrize(
    ("image_hw", "tile_px", "margin_px", "stride_px"),
    [
        ((0, 10), 8, 0, 1),
        ((10, -1), 8, 0, 1),
        ((10, 10), 8, 4, 1),
        ((10, 10), 16, 7, 8),
        ((10, 10), 8, -1, 1),
        ((10, 10), 8, 0, 0),
        ((10, 10), 8, 0, 3),
        ((10, 10), 0, 0, 1),
    ],
)
def test_impossible_arguments_are_refused(image_hw, tile_px, margin_px, stride_px):
    with pytest.raises(ValueError, match="px"):
        plan_grid(image_hw, tile_px, margin_px, stride_px)


@given(st.data())
def test_planned_and_moved_grids_are_valid(planned_grids, moved_grids, data):
    planned = data.draw(planned_grids())
    check_grid(planned)
    check_grid(data.draw(moved_grids(planned)))


@pytest.mark.parametrize(
    "xs",
    [
        (),
        (0,),
        (0, 32),
        (0, 64),
        (8, 32, 64),
        (0, 32, 56),
        (0, 32, 72),
        (0, 0, 32, 64),
        (0, 32, 64, 96),
        (0, 30, 64),
        (0, 64, 32),
        (-8, 32, 64),
        (0, 56, 64),
    ],
)
def test_a_grid_that_leaves_gaps_or_margins_short_is_refused(xs):
    grid = plan_grid((64, 128), 64, 16, 8)
    assert grid.xs == (0, 32, 64)
    with pytest.raises(ValueError, match="origins x"):
        check_grid(replace(grid, xs=xs))


@pytest.mark.parametrize("index", [-1, 3])
def test_a_tile_outside_the_grid_has_no_core(index):
    with pytest.raises(ValueError, match="outside the grid"):
        core_box(plan_grid((64, 128), 64, 16, 8), index)
