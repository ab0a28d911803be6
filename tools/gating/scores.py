"""What gates would make of one labelled picture: the scores of its defects and of its tiles."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edge_runtime.interfaces import Segmenter
from edge_runtime.pictures import grey_of
from edge_runtime.values import Box, DefectClass, Mask
from edge_runtime.vision.blobs import foreground_cells
from edge_runtime.vision.gate import TemplateGate, grown
from edge_runtime.vision.tile_plan import tiles_for
from tools.dataset import Picture
from tools.errors import ToolError
from tools.evaluate import RECIPE, read_inputs, segment_picture
from tools.evaluation.examine import ModelSpec, opened

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8
    from edge_runtime.vision.gate import SumsU16


@dataclass(frozen=True)
class DefectScore:
    """What the network finds in `tile`, or a label that it does not find (None); how it scores alone by each gate."""

    box_xyxy_px: Box
    tile: int | None
    scores: tuple[float, ...]


@dataclass(frozen=True)
class GatedPicture:
    """`defects`: what the network finds in each tile, and the labels it does not find. By tile, in the plan's order:

    `tile_scores` of each gate, and whether the tile holds any of that. The times are one tile's, in this process.
    """

    name: str
    defects: tuple[DefectScore, ...]
    tile_scores: tuple[tuple[float, ...], ...]
    tile_clean: tuple[bool, ...]
    gate_ms: float
    predict_ms: float


def score_picture(spec: ModelSpec, gates: Sequence[TemplateGate], picture: Picture) -> GatedPicture:
    """Segment the picture and score it by all gates. Raises BundleError, InferenceError, DatasetError."""
    return score_and_segment(spec, gates, picture)[0]


def score_and_segment(
    spec: ModelSpec, gates: Sequence[TemplateGate], picture: Picture
) -> tuple[GatedPicture, Mask, tuple[Box, ...]]:
    """With the full mask, and the tiles' cores."""
    bundle, segmenter = opened(spec)
    image, template = read_inputs(picture, segmenter.input_contract)
    if template is None:
        raise ToolError(f"{spec.folder}: the model takes no template, so there is nothing to compare a picture with")
    began_s = time.perf_counter()
    mask = segment_picture(segmenter, image, template)
    segmented_s = time.perf_counter()
    cores = tile_cores(segmenter, (image.shape[0], image.shape[1]))
    first_s = time.perf_counter()
    for core in cores:
        gates[0].score(image, template, core)
    gated_s = time.perf_counter()
    strays = list(stray_maps(gates, image, template))
    defects = [*found_defects(mask, bundle.classes, cores, gates, strays)]
    defects += labelled_only(mask, bundle.classes, picture, gates, strays)
    scored = GatedPicture(
        picture.name,
        tuple(defects),
        tuple(
            tuple(_worst(stray, grown(core, gate.reach_px, picture.size_hw), gate) for core in cores)
            for gate, stray in zip(gates, strays, strict=True)
        ),
        tuple(not any(_meet(one.box_xyxy_px, core) for one in defects) for core in cores),
        gate_ms=(gated_s - first_s) * 1000 / len(cores),
        predict_ms=(segmented_s - began_s) * 1000 / len(cores),
    )
    return scored, mask, cores


def tile_cores(segmenter: Segmenter, image_hw: tuple[int, int]) -> tuple[Box, ...]:
    """The cores of the tiles of the contract's side that such a picture is inspected in."""
    return tiles_for(segmenter.input_contract, segmenter.mask_stride_px, image_hw, RECIPE).cores_xyxy_px


def stray_maps(gates: Sequence[TemplateGate], image: ImageU8, template: ImageU8) -> Iterator[SumsU16]:
    """Each gate's map of the whole picture; gates that differ in reach alone share it."""
    known: dict[tuple[int, int], SumsU16] = {}
    grey = grey_of(image)
    for gate in gates:
        key = gate.tolerance_px, gate.block_px
        if key not in known:
            known[key] = gate.block_sums(grey, template)
        yield known[key]


def found_defects(
    mask: Mask,
    classes: Sequence[DefectClass],
    cores: Sequence[Box],
    gates: Sequence[TemplateGate],
    strays: Sequence[SumsU16],
) -> Iterator[DefectScore]:
    """Each group of foreground cells that touch within one tile's core: lost with that tile, whatever else it joins."""
    foreground, stride_px = foreground_cells(mask, classes), mask.stride_px
    for tile, core in enumerate(cores):
        x0, y0, x1, y1 = (
            core[0] // stride_px,
            core[1] // stride_px,
            -(-core[2] // stride_px),
            -(-core[3] // stride_px),
        )
        count, _, stats, _ = cv2.connectedComponentsWithStats(foreground[y0:y1, x0:x1], connectivity=8)
        for left, top, width, height in stats[1:count, :4].tolist():
            corner = (x0 + left) * stride_px, (y0 + top) * stride_px
            box = (*corner, corner[0] + width * stride_px, corner[1] + height * stride_px)
            yield DefectScore(
                box, tile, tuple(_near(gate, stray, box, core) for gate, stray in zip(gates, strays, strict=True))
            )


def labelled_only(
    mask: Mask,
    classes: Sequence[DefectClass],
    picture: Picture,
    gates: Sequence[TemplateGate],
    strays: Sequence[SumsU16],
) -> Iterator[DefectScore]:
    """The labels in whose boxes the network finds nothing."""
    foreground, stride_px = foreground_cells(mask, classes), mask.stride_px
    for label in picture.boxes:
        box = grown(label.xyxy_px, 0, picture.size_hw)
        rows = slice(box[1] // stride_px, -(-box[3] // stride_px))
        columns = slice(box[0] // stride_px, -(-box[2] // stride_px))
        if not foreground[rows, columns].any():
            yield DefectScore(
                box, None, tuple(_worst(stray, box, gate) for gate, stray in zip(gates, strays, strict=True))
            )


def _near(gate: TemplateGate, stray: SumsU16, box: Box, core: Box) -> float:
    """The tile's score if nothing but this strayed: within the gate's reach of the box, and of the core."""
    image_hw = stray.shape[0], stray.shape[1]
    near, seen = grown(box, gate.reach_px, image_hw), grown(core, gate.reach_px, image_hw)
    return _worst(
        stray, (max(near[0], seen[0]), max(near[1], seen[1]), min(near[2], seen[2]), min(near[3], seen[3])), gate
    )


def _worst(stray: SumsU16, box: Box, gate: TemplateGate) -> float:
    x0, y0, x1, y1 = box
    return float(np.max(stray[y0:y1, x0:x1])) / gate.block_px**2


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
