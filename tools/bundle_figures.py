"""The figures of a bundle's manifest that its x86 network gives: accuracy, parity at each side of tiles, time."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

from edge_runtime.inference.bundle import Bundle
from edge_runtime.inference.figures import Accuracy, Figures, Parity, Timing
from edge_runtime.interfaces import Segmenter
from edge_runtime.values import DefectClass
from tools.artefacts import proof_sides_px
from tools.dataset import Dataset
from tools.evaluate import score_candidates, score_masks, scores_by_class, segment_all
from tools.forms import Motif
from tools.golden_pictures import made_pictures
from tools.machine import cpu_name
from tools.onnx_network import read_onnx
from tools.paddle_segmenter import PaddleSegmenter
from tools.predictors import Predictor, sized_for
from tools.verify import TileParity, measure_parity, tile_ms

X86_FILE = "model.x86.nb"
REFERENCE = "float network in Paddle"
X86 = Predictor("paddle_lite", "x86")
TIMED_SIDES_PX = (384, 640, 1088)


def figures_anew(bundle: Bundle, data: Mapping[str, Dataset], motif: Motif) -> Figures:
    """Accuracy and time measured again, and parity over the sides of tiles; the rest as it was."""
    old, sides_px = bundle.manifest.figures, bundle.tile_sides_px("x86")
    parity = _parity_over(bundle, proof_sides_px(sides_px), motif)
    accuracy = tuple(accuracy_on(label, bundle, dataset) for label, dataset in data.items())
    timed_px = sorted({bundle.input_contract.tile_px, *(side for side in TIMED_SIDES_PX if side in sides_px)})
    timing = Timing(subject=X86_FILE, machine=cpu_name(), threads=1, values=dict(_times(bundle, timed_px, motif)))
    return old.model_copy(
        update={
            "parity": (*(one for one in old.parity if one.subject != parity.subject), parity),
            "accuracy": accuracy or old.accuracy,
            "timing": (*(one for one in old.timing if one.subject != X86_FILE), timing),
        }
    )


def accuracy_on(label: str, bundle: Bundle, dataset: Dataset) -> Accuracy:
    """With tiles of the side that suits the pictures."""
    sized = sized_for(X86, bundle, [picture.size_hw for picture in dataset.pictures])
    segmenter = X86.open(sized)
    try:
        return accuracy_of(label, segmenter, dataset, bundle.classes)
    finally:
        segmenter.close()


def accuracy_of(label: str, segmenter: Segmenter, dataset: Dataset, classes: Sequence[DefectClass]) -> Accuracy:
    segmented = list(segment_all(segmenter, dataset))
    candidates = score_candidates(segmented, classes)
    scores = scores_by_class(score_masks(segmented, classes), classes, candidates)
    values = {
        "precision": scores["all"].precision,
        "recall": scores["all"].recall,
        "f_score": scores["all"].f_score,
        "mean_average_precision": scores["all"].average_precision,
        **{f"f_score_{name}": one.f_score for name, one in scores.items() if name != "all"},
    }
    rounded = {name: round(value, 4) for name, value in values.items()}
    return Accuracy(subject=X86_FILE, data_set=label, pictures=len(dataset.pictures), values=rounded)


def bytes_values(parity: TileParity) -> dict[str, float]:
    return {
        "max_score_difference_of_255": float(parity.max_score_difference),
        "mean_score_difference_of_255": round(parity.mean_score_difference, 6),
        "equal_class_share_of_defect_cells": round(parity.equal_class_share, 6),
    }


def _parity_over(bundle: Bundle, sides_px: Sequence[int], motif: Motif) -> Parity:
    """All sides in one: the worst, but for the mean."""
    found = [_parity_at(bundle, side_px, motif) for side_px in sides_px]
    worst = TileParity(
        sum(each.tiles for each in found),
        max(each.max_score_difference for each in found),
        statistics.fmean(each.mean_score_difference for each in found),
        min(each.equal_class_share for each in found),
    )
    subject = f"{X86_FILE}, tiles of {sides_px[0]} to {sides_px[-1]} px"
    return Parity(subject=subject, reference=REFERENCE, tiles=worst.tiles, values=bytes_values(worst))


def _parity_at(bundle: Bundle, side_px: int, motif: Motif) -> TileParity:
    """The reference is read from the bundle's own ONNX file."""
    sized, entry = bundle.with_tiles(side_px, "x86"), bundle.artefact_for("onnx")
    contract = sized.input_contract
    reference = PaddleSegmenter(*read_onnx(bundle.read(entry), entry.file), contract)
    segmenter = X86.open(sized)
    try:
        return measure_parity(reference, segmenter, made_pictures(motif, side_px, contract.template))
    finally:
        segmenter.close()


def _times(bundle: Bundle, sides_px: Iterable[int], motif: Motif) -> Iterable[tuple[str, float]]:
    """`tile_cpu_ms` for the usual side, `tile_SIDE_px_cpu_ms` for the others."""
    for side_px in sides_px:
        sized = bundle.with_tiles(side_px, "x86")
        contract = sized.input_contract
        pictures = made_pictures(motif, side_px, contract.template)[:1]
        segmenter = X86.open(sized)
        name = "tile_cpu_ms" if side_px == bundle.input_contract.tile_px else f"tile_{side_px}_px_cpu_ms"
        yield name, round(tile_ms([segmenter], pictures)[0], 1)
        segmenter.close()
