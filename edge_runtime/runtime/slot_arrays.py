"""Numpy views into the frame ring, for the processes that look at pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_runtime.runtime.frame_ring import FrameRing
from edge_runtime.vision.stitching import mask_hw

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8


@dataclass(frozen=True)
class SlotArrays:
    """Views of one slot: image (H, W, 3), template (H, W), class_ids and scores (ceil(H/stride), ceil(W/stride)).

    All uint8. The template has a meaning only where the model takes one.
    """

    image: ImageU8
    template: ImageU8
    class_ids: ImageU8
    scores: ImageU8


def slot_arrays(ring: FrameRing, slot: int, image_hw: tuple[int, int], mask_stride_px: int) -> SlotArrays:
    """The slot as arrays of the given picture size. Raises ValueError when the picture does not fit the slot."""
    if math.prod(image_hw) > ring.layout.max_pixels:
        raise ValueError(f"a picture of {image_hw} does not fit a slot of {ring.layout.max_pixels} pixels")
    cells_hw = mask_hw(image_hw, mask_stride_px)
    return SlotArrays(
        _view(ring, ring.layout.image_at(slot), (*image_hw, 3)),
        _view(ring, ring.layout.template_at(slot), image_hw),
        _view(ring, ring.layout.class_ids_at(slot), cells_hw),
        _view(ring, ring.layout.scores_at(slot), cells_hw),
    )


def picture_room(ring: FrameRing, slot: int) -> ImageU8:
    """All of the slot's memory for a picture, flat."""
    return _view(ring, ring.layout.image_at(slot), (3 * ring.layout.max_pixels,))


def lies_in(image: ImageU8, room: ImageU8) -> bool:
    """Whether the picture lies at the beginning of flat memory."""
    return bool(image.ctypes.data == room.ctypes.data)


def _view(ring: FrameRing, offset: int, shape: tuple[int, ...]) -> ImageU8:
    return np.frombuffer(ring.memory, np.uint8, math.prod(shape), offset).reshape(shape)
