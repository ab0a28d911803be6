"""Masks of labelled pictures through the device's own vision code, and their scores.

Needs only a segmenter: a bundle's predictor, a float network, anything with `interfaces.Segmenter`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_runtime.interfaces import Segmenter
from edge_runtime.pictures import grey_of, read_grey_picture, read_picture
from edge_runtime.values import Defect, DefectClass, Mask, Recipe
from edge_runtime.vision.blobs import find_defects
from edge_runtime.vision.preprocess import cut_tile
from edge_runtime.vision.registration import register_template
from edge_runtime.vision.stitching import mask_hw, place_core
from edge_runtime.vision.tile_plan import tiles_for
from tools.dataset import Dataset, Picture
from tools.errors import DatasetError
from tools.evaluation.candidates import find_candidates
from tools.scoring import (
    ScoredPicture,
    Scores,
    mean_average_precision,
    of_class,
    score_pictures,
    scored_picture,
)

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8, InputContract


RECIPE = Recipe("evaluation", join_px=6)
PLATEAU = 0.004
THRESHOLDS = (16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 232, 240, 246, 250)
ALL = "all"


@dataclass(frozen=True)
class Segmented:
    """A labelled picture, the margin its labels keep around a defect, and the mask a model gave for it."""

    picture: Picture
    label_margin_px: int
    mask: Mask


def segment_picture(segmenter: Segmenter, image: ImageU8, template: ImageU8 | None = None) -> Mask:
    """The stitched mask of a whole picture, uint8 (H, W, 3) BGR.

    `template`, grey (H, W) and already registered, is given exactly if the model takes one.
    """
    contract, stride_px = segmenter.input_contract, segmenter.mask_stride_px
    image_hw = (image.shape[0], image.shape[1])
    plan = tiles_for(contract, stride_px, image_hw, RECIPE)
    planes = [np.zeros(mask_hw(image_hw, stride_px), np.uint8) for _ in range(2)]
    for index, origin_yx in enumerate(plan.origins_yx):
        cut = None if template is None else cut_tile(template, origin_yx, contract.tile_px)
        answers = segmenter.predict(cut_tile(image, origin_yx, contract.tile_px), cut)
        for plane, answer in zip(planes, answers, strict=True):
            place_core(plane, answer, plan, index, stride_px)
    return Mask(planes[0], planes[1], stride_px)


def segment_labelled(segmenter: Segmenter, picture: Picture) -> Mask:
    """The mask of a labelled picture, read as the device reads it. Raises CameraError, DatasetError."""
    return segment_picture(segmenter, *read_inputs(picture, segmenter.input_contract))


def read_inputs(picture: Picture, contract: InputContract) -> tuple[ImageU8, ImageU8 | None]:
    """The picture, BGR (H, W, 3), and its registered template where the contract has one."""
    image = read_picture(picture.image_path)
    _check_size(picture.image_path, image, picture)
    if not contract.template:
        return image, None
    if picture.template_path is None:
        raise DatasetError(f"{picture.image_path}: the model takes a template, and the labels name none for it")
    template = read_grey_picture(picture.template_path)
    _check_size(picture.template_path, template, picture)
    return image, register_template(grey_of(image), template)


def _check_size(path: Path, pixels: ImageU8, picture: Picture) -> None:
    """As stored: other readers turn a picture by its EXIF data, the device does not."""
    if pixels.shape[:2] != picture.size_hw:
        read, labelled = (f"{width}x{height}" for height, width in (pixels.shape[:2], picture.size_hw))
        raise DatasetError(
            f"{path}: the device reads {read} px, the labels say {labelled}; save it without EXIF rotation"
        )


def segment_all(segmenter: Segmenter, dataset: Dataset) -> Iterator[Segmented]:
    for picture in dataset.pictures:
        yield Segmented(picture, dataset.label_margin_px, segment_labelled(segmenter, picture))


def score_masks(
    segmented: Iterable[Segmented], classes: Sequence[DefectClass], recipe: Recipe = RECIPE
) -> list[ScoredPicture]:
    """The defects of each mask at the classes' thresholds, as the device finds them, beside the picture's labels."""
    return [_scored(one, find_defects(one.mask, classes, recipe, one.picture.size_hw)) for one in segmented]


def score_candidates(
    segmented: Iterable[Segmented], classes: Sequence[DefectClass], recipe: Recipe = RECIPE
) -> list[ScoredPicture]:
    """Everything a mask hints at beside the labels, whatever the thresholds: what average precision needs."""
    return [_scored(one, find_candidates(one.mask, classes, recipe, one.picture.size_hw)) for one in segmented]


def _scored(one: Segmented, defects: Sequence[Defect]) -> ScoredPicture:
    return scored_picture(defects, one.picture.boxes, one.label_margin_px, one.picture.size_hw)


def scores_by_class(
    pictures: Sequence[ScoredPicture],
    classes: Sequence[DefectClass],
    candidates: Sequence[ScoredPicture] | None = None,
) -> dict[str, Scores]:
    """Scores of all classes together under `all`, then of each class under its name.

    Average precision is that of `candidates`; without them it ends at the thresholds' recall.
    """
    ranked = pictures if candidates is None else candidates
    scores = {ALL: _scores(pictures, ranked)}
    for known in classes:
        scores[known.name] = _scores(of_class(pictures, known.class_id), of_class(ranked, known.class_id))
    return scores


def _scores(pictures: Sequence[ScoredPicture], ranked: Sequence[ScoredPicture]) -> Scores:
    return replace(score_pictures(pictures), average_precision=mean_average_precision(ranked))


def try_thresholds(
    score: Callable[[Sequence[DefectClass]], Sequence[ScoredPicture]], classes: Sequence[DefectClass]
) -> dict[int, list[tuple[int, Scores]]]:
    """Each class's own scores, by class id, at each threshold of `THRESHOLDS`.

    `score` gives the pictures' boxes for one set of thresholds; candidates are tried on all classes at once.
    """
    tried: dict[int, list[tuple[int, Scores]]] = {known.class_id: [] for known in classes}
    for threshold in THRESHOLDS:
        pictures = score([replace(known, threshold=threshold) for known in classes])
        for known in classes:
            tried[known.class_id].append((threshold, score_pictures(of_class(pictures, known.class_id))))
    return tried


def choose_thresholds(
    score: Callable[[Sequence[DefectClass]], Sequence[ScoredPicture]], classes: Sequence[DefectClass]
) -> tuple[DefectClass, ...]:
    """Each class with the middle of the thresholds whose own F score comes within `PLATEAU` of the best.

    The best one alone is chance on few pictures. `score` as in `try_thresholds`. A class without labels keeps its
    threshold.
    """
    return best_thresholds(try_thresholds(score, classes), classes)


def best_thresholds(
    tried: Mapping[int, Sequence[tuple[int, Scores]]], classes: Sequence[DefectClass]
) -> tuple[DefectClass, ...]:
    return tuple(replace(known, threshold=_middle_of_best(tried[known.class_id], known.threshold)) for known in classes)


def _middle_of_best(tried: Sequence[tuple[int, Scores]], otherwise: int) -> int:
    top = max(scores.f_score for _, scores in tried)
    good = [threshold for threshold, scores in tried if scores.f_score >= top - PLATEAU]
    return good[len(good) // 2] if top > 0 else otherwise
