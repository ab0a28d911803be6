"""Which tiles are computed: laid over the watched parts of a picture, of the side that costs least."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial, reduce
from itertools import combinations
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edge_runtime.values import Box, TilePlan
from edge_runtime.vision.regions import has_zones, watched_cells
from edge_runtime.vision.stitching import mask_hw
from edge_runtime.vision.tiling import core_box, plan_grid

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8, InputContract, Recipe

MAX_BOXES = 8
# A tile costs something beside its pixels: a claim, a copy, the engine's own steps. About 0.4 ms of OpenVINO's time.
TILE_OVERHEAD_PX = 6000


@dataclass(frozen=True)
class PlanRules:
    """What every plan of a model keeps to: neighbours share twice the margin, origins are multiples of the stride."""

    margin_px: int
    stride_px: int

    @classmethod
    def of(cls, contract: InputContract) -> PlanRules:
        return cls(contract.margin_px, contract.stride_px)


@dataclass(frozen=True)
class Watched:
    """The part of a picture that is watched.

    `squares` uint8 (ceil(H/stride), ceil(W/stride)), not 0 where a square of `stride_px` has a watched cell; `boxes`
    are around its joined parts: disjoint, xyxy_px at multiples of `stride_px`, at the far borders those of the picture.
    """

    image_hw: tuple[int, int]
    stride_px: int
    squares: ImageU8
    boxes: tuple[Box, ...]

    def meets(self, xyxy_px: Box) -> bool:
        """Whether anything in a box at multiples of the stride is watched."""
        x0, y0, x1, y1 = xyxy_px
        step = self.stride_px
        return bool(self.squares[y0 // step : -(-y1 // step), x0 // step : -(-x1 // step)].any())


def watched_part(image_hw: tuple[int, int], recipe: Recipe, mask_stride_px: int, stride_px: int) -> Watched:
    """What a recipe has watched of a picture; `stride_px` is a multiple of the mask's.

    Of a picture of which nothing is, the first square: a part always has a tile whose end decides it.
    """
    squares_hw = mask_hw(image_hw, stride_px)
    if not has_zones(recipe):
        height, width = image_hw
        return Watched(image_hw, stride_px, np.ones(squares_hw, np.uint8), ((0, 0, width, height),))
    cells = watched_cells(recipe.include, recipe.ignore, mask_hw(image_hw, mask_stride_px), mask_stride_px)
    squares = _coarser(cells, squares_hw, stride_px // mask_stride_px)
    if not squares.any():
        squares[0, 0] = 1
    return Watched(image_hw, stride_px, squares, _boxes(squares, image_hw, stride_px))


def plan_tiles(watched: Watched, tile_px: int, rules: PlanRules) -> TilePlan:
    """The fewest tiles of exactly `tile_px` whose cores cover all that is watched, box by box, row by row.

    Boxes are joined where that takes no more tiles. Within the watched boxes the cores are disjoint; each lies at least
    the margin inside its tile's edges, but for edges that are the picture's. A tile without a watched square in its
    core is left out.
    """
    tiles_over = lru_cache(maxsize=None)(partial(_tiles_over, watched, tile_px, rules))
    groups = {box: tiles_over(box) for box in watched.boxes}
    while joined := _cheaper_pair(groups, tiles_over):
        pair, box, tiles = joined
        groups = {kept: those for kept, those in groups.items() if kept not in pair} | {box: tiles}
    tiles = [tile for box in sorted(groups, key=lambda box: (box[1], box[0])) for tile in groups[box]]
    origins, cores = tuple(origin for origin, _ in tiles), tuple(core for _, core in tiles)
    return TilePlan(watched.image_hw, tile_px, rules.stride_px, origins, cores)


def tiles_for(contract: InputContract, mask_stride_px: int, image_hw: tuple[int, int], recipe: Recipe) -> TilePlan:
    """The plan of the contract's own tiles."""
    watched = watched_part(image_hw, recipe, mask_stride_px, contract.stride_px)
    return plan_tiles(watched, contract.tile_px, PlanRules.of(contract))


def pixels_and_overhead(tile_px: int) -> float:
    """What a tile is taken to cost where nobody has measured: its pixels and a little more."""
    return tile_px * tile_px + TILE_OVERHEAD_PX


def plan_cost(plan: TilePlan, workers: int, tile_cost: Callable[[int], float] = pixels_and_overhead) -> float:
    """What the busiest of `workers` computes, in the unit of `tile_cost` (of a tile, by its side)."""
    return -(-len(plan) // workers) * tile_cost(plan.tile_px)


def ranked_plans(
    watched: Watched,
    sides_px: Sequence[int],
    default_px: int,
    rules: PlanRules,
    workers: int,
    tile_cost: Callable[[int], float] = pixels_and_overhead,
) -> list[TilePlan]:
    """For each number of tiles of `default_px` or any of `sides_px` the plan that costs least, the cheapest first.

    Sides larger than the picture are passed over, but for `default_px`: they would compute pixels that are not there.
    Of equal costs, the fewer pixels in all, then the larger tiles.
    """
    sides = _sides_to_try(watched, sides_px, rules) | {default_px}
    plans = [plan_tiles(watched, side, rules) for side in sorted(sides, reverse=True)]
    by_count: dict[int, TilePlan] = {}
    for plan in sorted(plans, key=lambda plan: (plan_cost(plan, workers, tile_cost), len(plan) * plan.tile_px**2)):
        by_count.setdefault(len(plan), plan)
    return list(by_count.values())


def _sides_to_try(watched: Watched, sides_px: Sequence[int], rules: PlanRules) -> set[int]:
    """Of `sides_px` that fit into the picture the least for each natural side: any other computes as many, larger."""
    largest_px = min(_up(length, rules.stride_px) for length in watched.image_hw)
    fitting = sorted(side for side in sides_px if side <= largest_px)
    places = (bisect_left(fitting, natural) for natural in _natural_sides(watched, rules))
    return {fitting[place] for place in places if place < len(fitting)}


def _natural_sides(watched: Watched, rules: PlanRules) -> set[int]:
    """The sides that cover some watched length with no pixel to spare.

    n tiles that share v px reach n·T - (n-1)·v px. Any other side computes as many tiles as one of these, larger ones.
    """
    stride_px = rules.stride_px
    shared_px = 2 * _up(rules.margin_px, stride_px)
    sides = set()
    for box in {*watched.boxes, reduce(_around, watched.boxes)}:
        for length, (begin, end) in zip(watched.image_hw, ((box[1], box[3]), (box[0], box[2])), strict=True):
            first, last = _reach(length, begin, end, stride_px, rules)
            fresh_px = max(stride_px, last - first - shared_px)
            counts = range(1, fresh_px // stride_px + 1)
            sides |= {_up(-(-fresh_px // count), stride_px) + shared_px for count in counts}
    return sides


Tile = tuple[tuple[int, int], Box]


def _tiles_over(watched: Watched, tile_px: int, rules: PlanRules, box: Box) -> list[Tile]:
    """Origin and core of each tile that the box needs."""
    x0, y0, x1, y1 = box
    (height, width), stride_px = watched.image_hw, rules.stride_px
    left, right = _reach(width, x0, x1, tile_px, rules)
    top, bottom = _reach(height, y0, y1, tile_px, rules)
    grid = plan_grid((bottom - top, right - left), tile_px, rules.margin_px, stride_px)
    tiles = []
    for index, (y, x) in enumerate(grid.origins_yx):
        cx0, cy0, cx1, cy1 = core_box(grid, index)
        core = (max(cx0 + left, x0), max(cy0 + top, y0), min(cx1 + left, x1), min(cy1 + top, y1))
        if core[0] < core[2] and core[1] < core[3] and watched.meets(core):
            tiles.append(((y + top, x + left), core))
    return tiles


def _reach(length_px: int, begin_px: int, end_px: int, tile_px: int, rules: PlanRules) -> tuple[int, int]:
    """What the tiles over begin..end must see along one axis: a margin more on both sides, where there is a picture.

    A tile that is larger than that is moved inwards until it ends with the picture.
    """
    stride_px = rules.stride_px
    margin_px = _up(rules.margin_px, stride_px)
    begin, end = max(0, begin_px - margin_px), min(length_px, end_px + margin_px)
    last = max(0, _up(length_px, stride_px) - tile_px)
    return min(begin, last), end


def _cheaper_pair(
    groups: dict[Box, list[Tile]], tiles_over: Callable[[Box], list[Tile]]
) -> tuple[tuple[Box, Box], Box, list[Tile]] | None:
    """Two boxes to be joined: they overlap, or take no more tiles together; None when there are no such two."""
    for a, b in combinations(groups, 2):
        around = _around(a, b)
        tiles = tiles_over(around)
        if _overlap(a, b) or len(tiles) <= len(groups[a]) + len(groups[b]):
            return (a, b), around, tiles
    return None


def _up(value_px: int, step_px: int) -> int:
    return -(-value_px // step_px) * step_px


def _around(a: Box, b: Box) -> Box:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _overlap(a: Box, b: Box) -> bool:
    return max(a[0], b[0]) < min(a[2], b[2]) and max(a[1], b[1]) < min(a[3], b[3])


def _coarser(cells: ImageU8, squares_hw: tuple[int, int], factor: int) -> ImageU8:
    """1 where any of a square's `factor` × `factor` cells is not 0."""
    rows, columns = squares_hw
    padded = np.zeros((rows * factor, columns * factor), np.bool_)
    padded[: cells.shape[0], : cells.shape[1]] = cells != 0
    return np.asarray(padded.reshape(rows, factor, columns, factor).any(axis=(1, 3)), np.uint8)


def _boxes(squares: ImageU8, image_hw: tuple[int, int], stride_px: int) -> tuple[Box, ...]:
    """Around each joined part, or around all where there are many."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(squares, connectivity=8)
    height, width = image_hw
    boxes = [
        (x * stride_px, y * stride_px, min((x + w) * stride_px, width), min((y + h) * stride_px, height))
        for x, y, w, h in stats[1:count, :4].tolist()
    ]
    while len(boxes) > MAX_BOXES or any(_overlap(a, b) for a, b in combinations(boxes, 2)):
        boxes = _joined(boxes)
    return tuple(boxes)


def _joined(boxes: list[Box]) -> list[Box]:
    """The two boxes that grow least by it made one."""

    def growth(pair: tuple[Box, Box]) -> int:
        return _area(_around(*pair)) - _area(pair[0]) - _area(pair[1])

    a, b = min(combinations(boxes, 2), key=growth)
    return [box for box in boxes if box not in (a, b)] + [_around(a, b)]


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
