"""From a picture to the model's input: the only preprocessing there is, on the device and in the tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from edge_runtime.values import check_picture

if TYPE_CHECKING:
    from edge_runtime.interfaces import TileF32
    from edge_runtime.values import ImageU8, InputContract


class TilePreprocessor:
    """Cuts tiles out of pictures and scales them as the contract says. One thread owns it."""

    def __init__(self, contract: InputContract) -> None:
        self._contract = contract
        tile_px = contract.tile_px
        self._tile: TileF32 = np.zeros((1, contract.channel_count, tile_px, tile_px), np.float32)
        self._tables = [value_table(mean, std) for mean, std in zip(contract.mean, contract.std, strict=True)]
        self._planes = [np.zeros((tile_px, tile_px), np.uint8) for _ in self._tables]

    def tile(self, image: ImageU8, origin_yx: tuple[int, int], template: ImageU8 | None = None) -> TileF32:
        """The tile at `origin_yx` of a BGR picture, float32 (1, C, tile_px, tile_px), valid until the next call.

        Each value is (pixel / 255 - mean) / std in float64, rounded once to float32. GRAY is OpenCV's weighting of
        BGR; a picture with three equal channels keeps their value. What overhangs the picture's far
        borders mirrors the tile's part of the picture (the border pixel itself is not repeated).
        `template`, grey (H, W), is given exactly if the contract has one, already registered; its part of the tile
        comes after the picture's channels.
        Raises ValueError for anything but uint8 (H, W, 3), for an origin outside the picture, and for a template that
        is absent, too many or of another size.
        """
        check_picture(image)
        self._check_template(image, template)
        self._split(self._crop(image, origin_yx))
        own = len(self._planes)
        for plane, table, out in zip(self._planes, self._tables, self._tile[0, :own], strict=True):
            cv2.LUT(plane, table, dst=out)
        if template is not None:
            cv2.LUT(self._crop(template, origin_yx), self._tables[0], dst=self._tile[0, own])
        return self._tile

    def _check_template(self, image: ImageU8, template: ImageU8 | None) -> None:
        if (template is not None) != self._contract.template:
            raise ValueError("the model needs a template" if template is None else "the model takes no template")
        if template is not None and (template.dtype != np.uint8 or template.shape != image.shape[:2]):
            raise ValueError(
                f"the template must be uint8 {image.shape[:2]} as the picture, not {template.dtype} {template.shape}"
            )

    def _crop(self, image: ImageU8, origin_yx: tuple[int, int]) -> ImageU8:
        (y, x), (height, width), tile_px = origin_yx, image.shape[:2], self._contract.tile_px
        if not (0 <= y < height and 0 <= x < width):
            raise ValueError(f"tile origin (y {y}, x {x}) lies outside the picture of {height} x {width} px")
        crop = image[y : y + tile_px, x : x + tile_px]
        below, right = tile_px - crop.shape[0], tile_px - crop.shape[1]
        if below or right:
            return np.asarray(cv2.copyMakeBorder(crop, 0, below, 0, right, cv2.BORDER_REFLECT_101), np.uint8)
        return crop

    def _split(self, crop: ImageU8) -> None:
        """Fill the planes in the contract's channel order."""
        if self._contract.channels == "GRAY":
            cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY, dst=self._planes[0])
        else:
            cv2.split(crop, self._planes if self._contract.channels == "BGR" else self._planes[::-1])


def value_table(mean: float, std: float) -> TileF32:
    """What each of the 256 pixel values becomes: (pixel / 255 - mean) / std, correctly rounded to float32.

    The same formula evaluated in float32 throughout differs by at most 3e-7 / std for a mean in 0..1.
    """
    return ((np.arange(256) / 255.0 - mean) / std).astype(np.float32)
