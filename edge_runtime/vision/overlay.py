"""A picture for people: what was found, where, and what was decided."""

from __future__ import annotations

from heapq import nlargest
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.values import MAX_DEFECTS, Outcome, Zone, check_picture
from edge_runtime.vision.blobs import Thresholds, check_mask_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_runtime.values import Box, Defect, DefectClass, ImageU8, Mask, Polygon, Recipe

    Ints = npt.NDArray[np.intp]

Color = tuple[int, int, int]

WHITE: Color = (255, 255, 255)
BLACK: Color = (0, 0, 0)
IGNORED: Color = (150, 150, 150)
INCLUDE: Color = (220, 220, 0)
OUTCOME_COLORS: dict[Outcome, Color] = {
    Outcome.PASS: (60, 140, 0),
    Outcome.REJECT: (40, 30, 200),
    Outcome.NOT_INSPECTED: (0, 130, 230),
}
FONT = cv2.FONT_HERSHEY_SIMPLEX
SUBPIXEL_BITS = 4
BAND_ROWS = 64  # of a mask are tinted at a time: a mask full of defects takes no more memory than one with few


class _Pen(NamedTuple):
    """Line width and letter size that stay readable when the picture is shown in a browser window."""

    line_px: int
    font_scale: float

    @classmethod
    def for_side(cls, side_px: int) -> _Pen:
        return cls(line_px=max(1, round(side_px / 700)), font_scale=max(0.4, side_px / 1800))


def draw_overlay(
    image: ImageU8,
    defects: Sequence[Defect],
    mask: Mask | None,
    classes: Sequence[DefectClass],
    recipe: Recipe,
    outcome: Outcome,
) -> ImageU8:
    """A new picture of the same size, with everything that `draw_over` draws."""
    canvas = image.copy()
    draw_over(canvas, defects, mask, classes, recipe, outcome)
    return canvas


def draw_over(
    canvas: ImageU8,
    defects: Sequence[Defect],
    mask: Mask | None,
    classes: Sequence[DefectClass],
    recipe: Recipe,
    outcome: Outcome,
) -> None:
    """Draw into a BGR picture: tinted cells, region outlines, boxes with labels, outcome banner.

    At most the `MAX_DEFECTS` largest defects get a box; those in the IGNORE zone are grey. `mask` is None when
    the part was not inspected.
    """
    check_picture(canvas)
    pen = _Pen.for_side(min(canvas.shape[:2]))
    if mask is not None:
        _tint(canvas, mask, classes)
    for color, polygons in ((INCLUDE, recipe.include), (IGNORED, recipe.ignore)):
        for polygon in polygons:
            _outline(canvas, polygon, color, pen)
    by_id = {known.class_id: known for known in classes}
    for defect in nlargest(MAX_DEFECTS, defects, key=lambda defect: defect.area_px):
        _draw_defect(canvas, defect, by_id.get(defect.class_id), pen)
    _write(canvas, outcome.value, (0, 0), OUTCOME_COLORS[outcome], pen._replace(font_scale=pen.font_scale * 1.5))


def _tint(canvas: ImageU8, mask: Mask, classes: Sequence[DefectClass]) -> None:
    height, width, _ = canvas.shape
    check_mask_size(mask, (height, width))
    palette = np.zeros((256, 3), np.uint8)
    for known in classes:
        palette[known.class_id] = known.color_bgr
    thresholds = Thresholds(classes)
    for row in range(0, len(mask.scores), BAND_ROWS):
        class_ids, scores = mask.class_ids[row : row + BAND_ROWS], mask.scores[row : row + BAND_ROWS]
        ys, xs = np.nonzero(thresholds.foreground(class_ids, scores))
        _tint_cells(canvas[row * mask.stride_px :], ys, xs, palette[class_ids[ys, xs]], mask.stride_px)


def _tint_cells(canvas: ImageU8, ys: Ints, xs: Ints, colors: ImageU8, stride_px: int) -> None:
    height, width, _ = canvas.shape
    for dy, dx in product(range(stride_px), repeat=2):
        pixel_ys, pixel_xs = ys * stride_px + dy, xs * stride_px + dx
        inside = (pixel_ys < height) & (pixel_xs < width)
        at = pixel_ys[inside], pixel_xs[inside]
        canvas[at] = canvas[at] // 2 + colors[inside] // 2


def _outline(canvas: ImageU8, polygon: Polygon, color: Color, pen: _Pen) -> None:
    """Polygon coordinates count from pixel edges, OpenCV's from pixel centres: half a pixel apart."""
    points = np.round((np.asarray(polygon) - 0.5) * (1 << SUBPIXEL_BITS)).astype(np.int32)
    cv2.polylines(canvas, [points], True, color, pen.line_px, cv2.LINE_AA, SUBPIXEL_BITS)


def _draw_defect(canvas: ImageU8, defect: Defect, known: DefectClass | None, pen: _Pen) -> None:
    name, color = (known.name, known.color_bgr) if known else (f"class {defect.class_id}", WHITE)
    shown_color = IGNORED if defect.zone is Zone.IGNORE else color
    x0, y0, x1, y1 = defect.xyxy_px
    cv2.rectangle(canvas, (x0, y0), (x1 - 1, y1 - 1), shown_color, pen.line_px)
    label = f"{name} {defect.score:.2f}"
    _write(canvas, label, _label_corner(canvas, defect.xyxy_px, label, pen), shown_color, pen)


def _label_corner(canvas: ImageU8, box: Box, label: str, pen: _Pen) -> tuple[int, int]:
    """Above the box where there is room, else below it, always inside the picture where it fits."""
    height, width = canvas.shape[:2]
    label_width, label_height = _text_wh(label, pen)
    x0, y0, _, y1 = box
    y = y0 - label_height if y0 >= label_height else min(y1, height - label_height)
    return max(0, min(x0, width - label_width)), max(0, y)


def _write(canvas: ImageU8, text: str, corner_xy: tuple[int, int], paper: Color, pen: _Pen) -> None:
    """Text on a filled strip whose top left is `corner_xy`, in black or white, whichever reads better."""
    (x, y), (width, height) = corner_xy, _text_wh(text, pen)
    ink = BLACK if sum(paper) > 382 else WHITE
    cv2.rectangle(canvas, (x, y), (x + width - 1, y + height - 1), paper, cv2.FILLED)
    baseline = (x + _padding(pen), y + height - 2 * _padding(pen))
    cv2.putText(canvas, text, baseline, FONT, pen.font_scale, ink, pen.line_px, cv2.LINE_AA)


def _text_wh(text: str, pen: _Pen) -> tuple[int, int]:
    (width, height), _ = cv2.getTextSize(text, FONT, pen.font_scale, pen.line_px)
    return width + 2 * _padding(pen), height + 3 * _padding(pen)


def _padding(pen: _Pen) -> int:
    return max(2, round(5 * pen.font_scale))
