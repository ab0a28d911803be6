"""`verify`: every artefact that can run here against the float network, in numbers and in defects, as a report."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_runtime.files import write_atomically
from edge_runtime.inference.bundle import Bundle, load_bundle
from edge_runtime.interfaces import Segmenter
from edge_runtime.values import DefectClass
from edge_runtime.vision.overlay import draw_overlay
from tools.dataset import Dataset, gray_to_bgr
from tools.errors import ToolError
from tools.evaluate import RECIPE, read_inputs, segment_picture
from tools.evaluation.comparison import MaskComparison, Totals, compare_masks, total
from tools.evaluation.data import labelled_for
from tools.forms import PRIOR_SHIFT, Motif
from tools.golden_pictures import made_pictures
from tools.graph import Graph, Weights, receptive_radius_px
from tools.markdown import as_html, code, table
from tools.model_files import find_model
from tools.network_file import load_network
from tools.paddle_segmenter import PaddleSegmenter, ProgramSegmenter
from tools.predictors import PADDLE_LITE, Predictor, sized_for
from tools.progress import Advance
from tools.repack import check_network
from tools.tile_form import with_prior
from tools.verify import (
    PARITY_TILES,
    TileParity,
    effective_radius_px,
    float_difference,
    measure_parity,
    prepared_tiles,
    sample_pictures,
)

WORST_PICTURES = 4
FLOAT_LIMIT = 1e-4
SCORE_LIMIT = 2


@dataclass(frozen=True)
class Subject:
    """Something that answers tiles and is held against the float network; `exact` ones must not change a verdict."""

    name: str
    segmenter: Segmenter
    exact: bool


@dataclass(frozen=True)
class Verified:
    """One subject's differences: on single tiles, and on whole pictures of a data set."""

    subject: str
    exact: bool
    tiles: TileParity
    totals: Totals
    worst: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """Everything `verify` found out. `float_difference`: largest difference of a class probability in float32."""

    model_id: str
    data: str
    float_difference: float
    margin_px: int
    effective_radius_px: int
    theoretical_radius_px: int
    subjects: tuple[Verified, ...]

    def failures(self) -> list[str]:
        """Why the bundle must not be trusted; empty when it may."""
        changed = [one.subject for one in self.subjects if one.exact and one.totals.verdicts_changed]
        wrong = [f"{name} changes verdicts" for name in changed]
        wrong += [
            f"{one.subject} differs by {one.tiles.max_score_difference} of 255, more than {SCORE_LIMIT}; is it made "
            "of this network, with this --prior-shift?"
            for one in self.subjects
            if one.exact and one.tiles.max_score_difference > SCORE_LIMIT
        ]
        if self.float_difference > FLOAT_LIMIT:
            wrong.append(f"probabilities differ by {self.float_difference:.3g}, more than {FLOAT_LIMIT:g}")
        if self.effective_radius_px > self.margin_px:
            wrong.append(f"the effective radius {self.effective_radius_px} px exceeds the margin {self.margin_px} px")
        return wrong


@dataclass(frozen=True)
class VerifyRequest:
    """What to verify: a bundle, the network it was packed from, and a data set; `predictors` are what runs it.

    `quantized` is an INT8 program to compare too; `motif` of the made-up pictures and `prior_shift` as in `pack`.
    """

    bundle: Path
    network: Path
    data: Path
    out: Path
    quantized: Path | None = None
    motif: Motif = "boards"
    prior_shift: float = PRIOR_SHIFT
    predictors: tuple[Predictor, ...] = (PADDLE_LITE,)


def verify_bundle(request: VerifyRequest, advance: Advance) -> Report:
    """Compare and write report.md, report.html, verify.json and the worst pictures into `request.out`.

    `advance` is told after each picture. Runs the predictors in this process. Raises ToolError for a network that is
    not the bundle's, BundleError, OSError.
    """
    bundle = load_bundle(request.bundle)
    graph, weights = load_network(request.network)
    weights = with_prior(graph, weights, request.prior_shift)
    check_network(bundle, graph)
    dataset = labelled_for(request.data, bundle)
    request.out.mkdir(parents=True, exist_ok=True)
    if request.quantized is None:  # a program is for tiles of one side
        bundle = sized_for(request.predictors[0], bundle, [picture.size_hw for picture in dataset.pictures])
    contract = bundle.input_contract
    made = made_pictures(request.motif, contract.tile_px, contract.template)
    pictures = made + sample_pictures(dataset, contract.tile_px, PARITY_TILES, contract.template)
    reference, subjects = (
        PaddleSegmenter(graph, weights, contract),
        _subjects(bundle, request.predictors, request.quantized),
    )
    compared = _compare_pictures(reference, subjects, dataset, bundle.classes, advance)
    report = Report(
        model_id=bundle.model_id,
        data=str(request.data),
        float_difference=_float_difference(graph, weights, prepared_tiles(contract, pictures)),
        margin_px=contract.margin_px,
        effective_radius_px=effective_radius_px(graph, weights, prepared_tiles(contract, made)),
        theoretical_radius_px=receptive_radius_px(graph),
        subjects=tuple(
            Verified(
                subject=subject.name,
                exact=subject.exact,
                tiles=measure_parity(reference, subject.segmenter, pictures),
                totals=total(comparisons),
                worst=_draw_worst(bundle, dataset, comparisons, request.out, subject.name),
            )
            for subject, comparisons in zip(subjects, compared, strict=True)
        ),
    )
    _write(request.out, report)
    return report


def _subjects(bundle: Bundle, predictors: Sequence[Predictor], quantized: Path | None) -> list[Subject]:
    """Arithmetic for which the bundle allows nothing must be exact."""
    subjects = [Subject(one.name(bundle), one.open(bundle), one.allowed_share(bundle) == 0) for one in predictors]
    if quantized is not None:
        model = find_model(quantized)
        simulated = ProgramSegmenter(model, bundle.input_contract, bundle.mask_stride_px)
        subjects.append(Subject("INT8 program, simulated by Paddle", simulated, exact=False))
    return subjects


def _compare_pictures(
    reference: Segmenter,
    subjects: Sequence[Subject],
    dataset: Dataset,
    classes: Sequence[DefectClass],
    advance: Advance,
) -> list[list[MaskComparison]]:
    """For each subject its comparison with the reference on every picture."""
    compared: list[list[MaskComparison]] = [[] for _ in subjects]
    for number, picture in enumerate(dataset.pictures, 1):
        inputs = read_inputs(picture, reference.input_contract)
        wanted = segment_picture(reference, *inputs)
        for subject, comparisons in zip(subjects, compared, strict=True):
            found = segment_picture(subject.segmenter, *inputs)
            comparisons.append(compare_masks(wanted, found, classes, classes, RECIPE, picture.size_hw))
        advance(number, len(dataset.pictures))
    return compared


def _draw_worst(
    bundle: Bundle, dataset: Dataset, comparisons: Sequence[MaskComparison], out: Path, subject: str
) -> tuple[str, ...]:
    """The pictures that differ most, each beside itself: what the float network finds, what the subject finds."""
    order = sorted(range(len(comparisons)), key=lambda index: _badness(comparisons[index]), reverse=True)
    files = []
    for index in order[:WORST_PICTURES]:
        picture, found = dataset.pictures[index], comparisons[index].defects
        image = gray_to_bgr(picture.read_image())
        both = [*(a for a, _ in found.same), *(a for a, _ in found.changed_class), *found.missed]
        other = [*(b for _, b in found.same), *(b for _, b in found.changed_class), *found.new]
        one = comparisons[index]
        sides = [
            draw_overlay(image, defects, None, bundle.classes, RECIPE, outcome)
            for defects, outcome in ((both, one.outcome_a), (other, one.outcome_b))
        ]
        name = f"{'-'.join(subject.split())[:24].replace(',', '')}-{picture.name}.png"
        done, encoded = cv2.imencode(".png", np.hstack(sides))
        if not done:
            raise ToolError(f"{out / name}: could not be encoded as PNG")
        write_atomically(out / name, encoded.tobytes())
        files.append(name)
    return tuple(files)


def _badness(one: MaskComparison) -> tuple[bool, int, int, float]:
    found = one.defects
    changed = len(found.missed) + len(found.new) + len(found.changed_class)
    return one.verdict_changed, changed, one.max_score_difference, 1.0 - one.equal_cells / max(1, one.cells)


def _float_difference(graph: Graph, weights: Weights, tiles: Sequence[Any]) -> float:
    with tempfile.TemporaryDirectory(prefix="verify-") as scratch:
        return float_difference(graph, weights, tiles, Path(scratch))


def _write(out: Path, report: Report) -> None:
    text = report_text(report)
    write_atomically(out / "report.md", text.encode())
    write_atomically(out / "report.html", as_html(f"Verification of {report.model_id}", text).encode())
    answer = {**asdict(report), "failures": report.failures()}
    write_atomically(out / "verify.json", json.dumps(answer, indent=1).encode() + b"\n")


def report_text(report: Report, with_pictures: bool = True) -> str:
    failures = report.failures()
    verdict = f"**Do not use it**: {'; '.join(failures)}." if failures else "Everything that must agree does."
    facts = [
        ("class probabilities, Lite x86 against Paddle, float32", f"{report.float_difference:.3g} at most"),
        ("margin, effective and theoretical receptive radius", _radii(report)),
    ]
    parts = [f"# Verification of {code(report.model_id)}", f"Data: {code(report.data)}", verdict]
    parts.append("\n".join(table(("", ""), facts)))
    parts += [_subject_text(one, with_pictures) for one in report.subjects]
    return "\n\n".join(parts) + "\n"


def _radii(report: Report) -> str:
    return f"{report.margin_px} px, {report.effective_radius_px} px, {report.theoretical_radius_px} px"


def _subject_text(one: Verified, with_pictures: bool) -> str:
    rows = [
        ("tiles compared", f"{one.tiles.tiles}"),
        ("largest and mean difference of scores, of 255", _scores(one.tiles)),
        ("defect cells of equal class", f"{one.tiles.equal_class_share:.4%}"),
        ("pictures compared", f"{one.totals.pictures}"),
        ("defects the same", f"{one.totals.same}"),
        ("missed, new, of other class", f"{one.totals.missed}, {one.totals.new}, {one.totals.changed_class}"),
        ("verdicts changed", f"{one.totals.verdicts_changed}"),
        ("cells of equal class after thresholds", f"{one.totals.equal_cell_share:.5%}"),
    ]
    pictures = [f"![the float network's defects, then the subject's]({file})" for file in one.worst]
    title = f"## {one.subject} against the float network"
    shown = ["The pictures that differ most:", *pictures] if with_pictures else []
    return "\n\n".join([title, "\n".join(table(("", ""), rows)), *shown])


def _scores(parity: TileParity) -> str:
    return f"{parity.max_score_difference}, {parity.mean_score_difference:.5f}"
