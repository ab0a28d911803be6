"""From tiles back to one picture: every cell comes from the one tile in whose core it lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8, TilePlan


def mask_hw(image_hw: tuple[int, int], mask_stride_px: int) -> tuple[int, int]:
    """Rows and columns of the mask that covers an image; the last cells may overhang it."""
    if mask_stride_px < 1:
        raise ValueError(f"mask_stride_px must be at least 1, not {mask_stride_px}")
    height_px, width_px = image_hw
    return -(-height_px // mask_stride_px), -(-width_px // mask_stride_px)


def place_core(mask_plane: ImageU8, tile_plane: ImageU8, plan: TilePlan, index: int, mask_stride_px: int) -> None:
    """Copy the core cells of tile `index` into the stitched plane, and touch no other cell.

    `mask_plane` is (`mask_hw`), `tile_plane` (tile_px / mask_stride_px,) * 2; both planes of a mask go through here.
    Workers may fill one plane at the same time: cores are disjoint. Raises ValueError for planes of another size.
    """
    _check_planes(mask_plane, tile_plane, plan, mask_stride_px)
    x0, y0, x1, y1 = plan.cores_xyxy_px[index]
    rows, columns = _cells(y0, y1, mask_stride_px), _cells(x0, x1, mask_stride_px)
    tile_y, tile_x = (origin_px // mask_stride_px for origin_px in plan.origins_yx[index])
    mask_plane[rows, columns] = tile_plane[_moved(rows, tile_y), _moved(columns, tile_x)]


def clear_core(mask_plane: ImageU8, plan: TilePlan, index: int, mask_stride_px: int) -> None:
    """Make the core cells of tile `index` background, and touch no other cell."""
    mask_plane[core_cells(plan, index, mask_stride_px)] = 0


def core_cells(plan: TilePlan, index: int, mask_stride_px: int) -> tuple[slice, slice]:
    """Rows and columns of the stitched plane that tile `index` answers for."""
    x0, y0, x1, y1 = plan.cores_xyxy_px[index]
    return _cells(y0, y1, mask_stride_px), _cells(x0, x1, mask_stride_px)


def _check_planes(mask_plane: ImageU8, tile_plane: ImageU8, plan: TilePlan, mask_stride_px: int) -> None:
    expected_hw = mask_hw(plan.image_hw, mask_stride_px)
    if plan.stride_px % mask_stride_px:
        raise ValueError(f"mask stride {mask_stride_px} px must divide the plan's stride {plan.stride_px} px")
    if mask_plane.shape != expected_hw:
        raise ValueError(f"the mask plane must be {expected_hw} cells, not {mask_plane.shape}")
    side = plan.tile_px // mask_stride_px
    if tile_plane.shape != (side, side):
        raise ValueError(f"the tile plane must be {(side, side)} cells, not {tile_plane.shape}")


def _cells(begin_px: int, end_px: int, mask_stride_px: int) -> slice:
    return slice(begin_px // mask_stride_px, -(-end_px // mask_stride_px))


def _moved(cells: slice, offset: int) -> slice:
    return slice(cells.start - offset, cells.stop - offset)
