"""`pack`: from a training run to a bundle with thresholds, figures and golden tiles."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.inference.bundle import Bundle, NewArtefact, write_bundle
from edge_runtime.inference.golden import GoldenTile
from edge_runtime.inference.manifest import (
    Accuracy,
    ClassEntry,
    Draft,
    Figures,
    Input,
    Output,
    Parity,
    Timing,
)
from edge_runtime.inference.paddle_lite import PaddleLiteSegmenter
from edge_runtime.values import DefectClass, Mask
from tools.bundle_readme import bundle_readme
from tools.convert import TARGETS, Converted, convert_model
from tools.dataset import Dataset, check_pictures, load_dataset, same_classes
from tools.evaluate import choose_thresholds, score_masks, scores_by_class, segment_all
from tools.export import TILE_PX, export_network, load_run_network
from tools.machine import cpu_name
from tools.networks import (
    MEAN,
    OUTPUT_STRIDE_PX,
    STD,
    TOTAL_STRIDE_PX,
    count_macs,
    count_parameters,
    receptive_radius_px,
)
from tools.runs import load_settings
from tools.verify import (
    PARITY_TILES,
    choose_margin_px,
    effective_radius_px,
    golden_pictures,
    golden_tiles,
    measure_parity,
    sample_pictures,
    tile_ms,
)

COLORS_BGR = ((60, 60, 230), (40, 160, 250), (60, 220, 240), (80, 200, 60), (230, 160, 40), (200, 80, 200))
FIRST_THRESHOLD = 128


@dataclass(frozen=True)
class PackRequest:
    """What to pack and under which name; `evaluation` maps a label to a data set folder, `terms` is stated as is."""

    run: Path
    out: Path
    name: str
    version: str
    terms: str
    evaluation: tuple[tuple[str, Path], ...]


def pack_run(request: PackRequest) -> Bundle:
    """Export, convert, measure and write the bundle. Raises ToolError or BundleError; `request.out` must not exist.

    Thresholds come from the pictures held out of training, never from the evaluation's.
    """
    network = load_run_network(request.run)
    evaluation = {label: load_dataset(folder) for label, folder in request.evaluation}
    for dataset in evaluation.values():
        check_pictures(dataset)
    held_out = _held_out(request.run)
    with tempfile.TemporaryDirectory(prefix="pack-") as scratch:
        program = export_network(network, Path(scratch) / "model", TILE_PX)
        artefacts = [_artefact(made) for made in convert_model(program, Path(scratch), TARGETS)]
        draft = _first_draft(request, network, held_out)
        blank = write_bundle(Path(scratch) / "blank" / "1", draft, artefacts, [_blank_tile()])
        segmenter = PaddleLiteSegmenter(blank, threads=1)
        draft = _with_thresholds(draft, segmenter, blank.classes, held_out)
        draft = _with_figures(draft, network, segmenter, evaluation)
        golden = golden_tiles(segmenter)
    return write_bundle(request.out, draft, artefacts, golden, bundle_readme(draft))


def _held_out(run: Path) -> list[Dataset]:
    settings = load_settings(run)
    held = [load_dataset(Path(source.folder)).split(settings.holdout_every)[1] for source in settings.data]
    same_classes(held)
    return held


def _artefact(made: Converted) -> NewArtefact:
    return NewArtefact(f"model.{made.target}.nb", made.path.read_bytes(), made.target, "fp32", made.opt_version)  # type: ignore[arg-type]


def _first_draft(request: PackRequest, network: Any, held_out: Sequence[Dataset]) -> Draft:
    contract = Input(
        channels="GRAY",
        mean=(MEAN,),
        std=(STD,),
        tile_px=TILE_PX,
        stride_px=TOTAL_STRIDE_PX,
        margin_px=0,
    )
    measured_px = effective_radius_px(network, contract.contract(), golden_pictures(TILE_PX))
    margin_px = choose_margin_px(receptive_radius_px(network), measured_px)
    names = same_classes(held_out)
    return Draft(
        name=request.name,
        version=request.version,
        created=datetime.now(timezone.utc).replace(microsecond=0),
        input=contract.model_copy(update={"margin_px": margin_px}),
        output=Output(kind="class_and_score", mask_stride_px=OUTPUT_STRIDE_PX),
        classes=tuple(
            ClassEntry(id=index + 1, name=name, color_bgr=COLORS_BGR[index], threshold=FIRST_THRESHOLD)
            for index, name in enumerate(names)
        ),
        figures=Figures(
            parameters=count_parameters(network),
            macs_per_tile=count_macs(network, TILE_PX),
            parity=(_radius_figure(network, measured_px),),
        ),
        terms=request.terms,
    )


def _radius_figure(network: Any, measured_px: int) -> Parity:
    return Parity(
        subject="receptive radius",
        reference="float network",
        tiles=len(golden_pictures(TILE_PX)),
        values={"theoretical_px": float(receptive_radius_px(network)), "effective_px": float(measured_px)},
    )


def _with_thresholds(
    draft: Draft, segmenter: PaddleLiteSegmenter, classes: Sequence[DefectClass], held_out: Sequence[Dataset]
) -> Draft:
    segmented = [one for dataset in held_out for one in segment_all(segmenter, dataset)]
    chosen = choose_thresholds(lambda tried: score_masks(segmented, tried), classes)
    entries = tuple(
        entry.model_copy(update={"threshold": best.threshold})
        for entry, best in zip(draft.classes, chosen, strict=True)
    )
    return draft.model_copy(update={"classes": entries})


def _with_figures(draft: Draft, network: Any, segmenter: PaddleLiteSegmenter, evaluation: dict[str, Dataset]) -> Draft:
    classes = tuple(entry.defect_class() for entry in draft.classes)
    pictures = golden_pictures(TILE_PX)
    for dataset in evaluation.values():
        pictures += sample_pictures(dataset, TILE_PX, PARITY_TILES)
    accuracy = tuple(_accuracy(label, segmenter, dataset, classes) for label, dataset in evaluation.items())
    parity = measure_parity(network, segmenter, pictures)
    measured = Parity(
        subject="model.x86.nb",
        reference="float network in Paddle",
        tiles=parity.tiles,
        values={
            "max_score_difference_of_255": float(parity.max_score_difference),
            "mean_score_difference_of_255": round(parity.mean_score_difference, 6),
            "equal_class_share": round(parity.equal_class_share, 6),
        },
    )
    timing = Timing(
        subject="model.x86.nb", machine=cpu_name(), threads=1, values={"tile_cpu_ms": round(tile_ms(segmenter), 1)}
    )
    figures = draft.figures.model_copy(
        update={"parity": (*draft.figures.parity, measured), "accuracy": accuracy, "timing": (timing,)}
    )
    return draft.model_copy(update={"figures": figures})


def _accuracy(label: str, segmenter: PaddleLiteSegmenter, dataset: Dataset, classes: Sequence[DefectClass]) -> Accuracy:
    scores = scores_by_class(score_masks(list(segment_all(segmenter, dataset)), classes), classes)
    values = {
        "precision": scores["all"].precision,
        "recall": scores["all"].recall,
        "f_score": scores["all"].f_score,
        "mean_average_precision": scores["all"].average_precision,
        **{f"f_score_{name}": one.f_score for name, one in scores.items() if name != "all"},
    }
    rounded = {name: round(value, 4) for name, value in values.items()}
    return Accuracy(subject="model.x86.nb", data_set=label, pictures=len(dataset.pictures), values=rounded)


def _blank_tile() -> GoldenTile:
    """A stand-in, so that the predictor can be opened from a bundle before the real masks are known."""
    cells = np.zeros((TILE_PX // OUTPUT_STRIDE_PX,) * 2, np.uint8)
    return GoldenTile(np.zeros((TILE_PX, TILE_PX, 3), np.uint8), Mask(cells, cells, OUTPUT_STRIDE_PX))
