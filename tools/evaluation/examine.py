"""What is learnt of one picture: its defects, candidates, cells and verdict against its labels."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import cv2

from edge_runtime.errors import BundleError
from edge_runtime.inference.bundle import Bundle, load_bundle
from edge_runtime.inference.scripted import ScriptedSegmenter
from edge_runtime.interfaces import Segmenter
from edge_runtime.values import Defect, DefectClass, Outcome
from edge_runtime.vision.blobs import find_defects
from edge_runtime.vision.decision import decide
from tools.dataset import Dataset, Picture
from tools.evaluate import RECIPE, Segmented, segment_labelled
from tools.evaluation.candidates import find_candidates
from tools.evaluation.cells import Confusion, cell_confusion
from tools.evaluation.kept_masks import PackedMask, pack_mask
from tools.predictors import PADDLE_LITE, Predictor, sized_for
from tools.scoring import ScoredPicture, scored_picture


@dataclass(frozen=True)
class ModelSpec:
    """A bundle as a worker opens it, with tiles of `tile_px`; None: its usual ones.

    The backend `scripted` is for tests without a network.
    """

    folder: Path
    digest: str
    predictor: Predictor = PADDLE_LITE
    tile_px: int | None = None


def spec_for(bundle: Bundle, predictor: Predictor, dataset: Dataset) -> ModelSpec:
    """With the tiles that suit the data set's pictures. Raises BundleError."""
    sized = sized_for(predictor, bundle, [picture.size_hw for picture in dataset.pictures])
    return ModelSpec(bundle.folder, bundle.digest, predictor, sized.tile_px)


@dataclass(frozen=True)
class Examined:
    """One picture: defects as the device finds them, beside the labels, and every candidate beside the labels.

    `packed` is the mask, where it is wanted again; `segment_ms` and `judge_ms` are this process's time for the mask and
    for the rest.
    """

    picture: Picture
    defects: tuple[Defect, ...]
    boxes: ScoredPicture
    candidates: ScoredPicture
    cells: Confusion
    outcome: Outcome
    packed: PackedMask | None = None
    segment_ms: float = 0.0
    judge_ms: float = 0.0

    @property
    def defective(self) -> bool:
        """What the labels say of the part."""
        return bool(self.boxes.truth)

    def without_mask(self) -> Examined:
        return replace(self, packed=None)


def examine(one: Segmented, classes: Sequence[DefectClass]) -> Examined:
    """Judge one mask by its labels. Raises DatasetError for a damaged label mask."""
    image_hw, labels = one.picture.size_hw, one.picture.boxes
    defects = find_defects(one.mask, classes, RECIPE, image_hw)
    candidates = find_candidates(one.mask, classes, RECIPE, image_hw)
    return Examined(
        picture=one.picture,
        defects=tuple(defects),
        boxes=scored_picture(defects, labels, one.label_margin_px, image_hw),
        candidates=scored_picture(candidates, labels, one.label_margin_px, image_hw),
        cells=cell_confusion(one.mask, one.picture.read_mask(), classes),
        outcome=decide(defects, RECIPE, {known.class_id: known.name for known in classes})[0],
    )


def examine_picture(spec: ModelSpec, label_margin_px: int, keep_mask: bool, picture: Picture) -> Examined:
    """Segment and judge one picture in this process, which keeps its predictor for the next call. It may abort."""
    bundle, segmenter = opened(spec)
    began_s = time.perf_counter()
    segmented = Segmented(picture, label_margin_px, segment_labelled(segmenter, picture))
    segmented_s = time.perf_counter()
    with fitting_manifest(bundle):
        judged = examine(segmented, bundle.classes)
    packed = pack_mask(segmented.mask) if keep_mask else None
    done_s = time.perf_counter()
    return replace(
        judged,
        packed=packed,
        segment_ms=(segmented_s - began_s) * 1000,
        judge_ms=(done_s - segmented_s) * 1000,
    )


@contextmanager
def fitting_manifest(bundle: Bundle) -> Iterator[None]:
    """What the device's code says of a mask that the manifest does not describe, as BundleError."""
    try:
        yield
    except ValueError as exc:
        raise BundleError(f"{bundle.folder}: {exc}; correct the manifest's classes and pack a new version") from exc


@lru_cache(maxsize=2)
def opened(spec: ModelSpec) -> tuple[Bundle, Segmenter]:
    """The bundle and its predictor, opened once a process. Raises BundleError, InferenceError."""
    cv2.setNumThreads(1)
    bundle = replace(load_bundle(spec.folder), tile_px=spec.tile_px)
    if bundle.digest != spec.digest:
        raise BundleError(f"{spec.folder}: changed while it was evaluated; start again")
    if spec.predictor.backend == "scripted":
        class_ids = [known.class_id for known in bundle.classes]
        return bundle, ScriptedSegmenter(bundle.input_contract, bundle.mask_stride_px, classes=class_ids)
    return bundle, spec.predictor.open(bundle)
