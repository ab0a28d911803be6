"""What the simulator answers against the float network: on golden tiles, and on a data set in defects and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_runtime.inference.bundle import Bundle
from edge_runtime.inference.golden import compare
from edge_runtime.inference.proof import run_golden
from edge_runtime.interfaces import Segmenter
from edge_runtime.values import Mask
from tools.dataset import Dataset, Picture
from tools.evaluate import RECIPE, Segmented, read_inputs, score_masks, segment_picture
from tools.evaluation.comparison import MaskComparison, Totals, compare_masks, total
from tools.progress import Advance
from tools.scoring import Scores, score_pictures


@dataclass(frozen=True)
class Reference:
    """The float network's masks of some pictures of a data set, and its own score by the labels."""

    dataset: Dataset
    pictures: tuple[Picture, ...]
    masks: tuple[Mask, ...]
    scores: Scores


@dataclass(frozen=True)
class Parity:
    """`golden_moved`: the share of each golden tile's cells that moved; `moved`: the mean of it over the pictures.

    A cell has moved when its class differs where either says defect, or its score by more than 2 of 255. `totals`: the
    float network's defects found again, missed, new, of another class. `scores`: by the labels.
    """

    golden_moved: tuple[float, ...]
    moved: float
    totals: Totals
    scores: Scores


def reference_of(segmenter: Segmenter, bundle: Bundle, dataset: Dataset, count: int, advance: Advance) -> Reference:
    """The float network on `count` pictures spread over the data set, or on all where it has fewer."""
    step = max(1, len(dataset.pictures) // count)
    pictures = dataset.pictures[::step][:count]
    masks = _masks(segmenter, pictures, advance)
    return Reference(dataset, pictures, masks, _scores(bundle, dataset, pictures, masks))


def parity_of(segmenter: Segmenter, bundle: Bundle, reference: Reference, advance: Advance) -> Parity:
    """Raises ConversionError when the simulator dies."""
    golden = tuple(tile.moved_share for tile in run_golden(bundle, segmenter))
    pictures = reference.pictures
    masks = _masks(segmenter, pictures, advance)
    pairs = list(zip(pictures, reference.masks, masks, strict=True))
    moved = [compare(each.name, found, wanted, bundle.classes).moved_share for each, wanted, found in pairs]
    return Parity(
        golden_moved=golden,
        moved=sum(moved) / len(moved),
        totals=total([_compared(bundle, *pair) for pair in pairs]),
        scores=_scores(bundle, reference.dataset, pictures, masks),
    )


def _masks(segmenter: Segmenter, pictures: Sequence[Picture], advance: Advance) -> tuple[Mask, ...]:
    masks = []
    for number, picture in enumerate(pictures, 1):
        masks.append(segment_picture(segmenter, *read_inputs(picture, segmenter.input_contract)))
        advance(number, len(pictures))
    return tuple(masks)


def _compared(bundle: Bundle, picture: Picture, wanted: Mask, found: Mask) -> MaskComparison:
    return compare_masks(wanted, found, bundle.classes, bundle.classes, RECIPE, picture.size_hw)


def _scores(bundle: Bundle, dataset: Dataset, pictures: Sequence[Picture], masks: Sequence[Mask]) -> Scores:
    labelled = [
        Segmented(picture, dataset.label_margin_px, mask) for picture, mask in zip(pictures, masks, strict=True)
    ]
    return score_pictures(score_masks(labelled, bundle.classes))
