"""`gate`: all that the command does, from folders to a bundle that has a gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from edge_runtime.inference.bundle import Bundle, load_bundle
from edge_runtime.inference.manifest import Gate
from edge_runtime.inference.proof import check_gate
from edge_runtime.values import Mask, Outcome, Recipe
from edge_runtime.vision.blobs import find_defects
from edge_runtime.vision.decision import decide
from edge_runtime.vision.gate import TemplateGate
from tools.dataset import Picture
from tools.errors import ToolError
from tools.evaluate import RECIPE
from tools.evaluation.data import labelled_for
from tools.evaluation.examine import ModelSpec, opened
from tools.evaluation.processes import map_in_processes
from tools.gating.calibrate import Effect, Wish, calibrate, effect_of
from tools.gating.scores import GatedPicture, score_and_segment, score_picture
from tools.gating.write import write_gated
from tools.predictors import Predictor
from tools.progress import Advance
from tools.scoring import ScoredPicture, score_pictures, scored_picture


@dataclass(frozen=True)
class GateRequest:
    """`data`: to calibrate on, by label; `report`: to show the effect on. `gates`: to choose from."""

    bundle: Path
    out: Path
    data: tuple[str, Path]
    report: tuple[tuple[str, Path], ...]
    gates: tuple[TemplateGate, ...]
    wish: Wish
    workers: int
    predictor: Predictor


@dataclass(frozen=True)
class Report:
    """The effect on one data set. F scores and the strictest recipe's verdicts, without and with the gate."""

    data_set: str
    effect: Effect
    f_full: float
    f_gated: float
    verdicts_changed: int


@dataclass(frozen=True)
class GateDone:
    bundle: Bundle
    gate: Gate
    calibration: Effect
    reports: tuple[Report, ...]


@dataclass(frozen=True)
class _Judged:
    scored: GatedPicture
    full: ScoredPicture
    gated: ScoredPicture
    verdict_changed: bool


def gate_bundle(request: GateRequest, advance: Advance = lambda done, total: None) -> GateDone:
    """Calibrate, write `request.out`, report. Everything that can be wrong with the folders is said before.

    Raises BundleError, DatasetError, InferenceError, and ToolError when no gate keeps the bound. `advance` is told
    after each picture.
    """
    bundle = load_bundle(request.bundle)
    if request.out.exists():
        raise ToolError(f"{request.out}: this version exists and a version never changes; choose the next one")
    if not bundle.input_contract.template:
        raise ToolError(f"{bundle.folder}: the model takes no template, so there is nothing to compare a picture with")
    label, folder = request.data
    data = labelled_for(folder, bundle, allow_absent=True)
    reports = [(name, labelled_for(path, bundle, allow_absent=True)) for name, path in request.report]
    total = sum(len(each.pictures) for each in [data, *(each for _, each in reports)])
    spec = ModelSpec(bundle.folder, bundle.digest, request.predictor)
    scored: list[GatedPicture] = []
    for one in map_in_processes(partial(score_picture, spec, request.gates), data.pictures, request.workers, _path_of):
        scored.append(one)
        advance(len(scored), total)
    gate, at = calibrate(scored, request.gates, request.wish, label)
    made = write_gated(bundle, request.out, gate)
    check_gate(made)
    assert made.gate is not None
    done, before = [], len(scored)
    for name, each in reports:
        judged = _judged(spec, made.gate, each.label_margin_px, each.pictures, request.workers, before, total, advance)
        before += len(each.pictures)
        done.append(_report(name, made.gate, judged))
    return GateDone(made, gate, effect_of(scored, made.gate, at), tuple(done))


def judge_picture(spec: ModelSpec, gate: TemplateGate, label_margin_px: int, picture: Picture) -> _Judged:
    """One picture with all its tiles and with those alone that the gate leaves."""
    scored, mask, cores = score_and_segment(spec, [gate], picture)
    gated = Mask(mask.class_ids.copy(), mask.scores.copy(), mask.stride_px)
    for core, score in zip(cores, scored.tile_scores[0], strict=True):
        if score < gate.threshold:
            x0, y0, x1, y1 = (core[0], core[1], core[2] + mask.stride_px - 1, core[3] + mask.stride_px - 1)
            rows, columns = (slice(a // mask.stride_px, b // mask.stride_px) for a, b in ((y0, y1), (x0, x1)))
            gated.class_ids[rows, columns] = gated.scores[rows, columns] = 0
    (full, full_outcome), (less, less_outcome) = (
        _defects(spec, one, picture, label_margin_px, RECIPE) for one in (mask, gated)
    )
    return _Judged(scored, full, less, full_outcome is not less_outcome)


def _defects(
    spec: ModelSpec, mask: Mask, picture: Picture, label_margin_px: int, recipe: Recipe
) -> tuple[ScoredPicture, Outcome]:
    classes = opened(spec)[0].classes
    defects = find_defects(mask, classes, recipe, picture.size_hw)
    outcome = decide(defects, recipe, {known.class_id: known.name for known in classes})[0]
    return scored_picture(defects, picture.boxes, label_margin_px, picture.size_hw), outcome


def _judged(
    spec: ModelSpec,
    gate: TemplateGate,
    label_margin_px: int,
    pictures: Sequence[Picture],
    workers: int,
    before: int,
    total: int,
    advance: Advance,
) -> list[_Judged]:
    judged: list[_Judged] = []
    work = partial(judge_picture, spec, gate, label_margin_px)
    for one in map_in_processes(work, pictures, workers, _path_of):
        judged.append(one)
        advance(before + len(judged), total)
    return judged


def _report(name: str, gate: TemplateGate, judged: Sequence[_Judged]) -> Report:
    return Report(
        name,
        effect_of([one.scored for one in judged], gate, 0),
        score_pictures([one.full for one in judged]).f_score,
        score_pictures([one.gated for one in judged]).f_score,
        sum(one.verdict_changed for one in judged),
    )


def _path_of(picture: Picture) -> str:
    return str(picture.image_path)


def candidates(
    tolerances_px: Sequence[int], blocks_px: Sequence[int], reaches_px: Sequence[int]
) -> tuple[TemplateGate, ...]:
    """Every combination, without thresholds. Raises ToolError for numbers out of range."""
    try:
        first = [TemplateGate(tolerance, block, 0, 0.0) for tolerance in tolerances_px for block in blocks_px]
        return tuple(replace(gate, reach_px=reach) for gate in first for reach in reaches_px)
    except ValueError as exc:
        raise ToolError(f"{exc}; give other --tolerance, --block or --reach") from exc
