"""The six printed board defects, each placed where it is really one: proved by which conductors it touches."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from edge_runtime.values import Box, ImageU8

OPEN, SHORT, MOUSEBITE, SPUR, SPURIOUS_COPPER, PIN_HOLE = range(1, 7)
CLASS_NAMES = dict(enumerate(("open", "short", "mousebite", "spur", "copper", "pin-hole"), start=1))
KEEP_APART_PX = 12

_TRIES = 30
_REACH_PX = 48
_MIN_AREA_PX = 24
_MIN_PIECE_PX = 60
_DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))

Bools = npt.NDArray[np.bool_]
Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TrueDefect:
    """A painted defect: `xyxy_px` is the half-open box of its pixels in the mask."""

    class_id: int
    xyxy_px: Box


class Span(NamedTuple):
    """The shortest straight run of one material through a pixel: its ends (x, y), unit direction and length."""

    start: Points
    end: Points
    along: Points
    length_px: float


class _Site(NamedTuple):
    """A candidate: the pixels it would flip within a patch of the cell, and the conductors there (0 = bare)."""

    changed: Bools
    conductors: npt.NDArray[np.int32]
    whole_cell: npt.NDArray[np.int32]
    offset_xy: tuple[int, int]


def place_defects(rng: np.random.Generator, copper: ImageU8, mask: ImageU8, count: int) -> list[TrueDefect]:
    """Mark up to `count` defects of random kinds in `mask` (class ids), `copper` being one cell's clean artwork.

    They lie at least `KEEP_APART_PX` apart and half of that inside the cell. Fewer where the cell has no room.
    """
    conductors = np.asarray(cv2.connectedComponents(copper, connectivity=8)[1], np.int32)
    found: list[TrueDefect] = []
    for _ in range(count):
        for kind in rng.permutation(np.arange(1, 7)):
            defect = _place(rng, copper, conductors, mask, int(kind), found)
            if defect is not None:
                found.append(defect)
                break
    return found


def _place(
    rng: np.random.Generator,
    copper: ImageU8,
    conductors: npt.NDArray[np.int32],
    mask: ImageU8,
    kind: int,
    others: list[TrueDefect],
) -> TrueDefect | None:
    on_copper = kind not in (SHORT, SPURIOUS_COPPER)
    points = rng.integers((0, 0), copper.shape, (_TRIES * 2, 2))
    points = points[(copper[points[:, 0], points[:, 1]] > 0) == on_copper][:_TRIES]
    for y, x in points.tolist():
        outline = _OUTLINES[kind](rng, copper, y, x)
        site = None if outline is None else _site(outline, conductors, removes=kind in (OPEN, MOUSEBITE, PIN_HOLE))
        if site is None or not _FITS[kind](site):
            continue
        box = _box(site)
        if not any(_near(box, other.xyxy_px) for other in others):
            patch_y, patch_x = site.offset_xy[1], site.offset_xy[0]
            height, width = site.changed.shape
            mask[patch_y : patch_y + height, patch_x : patch_x + width][site.changed] = kind
            return TrueDefect(kind, box)
    return None


def _near(box: Box, other: Box) -> bool:
    gap_x = max(box[0] - other[2], other[0] - box[2])
    gap_y = max(box[1] - other[3], other[1] - box[3])
    return max(gap_x, gap_y) < KEEP_APART_PX


def _box(site: _Site) -> Box:
    x, y, width, height = cv2.boundingRect(site.changed.view(np.uint8))
    x, y = x + site.offset_xy[0], y + site.offset_xy[1]
    return (x, y, x + width, y + height)


def _site(outline: Points, conductors: npt.NDArray[np.int32], removes: bool) -> _Site | None:
    """What filling `outline` would change, as one connected piece; None where it is too small or leaves the cell."""
    inset = KEEP_APART_PX // 2
    low = np.floor(outline.min(axis=0)).astype(int)
    high = np.ceil(outline.max(axis=0)).astype(int) + 1
    height, width = conductors.shape
    if low.min() < inset or high[0] > width - inset or high[1] > height - inset:
        return None
    x0, y0 = np.maximum(low - KEEP_APART_PX, 0).tolist()
    x1, y1 = (high + KEEP_APART_PX).tolist()
    patch = conductors[y0:y1, x0:x1]
    filled = np.zeros(patch.shape, np.uint8)
    cv2.fillPoly(filled, [np.rint(outline - (x0, y0)).astype(np.int32)], 1)
    filled[(patch > 0) != removes] = 0
    if cv2.countNonZero(filled) < _MIN_AREA_PX or _pieces(filled) != 1:
        return None
    return _Site(filled.view(np.bool_), patch, conductors, (x0, y0))


# Shapes ---------------------------------------------------------------------------------------------------------


def narrowest_span(copper: ImageU8, y: int, x: int) -> Span | None:
    """Shortest of the four straight runs (0°, 45°, 90°, 135°) of one material through (y, x); None beyond reach."""
    best: Span | None = None
    for dy, dx in _DIRECTIONS:
        back, ahead = _run(copper, y, x, -dy, -dx), _run(copper, y, x, dy, dx)
        unit_px = math.hypot(dy, dx)
        length_px = (back + ahead - 1) * unit_px
        if back and ahead and length_px <= _REACH_PX and (best is None or length_px < best.length_px):
            step = np.array((dx, dy), float)
            centre = np.array((x, y), float)
            best = Span(centre - (back - 1) * step, centre + (ahead - 1) * step, step / unit_px, length_px)
    return best


def _run(copper: ImageU8, y: int, x: int, dy: int, dx: int) -> int:
    """Pixels from (y, x) on that are alike, itself included; 0 when the run reaches the cell's edge or is too long."""
    height, width = copper.shape
    room_y = _REACH_PX if dy == 0 else (height - y if dy > 0 else y + 1)
    room_x = _REACH_PX if dx == 0 else (width - x if dx > 0 else x + 1)
    steps = np.arange(min(_REACH_PX, room_y, room_x))
    differs = copper[y + dy * steps, x + dx * steps] != copper[y, x]
    return int(differs.argmax())


def _blob(rng: np.random.Generator, centre: Points, radius_px: float, along: Points | None = None) -> Points:
    """A ragged closed outline around `centre`, stretched by up to 1.8 along `along` (any way when None)."""
    if along is None:
        turn = rng.uniform(0, math.pi)
        along = np.array((math.cos(turn), math.sin(turn)))
    angles = np.linspace(0, 2 * math.pi, 12, endpoint=False)
    radii = radius_px * rng.uniform(0.75, 1.15, 12)
    stretch = rng.uniform(1.0, 1.8)
    across = np.array((-along[1], along[0]))
    return np.asarray(
        centre + np.outer(radii * np.cos(angles) * stretch, along) + np.outer(radii * np.sin(angles), across)
    )


def _band(rng: np.random.Generator, start: Points, end: Points, along: Points, width_px: float) -> Points:
    """A ragged strip from `start` to `end`."""
    across = np.array((-along[1], along[0]))
    ways = np.linspace(0, 1, 4)[:, None]
    middle = start + (end - start) * ways
    left = middle + across * (width_px / 2 + rng.uniform(-1.5, 1.5, (4, 1)))
    right = middle - across * (width_px / 2 + rng.uniform(-1.5, 1.5, (4, 1)))
    return np.vstack((left, right[::-1]))


def _strip(rng: np.random.Generator, copper: ImageU8, y: int, x: int) -> Points | None:
    """Straight across what is narrowest here: cuts a track, or bridges a gap."""
    span = narrowest_span(copper, y, x)
    if span is None:
        return None
    return _band(rng, span.start - 3 * span.along, span.end + 3 * span.along, span.along, rng.uniform(5, 14))


def _bite(rng: np.random.Generator, copper: ImageU8, y: int, x: int) -> Points | None:
    """A blob on an edge, at most as deep as half the conductor."""
    span = narrowest_span(copper, y, x)
    if span is None or span.length_px < 8:
        return None
    depth_px = min(rng.uniform(5, 10), span.length_px * 0.45)
    along_edge = np.array((-span.along[1], span.along[0]))
    return _blob(rng, span.end if rng.random() < 0.5 else span.start, depth_px, along_edge)


def _outgrowth(rng: np.random.Generator, copper: ImageU8, y: int, x: int) -> Points | None:
    span = narrowest_span(copper, y, x)
    if span is None:
        return None
    outward, edge = (1, span.end) if rng.random() < 0.5 else (-1, span.start)
    radius_px = rng.uniform(4, 7)
    return _blob(rng, edge + outward * span.along * radius_px * 0.6, radius_px, span.along)


def _island(rng: np.random.Generator, copper: ImageU8, y: int, x: int) -> Points:
    return _blob(rng, np.array((x, y), float), rng.uniform(4.5, 9))


def _hole(rng: np.random.Generator, copper: ImageU8, y: int, x: int) -> Points:
    return _blob(rng, np.array((x, y), float), rng.uniform(3.5, 7.5))


_OUTLINES: dict[int, Callable[[np.random.Generator, ImageU8, int, int], Points | None]] = {
    OPEN: _strip,
    SHORT: _strip,
    MOUSEBITE: _bite,
    SPUR: _outgrowth,
    SPURIOUS_COPPER: _island,
    PIN_HOLE: _hole,
}

# Proofs ---------------------------------------------------------------------------------------------------------


def _pieces(plane: npt.NDArray[np.uint8] | Bools, connectivity: int = 8) -> int:
    return int(cv2.connectedComponents(plane.astype(np.uint8), connectivity=connectivity)[0]) - 1


def _around(site: _Site, reach_px: int) -> Bools:
    side = 2 * reach_px + 1
    grown = cv2.dilate(site.changed.view(np.uint8), np.ones((side, side), np.uint8))
    return np.asarray(grown > 0)


def _touched(site: _Site, reach_px: int) -> set[int]:
    """Conductors within `reach_px` of the changed pixels."""
    return set(np.unique(site.conductors[_around(site, reach_px)]).tolist()) - {0}


def _same_bare_regions(site: _Site, after: Bools) -> bool:
    return _pieces(site.conductors == 0, 4) == _pieces(~after, 4)


def _parts_a_track(site: _Site) -> bool:
    """Exactly one conductor is hit, and it falls into exactly two pieces of a size to be seen."""
    touched = _touched(site, 2)
    if len(touched) != 1:
        return False
    rest = (site.whole_cell == touched.pop()).astype(np.uint8)
    height, width = site.changed.shape
    x, y = site.offset_xy
    rest[y : y + height, x : x + width][site.changed] = 0
    count, _, stats, _ = cv2.connectedComponentsWithStats(rest, connectivity=8)
    return bool(count == 3 and stats[1:, cv2.CC_STAT_AREA].min() >= _MIN_PIECE_PX)


def _joins_two(site: _Site) -> bool:
    return len(_touched(site, 1)) == 2 == len(_touched(site, 3))


def _nibbles(site: _Site) -> bool:
    """One conductor loses some of its edge and would still hold together with 2 px more gone."""
    if len(_touched(site, 3)) != 1:
        return False
    copper = site.conductors > 0
    left = copper & ~site.changed
    opens_outward = bool((~copper & _around(site, 1)).any())
    holds = _pieces(left) == _pieces(copper) == _pieces(copper & ~_around(site, 2))
    return opens_outward and holds and _same_bare_regions(site, left)


def _sticks_out(site: _Site) -> bool:
    """It grows from one conductor, stays clear of all others, and closes no ring, not even a narrow one."""
    if not len(_touched(site, 1)) == 1 == len(_touched(site, 4)):
        return False
    copper = site.conductors > 0
    return _same_bare_regions(site, copper | site.changed) and _same_bare_regions(site, copper | _around(site, 1))


def _stands_alone(site: _Site) -> bool:
    return not _touched(site, 5)


def _lies_inside(site: _Site) -> bool:
    return bool(site.conductors[_around(site, 3)].all())


_FITS: dict[int, Callable[[_Site], bool]] = {
    OPEN: _parts_a_track,
    SHORT: _joins_two,
    MOUSEBITE: _nibbles,
    SPUR: _sticks_out,
    SPURIOUS_COPPER: _stands_alone,
    PIN_HOLE: _lies_inside,
}
