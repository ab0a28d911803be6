"""The figures of a bundle's manifest that its x86 network gives: accuracy, parity at each side of tiles, time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from edge_runtime.inference.bundle import Bundle
from edge_runtime.inference.manifest import Accuracy, Figures, Parity, Timing
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


def figures_anew(bundle: Bundle, data: Mapping[str, Dataset], motif: Motif) -> Figures:
    """Accuracy and time measured again, and parity for each side of `proof_sides_px`; the rest as it was."""
    old = bundle.manifest.figures
    sides_px = proof_sides_px(bundle.tile_sides_px("x86"))
    many = [_parity_at(bundle, side, motif) for side in sides_px]
    accuracy = tuple(accuracy_on(label, bundle, dataset) for label, dataset in data.items())
    names = {one.subject for one in many}
    kept = [one for one in old.parity if one.subject not in names]
    timing = Timing(subject=X86_FILE, machine=cpu_name(), threads=1, values=dict(_times(bundle, sides_px, motif)))
    return old.model_copy(
        update={
            "parity": (*kept, *many),
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


def _parity_at(bundle: Bundle, side_px: int, motif: Motif) -> Parity:
    """The reference is read from the bundle's own ONNX file."""
    sized, entry = bundle.with_tiles(side_px, "x86"), bundle.artefact_for("onnx")
    contract = sized.input_contract
    reference = PaddleSegmenter(*read_onnx(bundle.read(entry), entry.file), contract)
    pictures = made_pictures(motif, side_px, contract.template)
    segmenter = X86.open(sized)
    try:
        found = measure_parity(reference, segmenter, pictures)
    finally:
        segmenter.close()
    return Parity(
        subject=f"{X86_FILE}, {side_px} px", reference=REFERENCE, tiles=found.tiles, values=bytes_values(found)
    )


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
