"""`repack`: a new version of a bundle with further networks or sides of tiles, everything else as it was."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge_runtime.engines import engine_version
from edge_runtime.inference.bundle import Bundle, load_bundle
from edge_runtime.inference.bundle_writer import NewArtefact, write_bundle
from edge_runtime.inference.golden import GoldenTile
from edge_runtime.inference.manifest import Draft
from edge_runtime.inference.proof import check_golden
from tools.artefacts import Wanted, kept_artefacts, make_artefacts, proof_sides_px, with_allowances, with_range
from tools.bundle_figures import figures_anew
from tools.bundle_readme import bundle_readme, kept_notes
from tools.errors import ToolError
from tools.evaluation.data import labelled_for
from tools.forms import PRIOR_SHIFT, Motif
from tools.golden_pictures import large_golden_tile
from tools.graph import Graph, Weights
from tools.network_file import load_network
from tools.onnx_network import read_onnx
from tools.predictors import Predictor
from tools.rknn.conversion import Request as RknnRequest
from tools.rknn.conversion import rknn_artefacts
from tools.tile_form import offered_range, with_prior

README = "README.md"


@dataclass(frozen=True)
class RepackRequest:
    """`bundle`, what to add, and what `pack` was told; `allow`: OpenVINO's coarser precisions.

    `replace`: networks that are there already are made anew. `network`: the one it was packed from; None: read from its
    ONNX file. `tile_range_px`: the sides of tiles to offer; `motif`: what the golden tile for them shows. `evaluation`:
    data sets, by label, to state the accuracy on anew. `rknn`: networks for RK3588's NPU, for `input.tile_px` alone.
    """

    bundle: Path
    out: Path
    wanted: Wanted
    network: Path | None = None
    prior_shift: float = PRIOR_SHIFT
    allow: tuple[str, ...] = ()
    replace: bool = False
    tile_range_px: tuple[int, int] | None = None
    motif: Motif = "boards"
    evaluation: tuple[tuple[str, Path], ...] = ()
    rknn: RknnRequest | None = None

    @property
    def targets(self) -> tuple[str, ...]:
        return self.wanted.targets + (self.rknn.targets if self.rknn else ())


def repack(request: RepackRequest) -> Bundle:
    """Write `request.out`, whose last part is the version. Each network passes the golden tiles first.

    Thresholds and golden tiles stay: the old networks computed them; so do figures that are not measured anew. Raises
    ToolError for a network that is not the bundle's, BundleError, DatasetError.
    """
    old = load_bundle(request.bundle)
    again = {one.target for one in old.manifest.artefacts} & set(request.targets)
    if again and not request.replace:
        raise ToolError(f"{old.folder}: has a network for {', '.join(sorted(again))} already; --replace makes it anew")
    request.wanted.check()
    if request.rknn is not None:
        request.rknn.check()
    data = {label: labelled_for(folder, old) for label, folder in request.evaluation}
    golden = [old.read_golden(entry) for entry in old.manifest.golden]
    values = old.manifest.model_dump(exclude={"artefacts", "golden", "signature"})
    draft = Draft(**{**values, "version": request.out.name})
    with tempfile.TemporaryDirectory(prefix="repack-") as scratch:
        kept = [one for one in kept_artefacts(old) if one.target not in again]
        artefacts = kept + _added(old, request, Path(scratch))
        if request.tile_range_px is not None:
            contract = old.input_contract
            range_px = offered_range(request.tile_range_px, contract.stride_px, contract.margin_px)
            artefacts = with_range(artefacts, range_px)
            golden = [*_no_larger(golden, contract.tile_px), golden_for_range(old, range_px, request.motif)]
        artefacts = proved_artefacts(draft, artefacts, golden, _allowed(request, old), Path(scratch))
        if data:
            trial = load_bundle(Path(scratch) / "trial" / "1")
            draft = draft.model_copy(update={"figures": figures_anew(trial, data, request.motif)})
    if request.rknn is not None:
        artefacts += rknn_artefacts(old, *_network(old, request), request.rknn)
    return write_bundle(request.out, draft, artefacts, golden, _readme(old, draft, artefacts, request))


def _added(old: Bundle, request: RepackRequest, scratch: Path) -> list[NewArtefact]:
    if not request.wanted.targets:
        return []
    return make_artefacts(request.wanted, *_network(old, request), old.input_contract.tile_px, scratch)


def _network(old: Bundle, request: RepackRequest) -> tuple[Graph, Weights]:
    if request.network is None:
        entry = old.artefact_for("onnx")
        return read_onnx(old.read(entry), entry.file)
    graph, weights = load_network(request.network)
    check_network(old, graph)
    return graph, with_prior(graph, weights, request.prior_shift)


def _no_larger(golden: Sequence[GoldenTile], tile_px: int) -> list[GoldenTile]:
    return [tile for tile in golden if tile.picture.shape[0] <= tile_px]


def _allowed(request: RepackRequest, old: Bundle) -> tuple[str, ...]:
    """With those that the bundle allowed already: what they move is measured for every side."""
    known = [one.allowed_shares for one in old.manifest.artefacts if one.target == "onnx"]
    return tuple(dict.fromkeys([*request.allow, *(str(name) for shares in known for name in shares)]))


def golden_for_range(bundle: Bundle, range_px: tuple[int, int], motif: Motif) -> GoldenTile:
    """What the x86 network gives for a tile of the largest side offered, whatever the bundle offers so far."""
    segmenter = Predictor("paddle_lite").open(replace(bundle, tile_px=range_px[1]))
    try:
        return large_golden_tile(segmenter, motif)
    finally:
        segmenter.close()


def proved_artefacts(
    draft: Draft, artefacts: Sequence[NewArtefact], golden: Sequence[GoldenTile], allow: Sequence[str], scratch: Path
) -> list[NewArtefact]:
    """With their allowances, after the float networks passed the golden tiles without any. Raises BundleError."""
    trial = write_bundle(scratch / "trial" / "1", draft, artefacts, golden)
    targets = {one.target for one in artefacts}
    for predictor in (Predictor("paddle_lite", "x86"), Predictor("onnxruntime", "onnx"), Predictor("openvino", "onnx")):
        if predictor.target in targets and engine_version(predictor.backend) is not None:
            _prove(trial, predictor)
    return with_allowances(artefacts, trial, allow)


def _prove(bundle: Bundle, predictor: Predictor) -> None:
    target = str(predictor.target)
    for side_px in proof_sides_px(bundle.tile_sides_px(target)):
        sized = bundle.with_tiles(side_px, target)
        segmenter = predictor.open(sized)
        check_golden(sized, segmenter)
        segmenter.close()


def check_network(bundle: Bundle, graph: Graph) -> None:
    """Raise ToolError unless the bundle can have been packed from this network."""
    contract = bundle.input_contract
    expected = (contract.channel_count, len(bundle.classes) + 1, bundle.mask_stride_px)
    found = (graph.input_channels, graph.class_count, graph.output_stride_px)
    if expected != found:
        raise ToolError(
            f"{bundle.folder}: takes {expected[0]} channels and answers {expected[1]} classes at stride {expected[2]}, "
            f"the network {found[0]}, {found[1]} and {found[2]}; give the network it was packed from"
        )


def _readme(old: Bundle, draft: Draft, artefacts: Sequence[NewArtefact], request: RepackRequest) -> str:
    """The text anew, with the old one's notes and what was added."""
    path = old.folder / README
    if not path.is_file():
        return ""
    text = path.read_text(encoding="utf-8")
    added = [f"networks for {', '.join(request.targets)}"] if request.targets else []
    added += ["tiles of many sides"] if request.tile_range_px else []
    changed = f"Version {old.manifest.version} with {' and '.join(added)}; nothing else changed."
    return bundle_readme(draft, kept_notes(text), artefacts=artefacts, changed=changed)
