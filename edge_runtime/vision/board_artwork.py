"""The lawful copper of a made-up printed board: tracks, pads, vias, pours and fingers, drawn cell by cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_runtime.values import Box, ImageU8

COPPER = 255
CLEARANCE_PX = 7
_CELL_PX = (150, 420)
_ROUGHNESS = 0.8
_MIN_CONDUCTOR_PX = 180

Point = tuple[float, float]


def split_cells(rng: np.random.Generator, box: Box) -> list[Box]:
    """Cut `box` into rectangles that cover it without overlap, sides in `_CELL_PX` where it is large enough."""
    x0, y0, x1, y1 = box
    length_px = max(x1 - x0, y1 - y0)
    if length_px <= rng.integers(*_CELL_PX) or length_px < 2 * _CELL_PX[0]:
        return [box]
    at = int(rng.integers(_CELL_PX[0], length_px - _CELL_PX[0] + 1))
    if x1 - x0 >= y1 - y0:
        halves = (x0, y0, x0 + at, y1), (x0 + at, y0, x1, y1)
    else:
        halves = (x0, y0, x1, y0 + at), (x0, y0 + at, x1, y1)
    return [cell for half in halves for cell in split_cells(rng, half)]


def paint_cell(rng: np.random.Generator, cell_hw: tuple[int, int], track_px: int) -> ImageU8:
    """One cell's copper (255) on laminate (0), uint8; `CLEARANCE_PX` - 2 at its border stay bare.

    No conductor crosses itself or another, and loops occur only around holes, so any cut through a track parts it.
    """
    canvas: ImageU8 = np.zeros(cell_hw, np.uint8)
    motif = _MOTIFS[int(rng.integers(len(_MOTIFS)))]
    if rng.random() < 0.5:
        motif(rng, canvas, track_px)
    else:
        turned = np.zeros(cell_hw[::-1], np.uint8)
        motif(rng, turned, track_px)
        canvas[:] = turned.T
    if rng.random() < 0.5:
        canvas = canvas[:, ::-1]
    return _roughen(rng, _trim(np.ascontiguousarray(canvas)))


def _trim(canvas: ImageU8) -> ImageU8:
    """Bare the border and drop what is left too thin or too small to be told from spurious copper."""
    canvas[:CLEARANCE_PX] = canvas[-CLEARANCE_PX:] = 0
    canvas[:, :CLEARANCE_PX] = canvas[:, -CLEARANCE_PX:] = 0
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    solid = cv2.morphologyEx(canvas, cv2.MORPH_OPEN, disc)
    _, parts, stats, _ = cv2.connectedComponentsWithStats(solid, connectivity=8, ltype=cv2.CV_16U)
    for part in np.flatnonzero(stats[:, cv2.CC_STAT_AREA] < _MIN_CONDUCTOR_PX).tolist():
        x, y, width, height = stats[part, :4].tolist()
        window = slice(y, y + height), slice(x, x + width)
        solid[window][parts[window] == part] = 0
    return np.asarray(solid, np.uint8)


def _roughen(rng: np.random.Generator, canvas: ImageU8) -> ImageU8:
    """Let edges wander by up to 2 px as etching does; bounded, so that no speck arises away from an edge."""
    height, width = canvas.shape
    coarse = rng.integers(0, 256, (height // 3 + 2, width // 3 + 2), dtype=np.uint8)
    wander = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    soft = cv2.GaussianBlur(canvas, (7, 7), 1.5)
    mixed = cv2.addWeighted(soft, 1.0, wander, _ROUGHNESS, -128 * _ROUGHNESS)
    return cv2.threshold(mixed, 127, COPPER, cv2.THRESH_BINARY)[1].astype(np.uint8, copy=False)


def _track(canvas: ImageU8, points: list[Point], width_px: int) -> None:
    corners = np.rint(points).astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(canvas, [corners], False, COPPER, width_px)


def _pad(rng: np.random.Generator, canvas: ImageU8, centre: Point, radius_px: int, hole_px: int) -> None:
    x, y = round(centre[0]), round(centre[1])
    shape = rng.integers(4)
    if shape == 0:
        cv2.rectangle(canvas, (x - radius_px, y - radius_px), (x + radius_px, y + radius_px), COPPER, -1)
    elif shape == 1:
        cv2.ellipse(canvas, (x, y), (radius_px + radius_px // 3, radius_px), 0, 0, 360, COPPER, -1)
    else:
        cv2.circle(canvas, (x, y), radius_px, COPPER, -1)
    if hole_px:
        cv2.circle(canvas, (x, y), hole_px, 0, -1)


def _bus(rng: np.random.Generator, canvas: ImageU8, track_px: int) -> None:
    """Parallel tracks with a 45° dogleg; some end early, in a pad, a via or nothing, some have a neck."""
    height, width = canvas.shape
    pitch = track_px * float(rng.uniform(1.8, 2.8)) + 3
    drop = float(rng.uniform(-0.4, 0.4)) * height
    bend = float(rng.uniform(0.1, 0.4)) * width
    lean = pitch * 0.414 * (-1 if drop > 0 else 1)
    for k in range(int((height + abs(drop)) / pitch) + 1):
        y = k * pitch + min(0.0, -drop)
        x = bend + k * lean + (height * 0.414 if drop > 0 else 0.0)
        _bus_track(rng, canvas, [(-20, y), (x, y), (x + abs(drop), y + drop), (width + 20, y + drop)], track_px, pitch)


def _bus_track(rng: np.random.Generator, canvas: ImageU8, path: list[Point], track_px: int, pitch: float) -> None:
    end_x, end_y = path[-1]
    if rng.random() < 0.35:
        end_x = float(rng.uniform(path[2][0], max(path[2][0] + 1, canvas.shape[1])))
        path = [*path[:-1], (end_x, end_y)]
    _track(canvas, path, track_px)
    radius_px = int(pitch - track_px / 2 - 4)
    if end_x < canvas.shape[1] and radius_px > track_px // 2 + 1:
        cv2.circle(canvas, (round(end_x), round(end_y)), radius_px, COPPER, -1)
        if rng.random() < 0.6:
            cv2.circle(canvas, (round(end_x), round(end_y)), max(2, radius_px // 3), 0, -1)


def _lattice(rng: np.random.Generator, canvas: ImageU8, track_px: int) -> None:
    """Rows of drilled pads; each is tied to at most one neighbour above or to its left, so no loop can arise."""
    height, width = canvas.shape
    radius_px = int(track_px * rng.uniform(0.9, 1.5)) + 3
    pitch = int(radius_px * 2.7 + rng.integers(10, 40))
    hole_px = max(2, int(radius_px * rng.uniform(0.25, 0.5)))
    line_px = min(track_px, radius_px)
    rows = range(CLEARANCE_PX + radius_px + 4, height, pitch)
    centres = [(x, y) for y in rows for x in range(pitch // 2, width, pitch)]
    steps = [(0, 0), (0, 0), (-pitch, 0), (0, -pitch), (-pitch, -pitch)]
    for x, y in centres:
        dx, dy = steps[int(rng.integers(len(steps)))]
        if x + dx > 0 and y + dy > CLEARANCE_PX:
            _track(canvas, [(x, y), (x + dx, y + dy)], line_px)
    for centre in centres:
        if rng.random() < 0.9:
            _pad(rng, canvas, centre, radius_px, hole_px if rng.random() < 0.85 else 0)


def _pour(rng: np.random.Generator, canvas: ImageU8, track_px: int) -> None:
    """A filled area with chamfered corners, drilled and with islands (a pad inside a bare ring)."""
    height, width = canvas.shape
    inset = CLEARANCE_PX + int(rng.integers(0, 20))
    cut = int(rng.integers(10, max(11, min(height, width) // 3)))
    x1, y1 = width - inset, height - inset
    corners = [(inset, inset), (x1 - cut, inset), (x1, inset + cut), (x1, y1), (inset + cut, y1), (inset, y1 - cut)]
    cv2.fillPoly(canvas, [np.array(corners, np.int32)], COPPER)
    pitch = int(6 * track_px + rng.integers(30, 60))
    for y in range(inset + pitch // 2, height - inset - pitch // 3, pitch):
        for x in range(inset + pitch // 2, width - inset - pitch // 3, pitch):
            _pour_feature(rng, canvas, (x, y), track_px)


def _pour_feature(rng: np.random.Generator, canvas: ImageU8, centre: tuple[int, int], track_px: int) -> None:
    choice = rng.random()
    if choice < 0.3:
        cv2.circle(canvas, centre, int(rng.integers(4, 9)), 0, -1)
    elif choice < 0.7:
        radius_px = int(track_px * rng.uniform(0.8, 1.3)) + 2
        cv2.circle(canvas, centre, radius_px + int(rng.integers(6, 14)), 0, -1)
        cv2.circle(canvas, centre, radius_px, COPPER, -1)
        cv2.circle(canvas, centre, max(2, radius_px // 3), 0, -1)


def _fingers(rng: np.random.Generator, canvas: ImageU8, track_px: int) -> None:
    """A connector: broad fingers, each tapering through a neck into a track that ends in a via or a round end."""
    height, width = canvas.shape
    broad_px = int(track_px * rng.uniform(1.6, 3.0))
    pitch = broad_px + int(rng.integers(10, 26))
    top = int(height * rng.uniform(0.35, 0.55))
    for x in range(CLEARANCE_PX + broad_px // 2 + 2, width - broad_px // 2 - CLEARANCE_PX, pitch):
        cv2.rectangle(canvas, (x - broad_px // 2, -1), (x + broad_px // 2, top), COPPER, -1)
        if rng.random() < 0.5:
            cv2.circle(canvas, (x, top - broad_px // 2), max(2, broad_px // 6), 0, -1)
        end_y = top + float(rng.uniform(0.1, 0.95)) * (height - top)
        middle_y = (top + end_y) / 2
        _track(canvas, [(x, top), (x, middle_y)], track_px)
        _track(canvas, [(x, middle_y), (x, end_y)], max(6, track_px * 2 // 3))
        if rng.random() < 0.6:
            cv2.circle(canvas, (x, round(end_y)), min(broad_px // 2 + 1, track_px), COPPER, -1)


def _sparse(rng: np.random.Generator, canvas: ImageU8, track_px: int) -> None:
    """Bare laminate with a few vias, lone tracks and marks, on a grid that keeps them apart."""
    height, width = canvas.shape
    pitch = 5 * track_px + 24
    for y in range(pitch // 2 + 4, height - pitch // 2, pitch):
        for x in range(pitch // 2 + 4, width - pitch // 2, pitch):
            _sparse_feature(rng, canvas, x, y, track_px)


def _sparse_feature(rng: np.random.Generator, canvas: ImageU8, x: int, y: int, track_px: int) -> None:
    choice = rng.integers(5)
    reach = 2 * track_px
    if choice == 0:
        cv2.circle(canvas, (x, y), int(rng.integers(8, 13)), COPPER, -1)
    elif choice == 1:
        _track(canvas, [(x - reach, y), (x, y), (x + reach, y - reach)], track_px)
    elif choice == 2:
        _pad(rng, canvas, (x, y), track_px + 4, max(2, track_px // 3))
    elif choice == 3:
        corners = np.array([(x - reach, y + reach), (x + reach, y + reach), (x, y - reach)], np.int32)
        cv2.fillPoly(canvas, [corners], COPPER)


_MOTIFS: tuple[Callable[[np.random.Generator, ImageU8, int], None], ...] = (
    _bus,
    _bus,
    _lattice,
    _lattice,
    _pour,
    _fingers,
    _sparse,
)
