"""`pack`: from a network to a bundle with thresholds, figures and golden tiles."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from edge_runtime.inference.bundle import Bundle
from edge_runtime.inference.bundle_writer import write_bundle
from edge_runtime.inference.figures import Figures, Parity, Timing
from edge_runtime.inference.golden import GoldenTile
from edge_runtime.inference.manifest import ClassEntry, Draft, Input, Output
from edge_runtime.inference.paddle_lite import PaddleLiteSegmenter
from edge_runtime.interfaces import Segmenter
from edge_runtime.values import DefectClass, Mask
from tools.artefacts import Wanted, make_artefacts, with_range
from tools.bundle_figures import REFERENCE, X86_FILE, accuracy_of, bytes_values
from tools.bundle_readme import bundle_readme
from tools.calibration import load_tiles
from tools.crops import MEAN, STD
from tools.dataset import Dataset, check_pictures, load_dataset, same_classes
from tools.errors import ToolError
from tools.evaluate import choose_thresholds, score_masks, segment_all
from tools.evaluation.cell_thresholds import choose_cell_thresholds
from tools.forms import PRIOR_SHIFT, Motif, ThresholdsBy
from tools.golden_pictures import MadePicture, golden_tiles, made_pictures
from tools.graph import Graph, Weights, count_macs, count_parameters, receptive_radius_px
from tools.machine import cpu_name
from tools.network_file import load_network
from tools.paddle_segmenter import PaddleSegmenter
from tools.repack import golden_for_range, proved_artefacts
from tools.runs import load_settings
from tools.tile_form import TILE_PX, offered_range, with_prior
from tools.verify import (
    PARITY_TILES,
    choose_margin_px,
    effective_radius_px,
    float_difference,
    measure_parity,
    prepared_tiles,
    sample_pictures,
    tile_ms,
)

COLORS_BGR = ((60, 60, 230), (40, 160, 250), (60, 220, 240), (80, 200, 60), (230, 160, 40), (200, 80, 200))
FIRST_THRESHOLD = 128
DEFAULT_TARGETS = ("x86", "arm", "arm+fp16", "onnx")


@dataclass(frozen=True)
class PackRequest:
    """What to pack and under which name; `terms` is stated as is.

    `network`: a network.npz or a run's folder. `thresholds_on`: data sets to choose thresholds on, never the
    evaluation's; `thresholds_by`: the F score of boxes, or the Dice of cells. `evaluation` maps a label to a data set
    folder. `quantized`: an INT8 program for the target arm+int8. `calibration`: tiles for the target onnx+int8.
    `allow`: OpenVINO's coarser precisions that may run the target onnx. `tile_range_px`: smallest and largest side of
    tiles to offer beside `tile_px`. `notes` goes into the bundle's README.
    """

    network: Path
    out: Path
    name: str
    version: str
    terms: str
    thresholds_on: tuple[Dataset, ...]
    evaluation: tuple[tuple[str, Path], ...] = ()
    targets: tuple[str, ...] = DEFAULT_TARGETS
    quantized: Path | None = None
    calibration: Path | None = None
    allow: tuple[str, ...] = ()
    motif: Motif = "boards"
    thresholds_by: ThresholdsBy = "boxes"
    prior_shift: float = PRIOR_SHIFT
    tile_px: int = TILE_PX
    tile_range_px: tuple[int, int] | None = None
    notes: str = ""


def pack_network(request: PackRequest) -> Bundle:
    """Export, convert, measure and write the bundle. Raises ToolError or BundleError; `request.out` must not exist."""
    graph, weights = load_network(request.network)
    evaluation, wanted = _checked_data(request, graph), _wanted(request)
    weights = with_prior(graph, weights, request.prior_shift)
    with tempfile.TemporaryDirectory(prefix="pack-") as scratch:
        artefacts = make_artefacts(wanted, graph, weights, request.tile_px, Path(scratch))
        draft = _first_draft(request, graph, weights)
        blank = write_bundle(Path(scratch) / "blank" / "1", draft, artefacts, [_blank_tile(draft)])
        segmenter = PaddleLiteSegmenter(blank, threads=1)
        draft = _with_thresholds(draft, segmenter, blank.classes, request)
        draft = _with_figures(draft, (graph, weights), segmenter, evaluation, request, Path(scratch))
        golden = golden_tiles(segmenter, request.motif)
        if request.tile_range_px is not None:
            range_px = offered_range(request.tile_range_px, draft.input.stride_px, draft.input.margin_px)
            artefacts = with_range(artefacts, range_px)
            golden.append(golden_for_range(blank, range_px, request.motif))
        artefacts = proved_artefacts(draft, artefacts, golden, request.allow, Path(scratch))
    return write_bundle(request.out, draft, artefacts, golden, bundle_readme(draft, request.notes, artefacts))


def _wanted(request: PackRequest) -> Wanted:
    tiles = None if request.calibration is None else load_tiles(request.calibration)
    wanted = Wanted(request.targets, request.quantized, tiles)
    wanted.check()
    return wanted


def held_out(network: Path, folders: Sequence[Path] | None, holdout_every: int) -> tuple[Dataset, ...]:
    """The pictures that training held out: of `folders`, or of the run at `network` when none are given."""
    if folders:
        return tuple(load_dataset(folder).split(holdout_every)[1] for folder in folders)
    settings = load_settings(network)
    return tuple(load_dataset(Path(source.folder)).split(settings.holdout_every)[1] for source in settings.data)


def _checked_data(request: PackRequest, graph: Graph) -> dict[str, Dataset]:
    """The evaluation data, after everything that can be wrong was looked at."""
    if request.out.exists():
        raise ToolError(f"{request.out}: this version exists and a version never changes; choose the next one")
    evaluation = {label: load_dataset(folder) for label, folder in request.evaluation}
    if len(evaluation) != len(request.evaluation):
        raise ToolError("--data: two data sets have the same name; give each its own, NAME=FOLDER")
    names = same_classes([*request.thresholds_on, *evaluation.values()])
    if len(names) + 1 != graph.class_count:
        raise ToolError(f"the network has {graph.class_count - 1} defect classes, the data {len(names)}")
    if "x86" not in request.targets:
        raise ToolError("targets must name x86: thresholds, figures and golden tiles are computed on it")
    for dataset in (*request.thresholds_on, *evaluation.values()):
        check_pictures(dataset, with_template=graph.input_channels == 2)
    return evaluation


def _first_draft(request: PackRequest, graph: Graph, weights: Weights) -> Draft:
    template = graph.input_channels == 2
    contract = Input(
        channels="GRAY",
        mean=(MEAN,),
        std=(STD,),
        tile_px=request.tile_px,
        stride_px=graph.total_stride_px,
        margin_px=0,
        template=template,
    )
    tiles = prepared_tiles(contract.contract(), made_pictures(request.motif, request.tile_px, template))
    measured_px = effective_radius_px(graph, weights, tiles)
    margin_px = choose_margin_px(graph, lambda: measured_px)
    if 2 * margin_px >= request.tile_px:
        raise ToolError(
            f"a margin of {margin_px} px leaves no core in a tile of {request.tile_px} px; use larger tiles"
        )
    radius = {"theoretical_px": float(receptive_radius_px(graph)), "effective_px": float(measured_px)}
    names = same_classes(request.thresholds_on)
    return Draft(
        name=request.name,
        version=request.version,
        created=datetime.now(timezone.utc).replace(microsecond=0),
        input=contract.model_copy(update={"margin_px": margin_px}),
        output=Output(kind="class_and_score", mask_stride_px=graph.output_stride_px),
        classes=tuple(_class_entry(index, name) for index, name in enumerate(names)),
        figures=Figures(
            parameters=count_parameters(graph),
            macs_per_tile=count_macs(graph, request.tile_px),
            parity=(Parity(subject="receptive radius", reference="float network", tiles=len(tiles), values=radius),),
        ),
        terms=request.terms,
    )


def _class_entry(index: int, name: str) -> ClassEntry:
    return ClassEntry(id=index + 1, name=name, color_bgr=COLORS_BGR[index % len(COLORS_BGR)], threshold=FIRST_THRESHOLD)


def _with_thresholds(draft: Draft, segmenter: Segmenter, classes: Sequence[DefectClass], request: PackRequest) -> Draft:
    segmented = [one for dataset in request.thresholds_on for one in segment_all(segmenter, dataset)]
    if request.thresholds_by == "cells":
        chosen = choose_cell_thresholds(segmented, classes)
    else:
        chosen = choose_thresholds(lambda tried: score_masks(segmented, tried), classes)
    entries = tuple(
        entry.model_copy(update={"threshold": best.threshold})
        for entry, best in zip(draft.classes, chosen, strict=True)
    )
    return draft.model_copy(update={"classes": entries})


def _with_figures(
    draft: Draft,
    network: tuple[Graph, Weights],
    segmenter: Segmenter,
    evaluation: dict[str, Dataset],
    request: PackRequest,
    scratch: Path,
) -> Draft:
    contract = draft.input.contract()
    pictures = made_pictures(request.motif, request.tile_px, contract.template)
    for dataset in evaluation.values():
        pictures += sample_pictures(dataset, request.tile_px, PARITY_TILES, contract.template)
    classes = tuple(entry.defect_class() for entry in draft.classes)
    accuracy = tuple(accuracy_of(label, segmenter, dataset, classes) for label, dataset in evaluation.items())
    timing = Timing(
        subject=X86_FILE,
        machine=cpu_name(),
        threads=1,
        values={"tile_cpu_ms": round(tile_ms([segmenter], pictures[:1])[0], 1)},
    )
    parity = (*draft.figures.parity, _parity(network, segmenter, pictures, scratch))
    return draft.model_copy(
        update={
            "figures": draft.figures.model_copy(update={"parity": parity, "accuracy": accuracy, "timing": (timing,)})
        }
    )


def _parity(
    network: tuple[Graph, Weights], segmenter: Segmenter, pictures: Sequence[MadePicture], scratch: Path
) -> Parity:
    reference = PaddleSegmenter(*network, segmenter.input_contract)
    bytes_out = measure_parity(reference, segmenter, pictures)
    tiles = prepared_tiles(segmenter.input_contract, pictures)
    return Parity(
        subject=X86_FILE,
        reference=REFERENCE,
        tiles=bytes_out.tiles,
        values={
            "max_probability_difference": float(f"{float_difference(*network, tiles, scratch):.3g}"),
            **bytes_values(bytes_out),
        },
    )


def _blank_tile(draft: Draft) -> GoldenTile:
    """A stand-in, so that the predictor can be opened from a bundle before the real masks are known."""
    tile_px, stride_px = draft.input.tile_px, draft.output.mask_stride_px
    cells = np.zeros((tile_px // stride_px,) * 2, np.uint8)
    template = np.zeros((tile_px, tile_px), np.uint8) if draft.input.template else None
    return GoldenTile(np.zeros((tile_px, tile_px, 3), np.uint8), Mask(cells, cells, stride_px), template)
