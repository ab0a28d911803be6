"""Training crops: a pure function of pictures and a random generator.

Half of the crops lie around a defect (classes drawn evenly), the other half anywhere. Each is scaled, turned and given
other grey levels; a template goes through the same turns and is moved a little besides.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict

from edge_runtime.vision.preprocess import value_table
from tools.dataset import Dataset, GreyU8, Picture
from tools.errors import ToolError
from tools.scoring import LabelledBox

FloatArray = npt.NDArray[np.float32]
MEAN = 0.5
STD = 0.25
Planes = Callable[[Picture], tuple[GreyU8, GreyU8]]


@dataclass(frozen=True)
class Augmentation:
    """How far a crop may leave its picture.

    `scale_max`: half of the crops are scaled by up to this factor. `camera_share`: share of the crops of two-level
    scans that are given grey levels, blur and noise as a camera sees them (copper bright). `light`: strength of
    brightness, contrast, slope of light and noise on other pictures, 0 to 1. `template_shift_px`: the template is moved
    by up to this much.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    scale_max: float = 1.25
    camera_share: float = 0.0
    light: float = 1.0
    template_shift_px: int = 2
    defect_share: float = 0.5
    turn: bool = True

    def __post_init__(self) -> None:
        shares = (self.camera_share, self.light, self.defect_share)
        if not all(0 <= share <= 1 for share in shares):
            raise ToolError(f"augmentation: camera_share, light and defect_share must lie in 0..1, not {shares}")
        if not 1 <= self.scale_max <= 4 or not 0 <= self.template_shift_px <= 16:
            raise ToolError(
                f"augmentation: scale_max {self.scale_max} must lie in 1..4, template_shift_px "
                f"{self.template_shift_px} in 0..16"
            )


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


def read_planes(with_template: bool) -> Planes:
    """Reads a picture's input planes (planes, H, W) and its mask (H, W)."""
    return lambda picture: (picture.read_planes(with_template), picture.read_mask())


def make_batch(
    sources: Sequence[CropSource],
    shares: Sequence[float],
    crop_px: int,
    count: int,
    stride_px: int,
    augmentation: Augmentation,
    read: Planes,
    rng: np.random.Generator,
) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Inputs float32 (count, planes, crop_px, crop_px) and class ids int64 (count, crop_px / stride_px, …).

    `shares` are the probabilities of the sources, up to a factor; `stride_px` is the network's output stride.
    """
    chosen = rng.choice(len(sources), size=count, p=np.asarray(shares) / np.sum(shares))
    crops = [make_crop(sources[index], crop_px, augmentation, read, rng) for index in chosen]
    images = np.stack([to_input(planes) for planes, _ in crops])
    return images, np.stack([coarse_mask(mask, stride_px) for _, mask in crops]).astype(np.int64)


def make_crop(
    source: CropSource, crop_px: int, augmentation: Augmentation, read: Planes, rng: np.random.Generator
) -> tuple[GreyU8, GreyU8]:
    """One augmented crop: planes uint8 (planes, crop_px, crop_px) and class ids uint8 (crop_px, crop_px)."""
    picture, centre_yx = _choose_place(source, augmentation.defect_share, rng)
    scale = _scale(augmentation.scale_max, rng)
    window_px = max(8, round(crop_px / scale))
    corner_yx = _window(picture.size_hw, centre_yx, window_px, rng)
    planes, mask = read(picture)
    parts = [_cut(plane, corner_yx, window_px) for plane in planes]
    if len(parts) == 2:
        parts[1] = _cut(planes[1], _nearby(corner_yx, augmentation.template_shift_px, rng), window_px)
    resized = [_resized(part, crop_px, cv2.INTER_LINEAR) for part in parts]
    turned = _turned(
        [*resized, _resized(_cut(mask, corner_yx, window_px), crop_px, cv2.INTER_NEAREST)], augmentation, rng
    )
    return np.stack(_vary_grey(turned[:-1], augmentation, rng)), turned[-1]


def to_input(planes: GreyU8) -> FloatArray:
    """The input contract's arithmetic: (pixel / 255 - mean) / std."""
    return value_table(MEAN, STD)[planes]


def coarse_mask(mask: GreyU8, stride_px: int) -> GreyU8:
    """Class ids at the output stride: a cell is defective when any of its pixels is, so thin defects survive.

    Where classes meet in one cell the highest id wins. The sides must be multiples of `stride_px`.
    """
    height, width = (length // stride_px for length in mask.shape)
    cells = mask.reshape(height, stride_px, width, stride_px)
    return np.asarray(cells.max(axis=(1, 3)), np.uint8)


def is_two_level(image: GreyU8) -> bool:
    """Whether nearly all of a picture is black or white; scaling leaves grey edges, hence nearly."""
    return np.count_nonzero((image < 8) | (image > 247)) > 0.8 * image.size


def _vary_grey(planes: list[GreyU8], augmentation: Augmentation, rng: np.random.Generator) -> list[GreyU8]:
    """Other light and optics, each plane its own; a two-level picture stays one, or becomes a camera's as a whole."""
    if is_two_level(planes[0]):
        if rng.random() >= augmentation.camera_share:
            return [np.where(plane < 128, 0, 255).astype(np.uint8) for plane in planes]
        return [_as_camera(plane, rng) for plane in planes]
    return [_relit(plane, augmentation.light, rng) for plane in planes]


def _as_camera(plane: GreyU8, rng: np.random.Generator) -> GreyU8:
    levels = rng.uniform(40, 110) + rng.uniform(50, 130) / 255 * (255 - plane.astype(np.float32))
    blurred = np.asarray(cv2.GaussianBlur(levels, (0, 0), rng.uniform(0.5, 1.3)), np.float32)
    return _clipped(blurred + _gradient(plane.shape, 25.0, rng) + rng.normal(0.0, rng.uniform(1.0, 7.0), plane.shape))


def _relit(plane: GreyU8, light: float, rng: np.random.Generator) -> GreyU8:
    if light <= 0:
        return plane
    levels = (plane.astype(np.float32) - 110) * rng.uniform(1 - 0.2 * light, 1 + 0.2 * light) + 110
    levels += rng.uniform(-15, 15) * light + _gradient(plane.shape, 25.0 * light, rng)
    return _clipped(levels + rng.normal(0.0, rng.uniform(0.5, 5.0) * light, plane.shape))


def _clipped(levels: npt.NDArray[np.floating]) -> GreyU8:
    return np.clip(levels, 0, 255).astype(np.uint8)


def _gradient(shape_hw: tuple[int, ...], rise_max: float, rng: np.random.Generator) -> FloatArray:
    """A light slope across the picture, up to `rise_max` levels from edge to edge."""
    rise = rng.uniform(-rise_max, rise_max, size=2)
    y = np.linspace(-0.5, 0.5, shape_hw[0], dtype=np.float32)[:, None]
    x = np.linspace(-0.5, 0.5, shape_hw[1], dtype=np.float32)[None, :]
    return np.asarray(y * rise[0] + x * rise[1], np.float32)


def _scale(scale_max: float, rng: np.random.Generator) -> float:
    if rng.random() < 0.5:
        return 1.0
    return float(np.exp(rng.uniform(-np.log(scale_max), np.log(scale_max))))


def _choose_place(
    source: CropSource, defect_share: float, rng: np.random.Generator
) -> tuple[Picture, tuple[int, int] | None]:
    if source.by_class and rng.random() < defect_share:
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


def _nearby(corner_yx: tuple[int, int], reach_px: int, rng: np.random.Generator) -> tuple[int, int]:
    """A corner a little away, still inside the picture on the near sides."""
    dy, dx = rng.integers(-reach_px, reach_px + 1, size=2).tolist()
    return max(0, corner_yx[0] + dy), max(0, corner_yx[1] + dx)


def _cut(plane: GreyU8, corner_yx: tuple[int, int], window_px: int) -> GreyU8:
    """A square window; what lies beyond the picture's far sides is reflected."""
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


def _turned(planes: list[GreyU8], augmentation: Augmentation, rng: np.random.Generator) -> list[GreyU8]:
    if not augmentation.turn:
        return planes
    quarter_turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
    turned = [np.rot90(plane, quarter_turns) for plane in planes]
    if mirrored:
        turned = [plane[:, ::-1] for plane in turned]
    return [np.ascontiguousarray(plane) for plane in turned]
