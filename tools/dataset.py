"""Data sets on disk: labelled pictures in one folder, checked before anything is computed.

A folder holds `annotations.json` in COCO style. `images[]` carry id, file_name, width, height and, where they exist,
mask and template (paths relative to the folder); `annotations[]` image_id, category_id, bbox [x, y, w, h] and, where
it exists, segmentation (polygons); `categories[]` id and name, and `"defect": false` for a lawful part that only looks
like one: it counts as background. Masks are 8-bit grey, value = category id, 0 = background. A picture without mask
gets one from its annotations: polygons filled, or else the ellipse inside each box. Where an annotation has a
`mask_bbox`, the box of its pixels in the mask, the margin that the labels keep around defects is known; else it is 0.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.vision.registration import register_template
from tools.errors import DatasetError
from tools.scoring import LabelledBox

GreyU8 = npt.NDArray[np.uint8]
Polygon = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Shape:
    """The outline of one annotation without a mask: polygons in pixels, or none for the ellipse inside its box."""

    class_id: int
    xywh_px: tuple[float, float, float, float]
    polygons: tuple[Polygon, ...]


@dataclass(frozen=True)
class Picture:
    """One labelled picture on disk. `class_of` maps each value of its mask to a class id, 255 to "not allowed"."""

    image_path: Path
    mask_path: Path | None
    template_path: Path | None
    size_hw: tuple[int, int]
    boxes: tuple[LabelledBox, ...]
    shapes: tuple[Shape, ...]
    class_of: bytes

    @property
    def name(self) -> str:
        return self.image_path.stem

    def read_image(self) -> GreyU8:
        """Grey levels, uint8 (H, W)."""
        return _read_grey(self.image_path, self.size_hw)

    def read_mask(self) -> GreyU8:
        """Class ids, uint8 (H, W). Raises DatasetError for a mask value that no category has."""
        if self.mask_path is None:
            return _drawn(self.shapes, self.size_hw)
        raw = _read_grey(self.mask_path, self.size_hw, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
        mask = np.frombuffer(self.class_of, np.uint8)[raw]
        if (mask == 255).any():
            raise DatasetError(
                f"{self.mask_path}: value {int(raw[mask == 255].max())} in the mask is no category's id; "
                "name the category or correct the mask"
            )
        return mask

    def read_template(self) -> GreyU8:
        """The defect-free picture as it is on disk, uint8 (H, W)."""
        if self.template_path is None:
            raise DatasetError(
                f"{self.image_path}: the labels name no template for it; training with template needs one"
            )
        return _read_grey(self.template_path, self.size_hw)

    def read_planes(self, with_template: bool) -> GreyU8:
        """What the network sees: the picture and, if wanted, its registered template, uint8 (planes, H, W)."""
        image = self.read_image()
        if not with_template:
            return image[None]
        return np.stack([image, register_template(image, self.read_template())])


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
        names, class_of = _classes(index["categories"])
        margin_px = _label_margin_px(index["annotations"])
        shapes = _shapes_by_image(index["annotations"], class_of)
        pictures = [_picture(folder, entry, shapes.pop(entry["id"], ()), class_of) for entry in index["images"]]
        if shapes:
            raise ValueError(f"annotations[].image_id {next(iter(shapes))} (no picture has it, or two have)")
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise DatasetError(f"{index_path}: an entry lacks or misspells {exc}; expected COCO style labels") from exc
    if not pictures:
        raise DatasetError(f"{index_path}: lists no pictures; at least one is needed")
    return Dataset(folder, names, tuple(sorted(pictures, key=lambda picture: picture.name)), margin_px)


def check_pictures(dataset: Dataset, with_template: bool = False) -> None:
    """Open every picture, mask and template once. Raises DatasetError that lists what is missing or wrong."""
    wrong = [problem for picture in dataset.pictures for problem in _problems(picture, with_template)]
    if wrong:
        more = f" … and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise DatasetError(f"{dataset.folder}: {'; '.join(wrong[:5])}{more}")


def check_every_class_occurs(datasets: Sequence[Dataset], purpose: str = "to train on") -> None:
    """Raise DatasetError when a class has no example in all of `datasets`: nothing could be learned or said of it."""
    labelled = Counter(box.class_id for d in datasets for picture in d.pictures for box in picture.boxes)
    missing = [name for class_id, name in enumerate(datasets[0].class_names, 1) if not labelled[class_id]]
    if missing:
        folders = ", ".join(str(d.folder) for d in datasets)
        raise DatasetError(
            f"{folders}: no example of {', '.join(missing)} {purpose} (no annotation names it; boxes are needed beside "
            "masks); add some, or drop the category from the labels"
        )


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


def _classes(categories: list[dict[str, Any]]) -> tuple[tuple[str, ...], bytes]:
    """The defect classes' names, and the class id of each mask value: lawful parts are background."""
    ordered = sorted(categories, key=lambda category: int(category["id"]))
    ids = [int(category["id"]) for category in ordered]
    if len(set(ids)) != len(ids) or not all(1 <= number <= 254 for number in ids):
        raise ValueError("categories[].id (each must be given once and lie in 1..254)")
    class_of = [0] + [255] * 255
    names: list[str] = []
    for category in ordered:
        defect = category.get("defect", True)
        class_of[int(category["id"])] = len(names) + 1 if defect else 0
        names += [str(category["name"])] if defect else []
    if not names:
        raise ValueError("categories[] (none is a defect)")
    return tuple(names), bytes(class_of)


def _shapes_by_image(annotations: list[dict[str, Any]], class_of: bytes) -> dict[int, tuple[Shape, ...]]:
    shapes: dict[int, list[Shape]] = {}
    for entry in annotations:
        x, y, width, height = (float(value) for value in entry["bbox"])
        number = int(entry["category_id"])
        class_id = class_of[number] if 0 <= number <= 255 else 255
        polygons = _polygons(entry.get("segmentation"))
        if class_id:
            shapes.setdefault(entry["image_id"], []).append(Shape(class_id, (x, y, width, height), polygons))
    return {image_id: tuple(found) for image_id, found in shapes.items()}


def _polygons(segmentation: Any) -> tuple[Polygon, ...]:
    if not segmentation:
        return ()
    if not isinstance(segmentation, list) or any(len(flat) < 6 or len(flat) % 2 for flat in segmentation):
        raise ValueError("segmentation (only polygons are read: lists of x, y, x, y, … with three corners or more)")
    return tuple(tuple(zip(flat[::2], flat[1::2], strict=True)) for flat in segmentation)


def _label_margin_px(annotations: list[dict[str, Any]]) -> int:
    margins = [_margins_px(entry["bbox"], entry["mask_bbox"]) for entry in annotations if "mask_bbox" in entry]
    return max(0, round(float(np.median(margins)))) if margins else 0


def _margins_px(outer_xywh: list[int], inner_xywh: list[int]) -> tuple[int, int, int, int]:
    (x, y, width, height), (inner_x, inner_y, inner_width, inner_height) = outer_xywh, inner_xywh
    right, below = x + width - inner_x - inner_width, y + height - inner_y - inner_height
    return inner_x - x, inner_y - y, right, below


def _picture(folder: Path, entry: dict[str, Any], shapes: tuple[Shape, ...], class_of: bytes) -> Picture:
    mask, template = (folder / entry[key] if entry.get(key) else None for key in ("mask", "template"))
    return Picture(
        image_path=folder / entry["file_name"],
        mask_path=mask,
        template_path=template,
        size_hw=(int(entry["height"]), int(entry["width"])),
        boxes=tuple(_labelled_box(shape) for shape in shapes),
        shapes=shapes if mask is None else (),
        class_of=class_of,
    )


def _labelled_box(shape: Shape) -> LabelledBox:
    x, y, width, height = shape.xywh_px
    return LabelledBox(shape.class_id, (round(x), round(y), round(x + width), round(y + height)))


def _problems(picture: Picture, with_template: bool) -> list[str]:
    problems = []
    for read in (picture.read_image, picture.read_mask, *([picture.read_template] if with_template else [])):
        try:
            read()
        except DatasetError as exc:
            problems.append(str(exc))
    height, width = picture.size_hw
    for box in picture.boxes:
        x0, y0, x1, y1 = box.xyxy_px
        if box.class_id == 255:
            problems.append(f"{picture.image_path}: an annotation names no listed category")
        elif not (x0 < x1 and y0 < y1 and x1 > 0 and y1 > 0 and x0 < width and y0 < height):
            problems.append(f"{picture.image_path}: box {box.xyxy_px} is empty or outside the picture")
    return problems


def _drawn(shapes: Sequence[Shape], size_hw: tuple[int, int]) -> GreyU8:
    mask = np.zeros(size_hw, np.uint8)
    for shape in shapes:
        if shape.polygons:
            outlines = [np.rint(np.array(polygon)).astype(np.int32) for polygon in shape.polygons]
            cv2.fillPoly(mask, outlines, shape.class_id)
        else:
            x, y, width, height = shape.xywh_px
            centre, axes = (round(x + width / 2), round(y + height / 2)), (round(width / 2), round(height / 2))
            cv2.ellipse(mask, centre, axes, 0, 0, 360, shape.class_id, cv2.FILLED)
    return mask


def _read_grey(path: Path, size_hw: tuple[int, int], flags: int = cv2.IMREAD_GRAYSCALE) -> GreyU8:
    image = cv2.imread(str(path), flags)
    if image is None:
        raise DatasetError(f"{path}: {'not a readable picture' if path.exists() else 'missing'}")
    if image.shape != size_hw:
        raise DatasetError(f"{path}: {image.shape[1]}x{image.shape[0]} px, the labels say {size_hw[1]}x{size_hw[0]}")
    if image.dtype != np.uint8:
        raise DatasetError(f"{path}: {image.dtype} values; masks are 8-bit grey, value = category id")
    return np.asarray(image, np.uint8)
