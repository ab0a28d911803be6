"""Random tile grids: planned ones, and the same ones with their origins moved while they still cover the image."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st

from edge_runtime.values import TileGrid
from edge_runtime.vision.tiling import plan_grid

# A busy machine must not fail a property: only pytest's own timeout judges time.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@st.composite
def _planned(draw: st.DrawFn, min_tile_px: int = 1, max_side_px: int = 150) -> TileGrid:
    stride_px = draw(st.sampled_from([1, 2, 3, 4, 8]))
    strides = draw(st.integers(max(2, -(-min_tile_px // stride_px)), 12))
    margin_px = draw(st.integers(0, (strides - 1) // 2 * stride_px))
    sides_px = st.integers(1, max_side_px)
    return plan_grid((draw(sides_px), draw(sides_px)), strides * stride_px, margin_px, stride_px)


@st.composite
def _moved(draw: st.DrawFn, grid: TileGrid) -> TileGrid:
    return replace(grid, ys=draw(_moved_starts(grid, grid.ys)), xs=draw(_moved_starts(grid, grid.xs)))


@st.composite
def _moved_starts(draw: st.DrawFn, grid: TileGrid, starts: tuple[int, ...]) -> tuple[int, ...]:
    overlap_strides = 2 * -(-grid.margin_px // grid.stride_px)
    longest = grid.tile_px // grid.stride_px - overlap_strides
    moved, left = [0], starts[-1] // grid.stride_px
    while left:
        step = draw(st.integers(min(left, (longest + 1) // 2), min(left, longest)))
        moved.append(moved[-1] + step * grid.stride_px)
        left -= step
    return tuple(moved)


@pytest.fixture(scope="session")
def planned_grids():
    """Strategy: `planned_grids(min_tile_px, max_side_px)`."""
    return _planned


@pytest.fixture(scope="session")
def moved_grids():
    """Strategy: `moved_grids(grid)`, another valid grid of the same tiles."""
    return _moved
