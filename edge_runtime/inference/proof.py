"""The proof that a bundle computes on this machine what its golden tiles say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.errors import BundleError
from edge_runtime.inference.bundle import Bundle, load_bundle
from edge_runtime.inference.golden import SCORE_TOLERANCE, TileReport, compare, is_defective
from edge_runtime.inference.manifest import Golden
from edge_runtime.inference.nb_file import check_nb, read_nb_header
from edge_runtime.inference.onnx_file import check_onnx
from edge_runtime.inference.rknn_file import read_rknn
from edge_runtime.inference.targets import RKNN_TARGETS
from edge_runtime.interfaces import Segmenter
from edge_runtime.values import Mask
from edge_runtime.vision.preprocess import cut_tile


@dataclass(frozen=True)
class VerifyReport:
    """A bundle that passed, tile by tile."""

    model_id: str
    tiles: tuple[TileReport, ...]


def verify_bundle(
    folder: Path,
    open_segmenter: Callable[[Bundle], Segmenter],
    allowed_share: Callable[[Bundle], float] = lambda bundle: 0.0,
    sized: Callable[[Bundle], Sequence[Bundle]] = lambda bundle: [bundle],
) -> VerifyReport:
    """Load a bundle, check its networks' heads and run its golden tiles on this machine. Raises BundleError.

    `sized`: the same bundle with the sides of tiles to be proved. Runs the predictor in this process: call it in a
    child.
    """
    bundle = load_bundle(folder)
    for artefact in bundle.manifest.artefacts:
        where = str(bundle.folder / artefact.file)
        check_network(artefact.file, bundle.read(artefact), artefact.target, artefact.opset, where)
    check_gate(bundle)
    tiles: list[TileReport] = []
    for one in sized(bundle):
        segmenter = open_segmenter(one)
        try:
            tiles += check_golden(one, segmenter, allowed_share(one))
        finally:
            segmenter.close()
    return VerifyReport(bundle.model_id, tuple(tiles))


def check_golden(bundle: Bundle, segmenter: Segmenter, allowed_share: float = 0.0) -> tuple[TileReport, ...]:
    """Run the golden tiles: a device does so before it trusts a model.

    A tile passes when every defect cell has the golden class and every score lies within 2 of 255 of the golden
    one, in all cells but `allowed_share` of them: what the manifest allows coarser arithmetic. Raises BundleError
    otherwise.
    """
    tiles = run_golden(bundle, segmenter, allowed_share)
    failed = [str(tile) for tile in tiles if not tile.passed]
    if failed:
        raise BundleError(
            f"{bundle.folder}: {len(failed)} of {len(tiles)} golden tiles came out differently: {'; '.join(failed)}; "
            f"allowed are equal classes and scores within {SCORE_TOLERANCE} in all cells but {allowed_share:.3%}; do "
            "not use this model in this way on this machine"
        )
    return tiles


def check_gate(bundle: Bundle) -> None:
    """Prove the bundle's gate on the golden tiles: none that holds a defect may be called clean, and one must hold one.

    Nothing to prove without a gate. Raises BundleError.
    """
    rule = bundle.gate
    if rule is None:
        return
    proved = 0
    for entry in bundle.manifest.golden:
        golden = bundle.read_golden(entry)
        if golden.template is None or not is_defective(golden.mask, bundle.classes):
            continue
        side_px = bundle.manifest.golden_side_px(entry)
        score = rule.score(golden.picture, golden.template, (0, 0, side_px, side_px))
        if score < rule.threshold:
            raise BundleError(
                f"{bundle.folder / entry.picture.file}: the gate calls it clean (score {score:.1f}, threshold "
                f'{rule.threshold:.1f}), and it holds a defect; set inspection.gate = "off", or calibrate the gate anew'
            )
        proved += 1
    if not proved:
        raise BundleError(
            f'{bundle.folder}: no golden tile holds a defect, so nothing proves the gate; set inspection.gate = "off", '
            "or pack a version with golden tiles that show defects"
        )


def run_golden(bundle: Bundle, segmenter: Segmenter, allowed_share: float = 0.0) -> tuple[TileReport, ...]:
    """How each golden tile for the side in use comes out. Raises BundleError for a mask of another size."""
    entries = bundle.manifest.golden_for(bundle.input_contract.tile_px)
    return tuple(_run_golden(bundle, segmenter, entry, allowed_share) for entry in entries)


def check_network(file: str, data: bytes, target: str, opset: int | None, where: str) -> None:
    """Prove a network's head by what its file says of itself. Raises BundleError."""
    if file.endswith(".nb"):
        check_nb(read_nb_header(data, where), target, where)
    elif opset is not None:
        check_onnx(data, opset, where)
    elif target in RKNN_TARGETS:
        read_rknn(data, where)


def _run_golden(bundle: Bundle, segmenter: Segmenter, entry: Golden, allowed_share: float) -> TileReport:
    """Of a golden tile that is larger than the tiles in use, what lies a margin inside the cut is compared."""
    golden, contract = bundle.read_golden(entry), bundle.input_contract
    picture = cut_tile(golden.picture, (0, 0), contract.tile_px)
    template = None if golden.template is None else cut_tile(golden.template, (0, 0), contract.tile_px)
    class_ids, scores = segmenter.predict(picture, template)
    cells = contract.tile_px // bundle.mask_stride_px
    if class_ids.shape != (cells, cells) or scores.shape != (cells, cells):
        raise BundleError(
            f"{bundle.folder / entry.picture.file}: the model answers {class_ids.shape} and {scores.shape}, "
            f"the golden mask is {(cells, cells)}; the artefact does not belong to this manifest"
        )
    if golden.picture.shape[0] > contract.tile_px:
        cells = (contract.tile_px - contract.margin_px) // bundle.mask_stride_px
    answer, wanted = (
        Mask(ids[:cells, :cells], its_scores[:cells, :cells], bundle.mask_stride_px)
        for ids, its_scores in ((class_ids, scores), (golden.mask.class_ids, golden.mask.scores))
    )
    return compare(entry.picture.file, answer, wanted, bundle.classes, allowed_share)
