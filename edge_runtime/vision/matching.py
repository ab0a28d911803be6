"""Found boxes against known ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from edge_runtime.values import Box

Key = TypeVar("Key")


def padded(box: Box, pad_px: int) -> Box:
    x0, y0, x1, y1 = box
    return x0 - pad_px, y0 - pad_px, x1 + pad_px, y1 + pad_px


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two half-open boxes; 0 for two empty ones."""
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    shared = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union else 0.0


def match_boxes(
    found: Sequence[tuple[Key, Box, float]], known: Sequence[tuple[Key, Box]], iou_above: float
) -> list[int | None]:
    """For each found (class, box, score) the index of the known (class, box) it hits, or None.

    By falling score, each takes the free known box of its class with the largest IoU, if that exceeds `iou_above`.
    """
    free = set(range(len(known)))
    hits: list[int | None] = [None] * len(found)
    for index in sorted(range(len(found)), key=lambda i: -found[i][2]):
        key, box, _ = found[index]
        rivals = [(iou(box, known[k][1]), -k) for k in free if known[k][0] == key]
        best, minus_k = max(rivals, default=(0.0, 0))
        if best > iou_above:
            hits[index] = -minus_k
            free.discard(-minus_k)
    return hits
