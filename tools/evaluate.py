"""`evaluate`: a bundle on labelled pictures, through the same vision code as on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_runtime.inference.bundle import load_bundle
from edge_runtime.inference.paddle_lite import PaddleLiteSegmenter
from edge_runtime.interfaces import Segmenter
from edge_runtime.values import Defect, DefectClass, Mask, Recipe
from edge_runtime.vision.blobs import find_defects
from edge_runtime.vision.preprocess import TilePreprocessor
from edge_runtime.vision.stitching import mask_hw, place_core
from edge_runtime.vision.tiling import plan_grid
from tools.dataset import Dataset, Picture, gray_to_bgr
from tools.scoring import ScoredPicture, Scores, of_class, score_pictures, scored_picture

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8


JOIN_PX = 6
THRESHOLDS = (64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 232, 240, 246, 250)


@dataclass(frozen=True)
class Segmented:
    """A labelled picture, the margin its labels keep around a defect, and the mask a model gave for it."""

    picture: Picture
    label_margin_px: int
    mask: Mask


def evaluate_bundle(folder: Path, dataset: Dataset) -> dict[str, Scores]:
    """Scores of a bundle on labelled pictures, by class and for all; runs the predictor in this process."""
    bundle = load_bundle(folder)
    segmenter = PaddleLiteSegmenter(bundle, threads=1)
    try:
        segmented = list(segment_all(segmenter, dataset))
    finally:
        segmenter.close()
    return scores_by_class(score_masks(segmented, bundle.classes), bundle.classes)


def segment_picture(segmenter: Segmenter, image: ImageU8) -> Mask:
    """The stitched mask of a whole picture, uint8 (H, W, 3) BGR."""
    contract, stride_px = segmenter.input_contract, segmenter.mask_stride_px
    image_hw = (image.shape[0], image.shape[1])
    grid = plan_grid(image_hw, contract.tile_px, contract.margin_px, contract.stride_px)
    preprocessor = TilePreprocessor(contract)
    planes = [np.zeros(mask_hw(image_hw, stride_px), np.uint8) for _ in range(2)]
    for index, origin_yx in enumerate(grid.origins_yx):
        answers = segmenter.predict(preprocessor.tile(image, origin_yx))
        for plane, answer in zip(planes, answers, strict=True):
            place_core(plane, answer, grid, index, stride_px)
    return Mask(planes[0], planes[1], stride_px)


def segment_all(segmenter: Segmenter, dataset: Dataset) -> Iterator[Segmented]:
    for picture in dataset.pictures:
        mask = segment_picture(segmenter, gray_to_bgr(picture.read_image()))
        yield Segmented(picture, dataset.label_margin_px, mask)


def score_masks(segmented: Sequence[Segmented], classes: Sequence[DefectClass]) -> list[ScoredPicture]:
    """The defects of each mask beside the picture's labels."""
    recipe = Recipe("evaluation", join_px=JOIN_PX)
    return [_scored(one, find_defects(one.mask, classes, recipe, one.picture.size_hw)) for one in segmented]


def _scored(one: Segmented, defects: Sequence[Defect]) -> ScoredPicture:
    return scored_picture(defects, one.picture.boxes, one.label_margin_px, one.picture.size_hw)


def scores_by_class(pictures: Sequence[ScoredPicture], classes: Sequence[DefectClass]) -> dict[str, Scores]:
    """Scores of all classes together under `all`, then of each class under its name."""
    each = {entry.name: score_pictures(of_class(pictures, entry.class_id)) for entry in classes}
    return {"all": score_pictures(pictures), **each}


def choose_thresholds(
    score: Callable[[Sequence[DefectClass]], Sequence[ScoredPicture]], classes: Sequence[DefectClass]
) -> tuple[DefectClass, ...]:
    """Each class with the threshold of `THRESHOLDS` at which its own F score is best, the middle one on a tie.

    `score` gives the pictures' boxes for one set of thresholds; candidates are tried on all classes at once.
    """
    best: dict[int, list[tuple[float, int]]] = {entry.class_id: [] for entry in classes}
    for threshold in THRESHOLDS:
        pictures = score([replace(entry, threshold=threshold) for entry in classes])
        for entry in classes:
            best[entry.class_id].append((score_pictures(of_class(pictures, entry.class_id)).f_score, threshold))
    return tuple(replace(entry, threshold=_middle_of_best(best[entry.class_id])) for entry in classes)


def _middle_of_best(tried: Sequence[tuple[float, int]]) -> int:
    top = max(f_score for f_score, _ in tried)
    equal = [threshold for f_score, threshold in tried if f_score == top]
    return equal[len(equal) // 2]
