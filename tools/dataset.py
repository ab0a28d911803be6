"""Data sets on disk: pictures, class-id masks and boxes in one folder, checked before anything is computed.

A folder holds `annotations.json` in COCO style; `images[]` carry id, file_name, mask, width and height (paths relative
to the folder), `annotations[]` image_id, category_id and bbox [x, y, w, h], `categories[]` id and name. Masks are 8-bit
grey, value = class id, 0 = background. Where an annotation has a `mask_bbox`, the box of its pixels in the mask, the
margin that the labels keep around defects is known; without one it is taken as 0.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tools.errors import DatasetError
from tools.paddle_first import cv2
from tools.scoring import LabelledBox

GreyU8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """One labelled picture on disk."""

    image_path: Path
    mask_path: Path
    size_hw: tuple[int, int]
    boxes: tuple[LabelledBox, ...]

    @property
    def name(self) -> str:
        return self.image_path.stem

    def read_image(self) -> GreyU8:
        """Grey levels, uint8 (H, W)."""
        return _read_grey(self.image_path, self.size_hw)

    def read_mask(self) -> GreyU8:
        """Class ids, uint8 (H, W)."""
        return _read_grey(self.mask_path, self.size_hw)


@dataclass(frozen=True)
class Dataset:
    """The labelled pictures of one folder, sorted by name; `class_names[0]` is class 1.

    `label_margin_px` is how far the labels' boxes reach beyond the defects' pixels, at the median.
    """

    folder: Path
    class_names: tuple[str, ...]
    pictures: tuple[Picture, ...]
    label_margin_px: int

    def split(self, holdout_every: int) -> tuple[Dataset, Dataset]:
        """All but every `holdout_every`-th picture, and those; both keep the order."""
        held = self.pictures[::holdout_every]
        kept = tuple(p for i, p in enumerate(self.pictures) if i % holdout_every)
        return replace(self, pictures=kept), replace(self, pictures=held)


def load_dataset(folder: Path) -> Dataset:
    """Read the labels of `folder`. Raises DatasetError; opens no picture (`check_pictures` does)."""
    index_path = folder / "annotations.json"
    try:
        index = json.loads(index_path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise DatasetError(f"{folder}: no annotations.json ({exc.strerror}); give a data set's folder") from exc
    except ValueError as exc:
        raise DatasetError(f"{index_path}: not JSON ({exc})") from exc
    try:
        names = _class_names(index["categories"])
        boxes = _boxes_by_image(index["annotations"])
        margin_px = _label_margin_px(index["annotations"])
        pictures = [_picture(folder, entry, boxes.get(entry["id"], ())) for entry in index["images"]]
    except (KeyError, TypeError, ValueError) as exc:
        raise DatasetError(f"{index_path}: an entry lacks or misspells {exc}; expected COCO style labels") from exc
    if not pictures:
        raise DatasetError(f"{index_path}: lists no pictures; at least one is needed")
    return Dataset(folder, names, tuple(sorted(pictures, key=lambda picture: picture.name)), margin_px)


def check_pictures(dataset: Dataset) -> None:
    """Open every picture and mask once. Raises DatasetError that lists what is missing, of another size or class."""
    wrong = [problem for picture in dataset.pictures for problem in _problems(picture, len(dataset.class_names))]
    if wrong:
        more = f" … and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise DatasetError(f"{dataset.folder}: {'; '.join(wrong[:5])}{more}")


def same_classes(datasets: Sequence[Dataset]) -> tuple[str, ...]:
    """The class names all of `datasets` agree on, or DatasetError."""
    names = {dataset.class_names for dataset in datasets}
    if len(names) != 1:
        listed = "; ".join(f"{d.folder}: {', '.join(d.class_names)}" for d in datasets)
        raise DatasetError(f"the data sets name different classes ({listed})")
    return names.pop()


def gray_to_bgr(image: GreyU8) -> GreyU8:
    """The picture as cameras give it: (H, W, 3), three equal channels."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), np.uint8)


def _class_names(categories: list[dict[str, Any]]) -> tuple[str, ...]:
    ordered = sorted(categories, key=lambda category: int(category["id"]))
    if [c["id"] for c in ordered] != list(range(1, len(ordered) + 1)):
        raise ValueError("categories[].id (they must count from 1)")
    return tuple(str(c["name"]) for c in ordered)


def _boxes_by_image(annotations: list[dict[str, Any]]) -> dict[int, tuple[LabelledBox, ...]]:
    boxes: dict[int, tuple[LabelledBox, ...]] = {}
    for entry in annotations:
        x, y, width, height = (int(v) for v in entry["bbox"])
        box = LabelledBox(int(entry["category_id"]), (x, y, x + width, y + height))
        boxes[entry["image_id"]] = (*boxes.get(entry["image_id"], ()), box)
    return boxes


def _label_margin_px(annotations: list[dict[str, Any]]) -> int:
    margins = [_margins_px(entry["bbox"], entry["mask_bbox"]) for entry in annotations if "mask_bbox" in entry]
    return max(0, round(float(np.median(margins)))) if margins else 0


def _margins_px(outer_xywh: list[int], inner_xywh: list[int]) -> tuple[int, int, int, int]:
    (x, y, width, height), (inner_x, inner_y, inner_width, inner_height) = outer_xywh, inner_xywh
    right, below = x + width - inner_x - inner_width, y + height - inner_y - inner_height
    return inner_x - x, inner_y - y, right, below


def _picture(folder: Path, entry: dict[str, Any], boxes: tuple[LabelledBox, ...]) -> Picture:
    size_hw = (int(entry["height"]), int(entry["width"]))
    return Picture(folder / entry["file_name"], folder / entry["mask"], size_hw, boxes)


def _problems(picture: Picture, class_count: int) -> list[str]:
    try:
        picture.read_image()
        top = int(picture.read_mask().max())
    except DatasetError as exc:
        return [str(exc)]
    wrong_boxes = [b.class_id for b in picture.boxes if not 1 <= b.class_id <= class_count]
    problems = (
        [f"{picture.mask_path}: class {top} in the mask, the labels name {class_count}"] if top > class_count else []
    )
    return problems + [f"{picture.image_path}: box of unknown class {class_id}" for class_id in wrong_boxes]


def _read_grey(path: Path, size_hw: tuple[int, int]) -> GreyU8:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise DatasetError(f"{path}: {'not a readable picture' if path.exists() else 'missing'}")
    if image.shape != size_hw:
        raise DatasetError(f"{path}: {image.shape[1]}x{image.shape[0]} px, the labels say {size_hw[1]}x{size_hw[0]}")
    return np.asarray(image, np.uint8)
