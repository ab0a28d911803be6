"""Training crops: a pure function of pictures and a random generator.

Half of the crops lie around a defect (classes drawn evenly), the other half anywhere. Each is scaled, turned and given
other grey levels, so that one network serves thresholded scans and camera pictures alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.vision.preprocess import value_table
from tools.dataset import Dataset, GreyU8, Picture
from tools.networks import MEAN, OUTPUT_STRIDE_PX, STD
from tools.paddle_first import cv2
from tools.scoring import LabelledBox

FloatArray = npt.NDArray[np.float32]
MAX_SCALE = 1.25
PLAIN_SHARE = 0.6


@dataclass(frozen=True)
class CropSource:
    """Pictures to cut from; `by_class` lists each class's defects with their picture."""

    pictures: tuple[Picture, ...]
    by_class: tuple[tuple[tuple[Picture, LabelledBox], ...], ...]


def crop_source(dataset: Dataset) -> CropSource:
    by_class: dict[int, list[tuple[Picture, LabelledBox]]] = defaultdict(list)
    for picture in dataset.pictures:
        for box in picture.boxes:
            by_class[box.class_id].append((picture, box))
    return CropSource(dataset.pictures, tuple(tuple(by_class[class_id]) for class_id in sorted(by_class)))


def make_batch(
    sources: Sequence[CropSource], shares: Sequence[float], crop_px: int, count: int, rng: np.random.Generator
) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Inputs float32 (count, 1, crop_px, crop_px) and class ids int64 (count, crop_px/2, crop_px/2).

    `shares` are the probabilities of the sources and add up to 1.
    """
    chosen = rng.choice(len(sources), size=count, p=np.asarray(shares))
    crops = [make_crop(sources[index], crop_px, rng) for index in chosen]
    images = np.stack([to_input(image) for image, _ in crops])
    return images[:, None], np.stack([coarse_mask(mask) for _, mask in crops]).astype(np.int64)


def make_crop(source: CropSource, crop_px: int, rng: np.random.Generator) -> tuple[GreyU8, GreyU8]:
    """One augmented crop: grey levels and class ids, both uint8 (crop_px, crop_px)."""
    picture, centre_yx = _choose_place(source, rng)
    scale = float(np.exp(rng.uniform(-np.log(MAX_SCALE), np.log(MAX_SCALE)))) if rng.random() < 0.5 else 1.0
    window_px = max(8, round(crop_px / scale))
    window = _window(picture.size_hw, centre_yx, window_px, rng)
    image = _resized(_cut(picture.read_image(), window, window_px), crop_px, cv2.INTER_LINEAR)
    mask = _resized(_cut(picture.read_mask(), window, window_px), crop_px, cv2.INTER_NEAREST)
    image, mask = _turned(image, mask, rng)
    return vary_grey(image, rng), mask


def to_input(image: GreyU8) -> FloatArray:
    """The input contract's arithmetic: (pixel / 255 - mean) / std."""
    return value_table(MEAN, STD)[image]


def coarse_mask(mask: GreyU8) -> GreyU8:
    """Class ids at the output stride: a cell is defective when any of its pixels is, so thin defects survive.

    Where classes meet in one cell the highest id wins.
    """
    height, width = (length // OUTPUT_STRIDE_PX for length in mask.shape)
    cells = mask.reshape(height, OUTPUT_STRIDE_PX, width, OUTPUT_STRIDE_PX)
    return np.asarray(cells.max(axis=(1, 3)), np.uint8)


def vary_grey(image: GreyU8, rng: np.random.Generator) -> GreyU8:
    """Other light and optics. A two-level picture stays one with `PLAIN_SHARE`, else it becomes a camera's picture.

    Two-level scans show copper black, cameras show it bright: the network learns both readings and tells them apart
    by their grey levels.
    """
    if is_two_level(image):
        if rng.random() < PLAIN_SHARE:
            return np.where(image < 128, 0, 255).astype(np.uint8)
        levels = rng.uniform(40, 110) + rng.uniform(50, 130) / 255 * (255 - image.astype(np.float32))
        levels = np.asarray(cv2.GaussianBlur(levels, (0, 0), rng.uniform(0.5, 1.3)), np.float32)
    else:
        levels = (image.astype(np.float32) - 110) * rng.uniform(0.8, 1.2) + 110 + rng.uniform(-15, 15)
    levels += _gradient(image.shape, rng) + rng.normal(0.0, rng.uniform(1.0, 7.0), image.shape)
    return np.clip(levels, 0, 255).astype(np.uint8)


def is_two_level(image: GreyU8) -> bool:
    """Whether nearly all of a picture is black or white; scaling leaves grey edges, hence nearly."""
    return np.count_nonzero((image < 8) | (image > 247)) > 0.8 * image.size


def _gradient(shape_hw: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """A light slope across the picture, up to 25 levels from edge to edge."""
    rise = rng.uniform(-25, 25, size=2)
    y = np.linspace(-0.5, 0.5, shape_hw[0], dtype=np.float32)[:, None]
    x = np.linspace(-0.5, 0.5, shape_hw[1], dtype=np.float32)[None, :]
    return np.asarray(y * rise[0] + x * rise[1], np.float32)


def _choose_place(source: CropSource, rng: np.random.Generator) -> tuple[Picture, tuple[int, int] | None]:
    if source.by_class and rng.random() < 0.5:
        places = source.by_class[rng.integers(len(source.by_class))]
        picture, box = places[rng.integers(len(places))]
        x0, y0, x1, y1 = box.xyxy_px
        return picture, ((y0 + y1) // 2, (x0 + x1) // 2)
    return source.pictures[rng.integers(len(source.pictures))], None


def _window(
    size_hw: tuple[int, int], centre_yx: tuple[int, int] | None, window_px: int, rng: np.random.Generator
) -> tuple[int, int]:
    """Top left corner of a window inside the picture; one that holds `centre_yx` in its middle three quarters."""
    corner = []
    for axis, length in enumerate(size_hw):
        last = max(0, length - window_px)
        if centre_yx is None:
            corner.append(int(rng.integers(last + 1)))
        else:
            offset = rng.uniform(0.125, 0.875) * window_px
            corner.append(int(np.clip(centre_yx[axis] - offset, 0, last)))
    return corner[0], corner[1]


def _cut(plane: GreyU8, corner_yx: tuple[int, int], window_px: int) -> GreyU8:
    """A square window; a picture smaller than it is reflected at its far sides."""
    y, x = corner_yx
    part = plane[y : y + window_px, x : x + window_px]
    below, right = window_px - part.shape[0], window_px - part.shape[1]
    if not below and not right:
        return part
    return np.asarray(cv2.copyMakeBorder(part, 0, below, 0, right, cv2.BORDER_REFLECT_101), np.uint8)


def _resized(plane: GreyU8, side_px: int, interpolation: int) -> GreyU8:
    if plane.shape == (side_px, side_px):
        return plane
    return np.asarray(cv2.resize(plane, (side_px, side_px), interpolation=interpolation), np.uint8)


def _turned(image: GreyU8, mask: GreyU8, rng: np.random.Generator) -> tuple[GreyU8, GreyU8]:
    quarter_turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
    turned = [np.rot90(plane, quarter_turns) for plane in (image, mask)]
    if mirrored:
        turned = [plane[:, ::-1] for plane in turned]
    return np.ascontiguousarray(turned[0]), np.ascontiguousarray(turned[1])
