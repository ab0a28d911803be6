"""From a picture to the model's input: the only preprocessing there is, on the device and in the tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.values import check_picture

if TYPE_CHECKING:
    from edge_runtime.interfaces import TileF32
    from edge_runtime.values import ImageU8, InputContract


class TilePreprocessor:
    """Turns tiles of pictures into the model's input, in memory of the caller's: an engine's own. One thread owns it.

    A tile is uint8 (tile_px, tile_px, 3) BGR, made by `cut_tile`; its template, grey (tile_px, tile_px), is given
    exactly if the contract has one (`interfaces.Segmenter.predict`, whose checks come first). GRAY is OpenCV's
    weighting of BGR; a picture with three equal channels keeps their value. The template is the last channel.
    """

    def __init__(self, contract: InputContract) -> None:
        self._contract = contract
        self._tables = [value_table(mean, std) for mean, std in zip(contract.mean, contract.std, strict=True)]
        self._shape = (contract.channel_count, contract.tile_px, contract.tile_px)
        self._planes = np.zeros(self._shape, np.uint8)

    def write_planes(self, picture: ImageU8, template: ImageU8 | None, out: ImageU8) -> None:
        """Fill `out`, C-contiguous uint8 (C, tile_px, tile_px), with pixel values in the contract's channel order.

        For engines that scale in their own graph. Raises ValueError for another `out`.
        """
        _check_out(out, np.dtype(np.uint8), self._shape)
        self._split(picture, out)
        if template is not None:
            np.copyto(out[-1], template)

    def write_floats(self, picture: ImageU8, template: ImageU8 | None, out: TileF32) -> None:
        """Fill `out`, C-contiguous float32 (1, C, tile_px, tile_px), with the model's values.

        Each is (pixel / 255 - mean) / std in float64, rounded once to float32. Raises ValueError for another `out`.
        """
        _check_out(out, np.dtype(np.float32), (1, *self._shape))
        self._split(picture, self._planes)
        own = len(self._tables)
        for plane, table, values in zip(self._planes[:own], self._tables, out[0, :own], strict=True):
            cv2.LUT(plane, table, dst=values)
        if template is not None:
            cv2.LUT(template, self._tables[0], dst=out[0, own])

    def tile(self, image: ImageU8, origin_yx: tuple[int, int], template: ImageU8 | None = None) -> TileF32:
        """The tile at `origin_yx` of a BGR picture as `write_floats` gives it, an array of its own. For tools.

        `template`, grey (H, W), is already registered. Raises ValueError for anything but uint8 (H, W, 3), for an
        origin outside the picture, and for a template that is absent, too many or of another size.
        """
        check_picture(image)
        self._check_template(image, template)
        tile = np.empty((1, *self._shape), np.float32)
        tile_px = self._contract.tile_px
        cut = None if template is None else cut_tile(template, origin_yx, tile_px)
        self.write_floats(cut_tile(image, origin_yx, tile_px), cut, tile)
        return tile

    def _check_template(self, image: ImageU8, template: ImageU8 | None) -> None:
        if (template is not None) != self._contract.template:
            raise ValueError("the model needs a template" if template is None else "the model takes no template")
        if template is not None and (template.dtype != np.uint8 or template.shape != image.shape[:2]):
            raise ValueError(
                f"the template must be uint8 {image.shape[:2]} as the picture, not {template.dtype} {template.shape}"
            )

    def _split(self, picture: ImageU8, out: ImageU8) -> None:
        """The picture's own channels into the first planes of `out`, in the contract's order."""
        if self._contract.channels == "GRAY":
            cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY, dst=out[0])
        else:
            planes = list(out)
            cv2.split(picture, planes if self._contract.channels == "BGR" else planes[::-1])


def cut_tile(image: ImageU8, origin_yx: tuple[int, int], tile_px: int) -> ImageU8:
    """The square of `tile_px` at `origin_yx` of a picture (H, W, 3) or (H, W): a view where the picture reaches so far.

    What overhangs the picture's far borders mirrors the tile's part of the picture (the border pixel itself is not
    repeated), in an array of its own. Raises ValueError for an origin outside the picture.
    """
    (y, x), (height, width) = origin_yx, image.shape[:2]
    if not (0 <= y < height and 0 <= x < width):
        raise ValueError(f"tile origin (y {y}, x {x}) lies outside the picture of {height} x {width} px")
    crop = image[y : y + tile_px, x : x + tile_px]
    below, right = tile_px - crop.shape[0], tile_px - crop.shape[1]
    if below or right:
        return np.asarray(cv2.copyMakeBorder(crop, 0, below, 0, right, cv2.BORDER_REFLECT_101), np.uint8)
    return crop


def _check_out(out: npt.NDArray[Any], dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """OpenCV would fill an array of its own where this one does not fit, and nobody would see it."""
    if out.dtype != dtype or out.shape != shape or not out.flags.c_contiguous:
        raise ValueError(f"the model's input must be C-contiguous {dtype} {shape}, not {out.dtype} {out.shape}")


def value_table(mean: float, std: float) -> TileF32:
    """What each of the 256 pixel values becomes: (pixel / 255 - mean) / std, correctly rounded to float32.

    The same formula evaluated in float32 throughout differs by at most 3e-7 / std for a mean in 0..1.
    """
    return ((np.arange(256) / 255.0 - mean) / std).astype(np.float32)
