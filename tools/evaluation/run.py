"""`evaluate`: a bundle on labelled pictures, from the folders to figures, curves, overlays and a report."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from edge_runtime.files import write_atomically
from edge_runtime.inference.bundle import Bundle, load_bundle
from edge_runtime.values import DefectClass
from tools.dataset import Dataset, Picture
from tools.errors import ToolError
from tools.evaluate import ALL, Segmented, best_thresholds, score_masks, scores_by_class, try_thresholds
from tools.evaluation.curves import write_curves, write_thresholds
from tools.evaluation.data import absent_classes, labelled_for
from tools.evaluation.examine import Examined, examine_picture, spec_for
from tools.evaluation.kept_masks import KeptMasks
from tools.evaluation.pictures import write_overlays
from tools.evaluation.processes import map_in_processes
from tools.evaluation.report import write_report
from tools.evaluation.summary import as_json, picture_errors, summarise, verdict_right, worst_pictures
from tools.evaluation.values import Evaluation, Request, Thresholds
from tools.machine import cpu_name
from tools.progress import Advance
from tools.scoring import ScoredPicture, match_found
from tools.tables import csv_text

FIGURES_NAME, CANDIDATES_NAME = "figures.json", "candidates.csv"


def evaluate_bundle(request: Request, advance: Advance = lambda done, total: None) -> Evaluation:
    """Evaluate and write the folder `request.out`. Raises BundleError, DatasetError, ToolError, InferenceError.

    `advance` is told after each picture. Everything that can be wrong with the folders is said before any tile is run.
    """
    began_s = time.monotonic()
    bundle = load_bundle(request.bundle)
    dataset = labelled_for(request.data, bundle, request.allow_absent)
    _prepare(request.out)
    kept = KeptMasks()
    try:
        examined = _examine(request, bundle, dataset, kept, advance)
        figures = summarise(examined, bundle.classes)
        thresholds = _choose(dataset, kept, examined, bundle.classes) if request.choose_thresholds else None
    finally:
        kept.close()
    seconds = time.monotonic() - began_s
    done = Evaluation(request.out, bundle, dataset, tuple(examined), figures, thresholds, seconds, request.predictor)
    _write(done, request.overlays)
    return done


def _prepare(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ToolError(f"{out}: cannot be made a folder ({exc.strerror}); choose another --out") from exc


def _examine(request: Request, bundle: Bundle, dataset: Dataset, kept: KeptMasks, advance: Advance) -> list[Examined]:
    spec = spec_for(bundle, request.predictor, dataset)
    work = partial(examine_picture, spec, dataset.label_margin_px, request.choose_thresholds)
    examined: list[Examined] = []
    for one in map_in_processes(work, dataset.pictures, request.workers, _path_of):
        if one.packed is not None:
            kept.add(one.packed)
        examined.append(one.without_mask())
        advance(len(examined), len(dataset.pictures))
    return examined


def _path_of(picture: Picture) -> str:
    return str(picture.image_path)


def _choose(
    dataset: Dataset, kept: KeptMasks, examined: Sequence[Examined], classes: Sequence[DefectClass]
) -> Thresholds:
    """Masks are read from disk one after the other for each set of thresholds, never computed again."""

    def score(tried: Sequence[DefectClass]) -> list[ScoredPicture]:
        pairs = zip(dataset.pictures, kept, strict=True)
        return score_masks((Segmented(picture, dataset.label_margin_px, mask) for picture, mask in pairs), tried)

    tried = try_thresholds(score, classes)
    chosen = best_thresholds(tried, classes)
    return Thresholds(tried, chosen, scores_by_class(score(chosen), chosen, [one.candidates for one in examined]))


def _write(done: Evaluation, overlays: int) -> None:
    try:
        worst = worst_pictures(done.examined, overlays)
        files = write_overlays(done.folder, worst, done.bundle.classes)
        write_curves(done.folder, done.figures.curves, done.figures.boxes, done.bundle.classes)
        if done.thresholds:
            write_thresholds(done.folder, done.thresholds.tried, done.thresholds.chosen)
        text = csv_text(("picture", "class", "x0", "y0", "x1", "y1", "score", "right"), list(_candidate_rows(done)))
        write_atomically(done.folder / CANDIDATES_NAME, text.encode())
        values = json.dumps(_json(done), indent=2, ensure_ascii=False)
        write_atomically(done.folder / FIGURES_NAME, values.encode() + b"\n")
        write_report(done.folder, done, list(zip(worst, files, strict=True)))
    except OSError as exc:
        raise ToolError(
            f"{done.folder}: cannot write the report ({exc.strerror}); check the disk and the rights"
        ) from exc


def _candidate_rows(done: Evaluation) -> Iterator[tuple[object, ...]]:
    """Every candidate with the margin that scoring gives it, for a check by other programs."""
    names = {known.class_id: known.name for known in done.bundle.classes}
    for one in done.examined:
        hits = match_found(one.candidates.found, one.candidates.truth)
        for box, hit in zip(one.candidates.found, hits, strict=True):
            yield one.picture.name, names[box.class_id], *box.xyxy_px, round(box.score, 5), int(hit)


def _json(done: Evaluation) -> dict[str, Any]:
    return {
        "model": done.bundle.model_id,
        "run": done.predictor.name(done.bundle),
        "data": str(done.dataset.folder),
        "pictures": len(done.examined),
        "label_margin_px": done.dataset.label_margin_px,
        "absent_classes": absent_classes(done.dataset, done.bundle.classes),
        "thresholds": {known.name: known.threshold for known in done.bundle.classes},
        **as_json(done.figures),
        "chosen_thresholds": _thresholds_json(done.thresholds) if done.thresholds else None,
        "time": {
            "machine": cpu_name(),
            "seconds": round(done.seconds, 1),
            "segment_ms_mean": round(statistics.fmean(one.segment_ms for one in done.examined), 2),
            "judge_ms_mean": round(statistics.fmean(one.judge_ms for one in done.examined), 2),
        },
        "by_picture": [_picture_json(one) for one in done.examined],
    }


def _thresholds_json(thresholds: Thresholds) -> dict[str, Any]:
    return {
        known.name: {"threshold": known.threshold, "f_score": thresholds.scores[known.name].f_score}
        for known in thresholds.chosen
    } | {ALL: {"f_score": thresholds.scores[ALL].f_score}}


def _picture_json(one: Examined) -> dict[str, Any]:
    errors = picture_errors(one)
    counts = {"labelled": len(one.boxes.truth), "missed": errors.missed, "false": errors.false}
    return {"picture": one.picture.name, "outcome": one.outcome.value, "verdict_right": verdict_right(one), **counts}
