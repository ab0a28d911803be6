"""`repack`: a new version of a bundle with further networks, everything else as it was."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.inference.bundle import Bundle, NewArtefact, check_golden, load_bundle, write_bundle
from edge_runtime.inference.golden import GoldenTile
from edge_runtime.inference.manifest import Draft
from tools.artefacts import Wanted, kept_artefacts, make_artefacts, with_allowances
from tools.errors import ToolError
from tools.forms import PRIOR_SHIFT
from tools.graph import Graph
from tools.network_file import load_network
from tools.predictors import Predictor
from tools.tile_form import with_prior

README = "README.md"


@dataclass(frozen=True)
class RepackRequest:
    """`bundle`, the network it was packed from, and what `pack` was told; `allow`: OpenVINO's coarser precisions."""

    bundle: Path
    network: Path
    out: Path
    wanted: Wanted
    prior_shift: float = PRIOR_SHIFT
    allow: tuple[str, ...] = ()


def repack(request: RepackRequest) -> Bundle:
    """Write `request.out`, whose last part is the version. Each new network passes the golden tiles first.

    Thresholds, figures and golden tiles stay: the old networks computed them. Raises ToolError for a network that is
    not the bundle's, BundleError.
    """
    old = load_bundle(request.bundle)
    graph, weights = load_network(request.network)
    check_network(old, graph)
    present = {one.target for one in old.manifest.artefacts}
    if again := present & set(request.wanted.targets):
        raise ToolError(f"{old.folder}: has a network for {', '.join(sorted(again))} already")
    golden = [old.read_golden(entry) for entry in old.manifest.golden]
    values = old.manifest.model_dump(exclude={"artefacts", "golden", "signature"})
    draft = Draft(**{**values, "version": request.out.name})
    with tempfile.TemporaryDirectory(prefix="repack-") as scratch:
        tile_px = old.input_contract.tile_px
        weights = with_prior(graph, weights, request.prior_shift)
        artefacts = kept_artefacts(old) + make_artefacts(request.wanted, graph, weights, tile_px, Path(scratch))
        artefacts = proved_artefacts(draft, artefacts, golden, request.allow, Path(scratch))
    return write_bundle(request.out, draft, artefacts, golden, _readme(old, request))


def proved_artefacts(
    draft: Draft, artefacts: Sequence[NewArtefact], golden: Sequence[GoldenTile], allow: Sequence[str], scratch: Path
) -> list[NewArtefact]:
    """With their allowances, after the float ONNX network passed the golden tiles without any. Raises BundleError."""
    trial = write_bundle(scratch / "trial" / "1", draft, artefacts, golden)
    if any(one.target == "onnx" for one in artefacts):
        segmenter = Predictor("onnxruntime").open(trial)
        check_golden(trial, segmenter)
        segmenter.close()
    return with_allowances(artefacts, trial, allow)


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


def _readme(old: Bundle, request: RepackRequest) -> str:
    """The old text under the new version, which says what was added."""
    path = old.folder / README
    if not path.is_file():
        return ""
    text = path.read_text(encoding="utf-8")
    title, version = f"# {old.manifest.name}, version ", old.manifest.version
    note = f"Version {version} with networks for {', '.join(request.wanted.targets)}; nothing else changed."
    return text.replace(f"{title}{version}\n", f"{title}{request.out.name}\n\n{note}\n", 1)
