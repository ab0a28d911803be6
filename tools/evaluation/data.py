"""A data set made ready for a bundle: everything that could be wrong is said before the first tile is computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edge_runtime.inference.bundle import Bundle
from edge_runtime.values import DefectClass
from tools.dataset import Dataset, Picture, check_pictures, load_dataset
from tools.errors import DatasetError


def labelled_for(folder: Path, bundle: Bundle, allow_absent: bool = False) -> Dataset:
    """The labels of `folder` with the bundle's class ids, every file opened once.

    Raises DatasetError for files that are missing or wrong, for labels that name other classes than the bundle, and,
    unless `allow_absent`, for a class without a single example: nothing could be said of it.
    """
    dataset = with_class_ids(load_dataset(folder), bundle.classes)
    check_pictures(dataset, bundle.input_contract.template)
    absent = absent_classes(dataset, bundle.classes)
    if absent and not allow_absent:
        raise DatasetError(
            f"{folder}: no example of {', '.join(absent)}; add pictures that show some, or give --allow-absent and the "
            "figures leave out what they cannot tell"
        )
    return dataset


def with_class_ids(dataset: Dataset, classes: Sequence[DefectClass]) -> Dataset:
    """The data set with the class ids that `classes` give to the same names. Raises DatasetError for other names."""
    ids = {known.name: known.class_id for known in classes}
    if set(ids) != set(dataset.class_names):
        raise DatasetError(
            f"{dataset.folder}: the labels name {', '.join(sorted(dataset.class_names))}, the model "
            f"{', '.join(sorted(ids))}; take a data set of the same classes"
        )
    new_ids = [0, *(ids[name] for name in dataset.class_names)]
    if 255 in new_ids:
        raise DatasetError("class id 255 stands for values that are not allowed in masks; number the classes from 1")
    return replace(dataset, pictures=tuple(_renumbered(picture, new_ids) for picture in dataset.pictures))


def absent_classes(dataset: Dataset, classes: Sequence[DefectClass]) -> list[str]:
    labelled = Counter(box.class_id for picture in dataset.pictures for box in picture.boxes)
    return [known.name for known in classes if not labelled[known.class_id]]


def _renumbered(picture: Picture, new_ids: Sequence[int]) -> Picture:
    def new(class_id: int) -> int:
        return new_ids[class_id] if class_id < len(new_ids) else 255

    return replace(
        picture,
        boxes=tuple(replace(box, class_id=new(box.class_id)) for box in picture.boxes),
        shapes=tuple(replace(shape, class_id=new(shape.class_id)) for shape in picture.shapes),
        class_of=bytes(new(class_id) for class_id in picture.class_of),
    )
