"""Which tiles cover an image, and which part of each tile is trusted."""

from __future__ import annotations

from itertools import pairwise

from edge_runtime.values import Box, TileGrid, TilePlan


def plan_grid(image_hw: tuple[int, int], tile_px: int, margin_px: int, stride_px: int) -> TileGrid:
    """The fewest tiles of exactly `tile_px` that cover the image, at origins that are multiples of `stride_px`.

    Neighbours overlap by at least twice `margin_px` (rounded up to the stride), spread evenly. Only an image
    smaller than a tile, or the last partial stride of an image, overhangs the far border.
    Raises ValueError for arguments that leave no core in a tile.
    """
    overlap_px = _overlap_px(margin_px, stride_px)
    ys, xs = (tuple(axis_starts(length_px, tile_px, overlap_px, stride_px)) for length_px in image_hw)
    return TileGrid(image_hw, tile_px, margin_px, stride_px, ys, xs)


def axis_starts(length_px: int, tile_px: int, overlap_px: int, stride_px: int) -> list[int]:
    """Left edges, multiples of `stride_px`, of the fewest tiles of exactly `tile_px` that cover `length_px`.

    Neighbours share at least `overlap_px` (a multiple of the stride), gaps differ by at most one stride, and
    the last of several tiles ends less than one stride beyond `length_px`.
    """
    _check_axis(length_px, tile_px, overlap_px, stride_px)
    travel = max(0, _ceil_to(length_px, stride_px) - tile_px) // stride_px
    gaps = -(-travel // ((tile_px - overlap_px) // stride_px))
    return [index * travel // gaps * stride_px for index in range(gaps)] + [travel * stride_px]


def core_box(grid: TileGrid, index: int) -> Box:
    """Part of the image that tile `index` of `origins_yx` answers for: xyxy_px, half-open, image coordinates.

    The cores of a valid grid (`check_grid`) partition the image. Each lies at least `margin_px` inside its
    tile's inner edges, and its own edges are multiples of `stride_px` except at the image's far border.
    """
    if not 0 <= index < len(grid):
        raise ValueError(f"tile {index} is outside the grid of {len(grid)} tiles")
    row, column = divmod(index, len(grid.xs))
    y0, y1 = _core_span(grid, grid.ys, row, grid.image_hw[0])
    x0, x1 = _core_span(grid, grid.xs, column, grid.image_hw[1])
    return x0, y0, x1, y1


def plan_of(grid: TileGrid) -> TilePlan:
    """The grid's tiles, all of them, row by row."""
    cores = tuple(core_box(grid, index) for index in range(len(grid)))
    return TilePlan(grid.image_hw, grid.tile_px, grid.stride_px, grid.origins_yx, cores)


def check_grid(grid: TileGrid) -> None:
    """Raise ValueError unless the grid's cores partition its image with the margin it promises.

    `plan_grid` makes valid grids only; any other origins that pass here stitch to the same picture.
    """
    overlap_px = _overlap_px(grid.margin_px, grid.stride_px)
    for axis, starts, length_px in (("y", grid.ys, grid.image_hw[0]), ("x", grid.xs, grid.image_hw[1])):
        _check_axis(length_px, grid.tile_px, overlap_px, grid.stride_px)
        if not _covers(starts, length_px, grid.tile_px, overlap_px, grid.stride_px):
            raise ValueError(
                f"origins {axis} {starts} do not cover {length_px} px with tiles of {grid.tile_px} px that share "
                f"at least {overlap_px} px at multiples of {grid.stride_px} px"
            )


def _overlap_px(margin_px: int, stride_px: int) -> int:
    if margin_px < 0 or stride_px < 1:
        raise ValueError(f"margin_px {margin_px} must be at least 0 and stride_px {stride_px} at least 1")
    return 2 * _ceil_to(margin_px, stride_px)


def _ceil_to(value_px: int, step_px: int) -> int:
    return -(-value_px // step_px) * step_px


def _check_axis(length_px: int, tile_px: int, overlap_px: int, stride_px: int) -> None:
    if length_px < 1:
        raise ValueError(f"an image side must be at least 1 px, not {length_px}")
    if stride_px < 1 or tile_px < 1 or tile_px % stride_px or overlap_px % stride_px:
        raise ValueError(f"tile {tile_px} px and overlap {overlap_px} px must be multiples of stride {stride_px} px")
    if not 0 <= overlap_px < tile_px:
        raise ValueError(f"an overlap of {overlap_px} px leaves no core in a tile of {tile_px} px")


def _covers(starts: tuple[int, ...], length_px: int, tile_px: int, overlap_px: int, stride_px: int) -> bool:
    """Whether tiles at `starts` reach from 0 to the end, aligned, with the overlap asked for and no idle tile."""
    steps = [right - left for left, right in pairwise(starts)]
    last = max(0, _ceil_to(length_px, stride_px) - tile_px)
    aligned = all(start % stride_px == 0 for start in starts)
    return (
        bool(starts)
        and (starts[0], starts[-1]) == (0, last)
        and aligned
        and all(0 < step <= tile_px - overlap_px for step in steps)
    )


def _core_span(grid: TileGrid, starts: tuple[int, ...], position: int, length_px: int) -> tuple[int, int]:
    begin = _border(grid, starts, position) if position > 0 else 0
    end = _border(grid, starts, position + 1) if position + 1 < len(starts) else length_px
    return begin, end


def _border(grid: TileGrid, starts: tuple[int, ...], position: int) -> int:
    """Where the core of tile `position` takes over: the middle of its overlap, rounded down to the stride."""
    middle_px = (starts[position] + starts[position - 1] + grid.tile_px) // 2
    return middle_px // grid.stride_px * grid.stride_px
