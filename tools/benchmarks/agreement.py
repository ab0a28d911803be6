"""Whether two masks are the same computation: cells that differ, apart for where tiles overlap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edge_runtime.values import TileGrid

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8

TOLERANCE_OF_255 = 2
"""What rounding in another order may move a score by; as `verify` has it."""


@dataclass(frozen=True)
class Planes:
    """Class ids and scores, uint8 (H, W) cells."""

    class_ids: ImageU8
    scores: ImageU8


@dataclass(frozen=True)
class Agreement:
    """Cells that differ, of all cells: `core` where one tile alone covers the cell, `seam` where several do."""

    core_cells: int
    core_differ: int
    seam_cells: int
    seam_differ: int

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(
            self.core_cells + other.core_cells,
            self.core_differ + other.core_differ,
            self.seam_cells + other.seam_cells,
            self.seam_differ + other.seam_differ,
        )


def compare(found: Planes, wanted: Planes, grid: TileGrid, mask_stride_px: int) -> Agreement:
    """Raises ValueError for planes of another size."""
    if found.scores.shape != wanted.scores.shape or found.class_ids.shape != wanted.class_ids.shape:
        raise ValueError(f"planes of {found.scores.shape} cells, expected {wanted.scores.shape}")
    differs, seam = differing(found, wanted), covered_twice(grid, mask_stride_px)
    return Agreement(int((~seam).sum()), int((differs & ~seam).sum()), int(seam.sum()), int((differs & seam).sum()))


def differing(found: Planes, wanted: Planes) -> npt.NDArray[np.bool_]:
    """Cells whose score moved by more than the tolerance, or that have another class though one of them is suspect."""
    scores = found.scores.astype(np.int16), wanted.scores.astype(np.int16)
    moved = np.abs(scores[0] - scores[1]) > TOLERANCE_OF_255
    suspect = np.maximum(*scores) > TOLERANCE_OF_255
    return np.asarray(moved | (suspect & (found.class_ids != wanted.class_ids)))


def covered_twice(grid: TileGrid, mask_stride_px: int) -> npt.NDArray[np.bool_]:
    """Cells that more than one tile covers."""
    counts = [
        _coverage(starts, grid.tile_px, length_px)[::mask_stride_px]
        for starts, length_px in ((grid.ys, grid.image_hw[0]), (grid.xs, grid.image_hw[1]))
    ]
    return np.asarray(np.outer(*counts) > 1)


def _coverage(starts: tuple[int, ...], tile_px: int, length_px: int) -> npt.NDArray[np.int64]:
    """How many tiles cover each pixel of an axis."""
    covered = np.zeros(length_px, np.int64)
    for start in starts:
        covered[start : start + tile_px] += 1
    return covered
