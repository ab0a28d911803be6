"""The gate: which tiles show nothing but what their template shows, so that no network need look at them."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.pictures import grey_of

if TYPE_CHECKING:
    from edge_runtime.values import Box, ImageU8

    SumsU16 = npt.NDArray[np.uint16]

MAX_BLOCK_PX = 16  # its sum of bytes fits 16 bits
_AUDIT = struct.Struct("<QI")


@dataclass(frozen=True)
class TemplateGate:
    """How far a picture strays from its registered template, in grey levels, at the worst place of a tile's core.

    A pixel strays by as much as its grey leaves the range of the template's greys within `tolerance_px` of it, so
    that edges may lie a little aside. The score is the largest mean of that over a square of `block_px` whose middle
    lies in the core or within `reach_px` of it. A tile that scores less than `threshold` is clean; 0 calls none so.
    """

    tolerance_px: int
    block_px: int
    reach_px: int
    threshold: float

    def __post_init__(self) -> None:
        if not (0 <= self.tolerance_px <= 8 and 1 <= self.block_px <= MAX_BLOCK_PX and 0 <= self.reach_px <= 256):
            raise ValueError(
                f"a gate needs a tolerance of 0..8, a block of 1..{MAX_BLOCK_PX}, a reach of 0..256: {self}"
            )
        if not 0.0 <= self.threshold <= 255.0:
            raise ValueError(f"a gate's threshold must lie in 0..255, not {self.threshold}")

    def is_clean(self, image: ImageU8, template: ImageU8, core_xyxy_px: Box) -> bool:
        """Whether the tile with this core scores below the threshold and need not be computed. See `score`."""
        if self.threshold <= 0.0:
            return False
        window, strayed = self._strayed_near(image, template, core_xyxy_px)
        if cv2.minMaxLoc(strayed)[1] < self.threshold:  # no mean exceeds the largest: most clean tiles end here
            return True
        return self._worst(strayed, window) < self.threshold

    def score(self, image: ImageU8, template: ImageU8, core_xyxy_px: Box) -> float:
        """0..255. `image` uint8 (H, W, 3) BGR, `template` grey (H, W), registered; nothing outside counts."""
        window, strayed = self._strayed_near(image, template, core_xyxy_px)
        return self._worst(strayed, window)

    def block_sums(self, picture: ImageU8, template: ImageU8) -> SumsU16:
        """For each pixel of two grey planes (H, W) the sum over its square; the border mirrors what lies inside."""
        return self._sums(self._strayed(picture, template))

    def _strayed_near(self, image: ImageU8, template: ImageU8, core_xyxy_px: Box) -> tuple[Box, ImageU8]:
        """How far each pixel around the core strays, and where in that the middles of its squares lie."""
        image_hw = image.shape[0], image.shape[1]
        x0, y0, x1, y1 = grown(core_xyxy_px, self.reach_px, image_hw)
        left, top, right, bottom = grown((x0, y0, x1, y1), self.tolerance_px + self.block_px, image_hw)
        picture = grey_of(image[top:bottom, left:right])
        return (x0 - left, y0 - top, x1 - left, y1 - top), self._strayed(picture, template[top:bottom, left:right])

    def _strayed(self, picture: ImageU8, template: ImageU8) -> ImageU8:
        side = 2 * self.tolerance_px + 1
        near = np.ones((side, side), np.uint8)
        above, below = cv2.dilate(template, near), cv2.erode(template, near)
        cv2.subtract(picture, above, dst=above)
        cv2.subtract(below, picture, dst=below)
        return np.asarray(cv2.max(above, below, dst=above), np.uint8)

    def _sums(self, strayed: ImageU8) -> SumsU16:
        block = (self.block_px, self.block_px)
        return np.asarray(cv2.boxFilter(strayed, cv2.CV_16U, block, normalize=False), np.uint16)

    def _worst(self, strayed: ImageU8, window: Box) -> float:
        x0, y0, x1, y1 = window
        return float(self._sums(strayed)[y0:y1, x0:x1].max()) / self.block_px**2


def grown(box_xyxy_px: Box, by_px: int, image_hw: tuple[int, int]) -> Box:
    """The box with `by_px` more on each side, clipped to the picture."""
    x0, y0, x1, y1 = box_xyxy_px
    height, width = image_hw
    return max(0, x0 - by_px), max(0, y0 - by_px), min(width, x1 + by_px), min(height, y1 + by_px)


def is_audited(part_id: int, tile: int, audit_every: int) -> bool:
    """Whether this tile is computed although the gate calls it clean: one in `audit_every`, in no pattern.

    The same in every process, and again when asked again.
    """
    return zlib.crc32(_AUDIT.pack(part_id, tile)) % audit_every == 0
