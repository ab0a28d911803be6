"""The networks of a bundle, one for each target: `.nb` files by opt, `.onnx` files written here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.engines import engine_version
from edge_runtime.inference.bundle import Bundle
from edge_runtime.inference.bundle_writer import NewArtefact
from edge_runtime.inference.manifest import MAX_ALLOWED_SHARE
from edge_runtime.inference.proof import run_golden
from edge_runtime.inference.targets import ONNX_TARGETS
from tools.calibration import Tiles
from tools.convert import Converted, convert_model
from tools.errors import ToolError
from tools.export import export_network
from tools.graph import Graph, Weights
from tools.predictors import Predictor

if TYPE_CHECKING:
    from edge_runtime.inference.targets import Target

ALLOWED_OVER_MEASURED = 2.0
ALLOWED_STEP = 5e-4
# A file for these targets runs tiles of any side, one predictor a side; NNAdapter compiles for one.
ANY_SIDE = ("x86", "arm", "arm+fp16", "arm+int8", "onnx", "onnx+int8")
PROOF_SIDES_PX = (384, 512, 576, 640, 768, 1088)


@dataclass(frozen=True)
class Wanted:
    """`targets` of the manifest. `quantized`: an INT8 program for arm+int8. `calibration`: tiles for onnx+int8."""

    targets: tuple[str, ...]
    quantized: Path | None = None
    calibration: Tiles | None = None

    def check(self) -> None:
        """Raise ToolError for what the chosen targets need and lack."""
        if "onnx+int8" in self.targets and self.calibration is None:
            raise ToolError(
                "target onnx+int8 needs calibration tiles: make them with `python -m tools tiles`, give --calibration"
            )


def make_artefacts(wanted: Wanted, graph: Graph, weights: Weights, tile_px: int, scratch: Path) -> list[NewArtefact]:
    """One file for each target, in that order, the INT8 program's last. `weights` hold the prior already.

    Raises ToolError, CalibrationError, ConversionError.
    """
    wanted.check()
    made: dict[str, NewArtefact] = {}
    by_opt = [target for target in wanted.targets if target not in ONNX_TARGETS]
    if by_opt:
        program = export_network(graph, weights, scratch / "model", tile_px)
        made.update((one.target, _from_opt(one)) for one in convert_model(program, scratch, by_opt))
    if set(wanted.targets) & set(ONNX_TARGETS):
        made.update(_onnx_artefacts(wanted, graph, weights, tile_px))
    artefacts = [made[target] for target in wanted.targets]
    if wanted.quantized is not None:
        artefacts += [_from_opt(one) for one in convert_model(wanted.quantized, scratch, ["arm+int8"])]
    return artefacts


def _from_opt(made: Converted) -> NewArtefact:
    name = f"model.{made.target.replace('+', '-').replace(',', '-')}.nb"
    return NewArtefact(name, made.path.read_bytes(), made.target, made.precision, made.opt_version)  # type: ignore[arg-type]


def _onnx_artefacts(wanted: Wanted, graph: Graph, weights: Weights, tile_px: int) -> dict[str, NewArtefact]:
    from tools.onnx_file import OPSET, onnx_bytes

    data = onnx_bytes(graph, weights, tile_px)
    made = {"onnx": NewArtefact("model.onnx", data, "onnx", "fp32", opset=OPSET)}
    if "onnx+int8" in wanted.targets:
        from tools.onnx_quantize import quantize_onnx

        assert wanted.calibration is not None
        small = quantize_onnx(data, wanted.calibration)
        made["onnx+int8"] = NewArtefact("model.int8.onnx", small, "onnx+int8", "int8", opset=OPSET)
    return made


def with_range(artefacts: Sequence[NewArtefact], range_px: tuple[int, int]) -> list[NewArtefact]:
    """The same networks for tiles of every side in the range; those of targets that know one side stay as they are."""
    return [_ranged(one, range_px) if one.target in ANY_SIDE else one for one in artefacts]


def _ranged(one: NewArtefact, range_px: tuple[int, int]) -> NewArtefact:
    if one.target not in ONNX_TARGETS:
        return replace(one, tile_range_px=range_px)
    from tools.onnx_file import with_free_sides

    return replace(one, data=with_free_sides(one.data), tile_range_px=range_px)


def proof_sides_px(range_px: range) -> list[int]:
    """The sides on which a network is proved and measured where it is packed: the ends and some between."""
    return sorted({range_px[0], range_px[-1], *(side for side in PROOF_SIDES_PX if side in range_px)})


def kept_artefacts(bundle: Bundle) -> list[NewArtefact]:
    """Those of an existing bundle, as they are."""
    return [
        NewArtefact(
            one.file,
            bundle.read(one),
            one.target,
            one.precision,
            one.opt_version,
            one.opset,
            {str(name): share for name, share in one.allowed_shares.items()},
            one.tile_range_px,
            one.rknn_version,
        )
        for one in bundle.manifest.artefacts
    ]


def with_allowances(artefacts: Sequence[NewArtefact], bundle: Bundle, precisions: Sequence[str]) -> list[NewArtefact]:
    """The same files, each with what coarser arithmetic may move of the golden tiles: twice what it does move here.

    INT8 networks are run by every engine that is installed; `precisions` are OpenVINO's, for the float one. `bundle`
    holds these artefacts and the golden tiles. Raises ToolError for arithmetic that moves too much.
    """
    shares: dict[Target, dict[str, float]] = {}
    for artefact in artefacts:
        if artefact.target == "onnx+int8":
            engines = [name for name in ("onnxruntime", "openvino") if engine_version(name) is not None]
            tried = [Predictor(name, artefact.target) for name in engines]
            shares[artefact.target] = {"int8": _allowed(bundle, tried)}
        elif artefact.target == "onnx":
            shares[artefact.target] = {
                name: _allowed(bundle, [Predictor("openvino", "onnx", name)]) for name in precisions
            }
    return [replace(one, allowed_shares={**one.allowed_shares, **shares.get(one.target, {})}) for one in artefacts]


def _allowed(bundle: Bundle, predictors: Iterable[Predictor]) -> float:
    moved = {one.name(bundle): _moved_share(bundle, one) for one in predictors}
    worst = max(moved, key=lambda name: moved[name])
    return allowance(moved[worst], worst)


def allowance(moved_share: float, name: str) -> float:
    """What a bundle allows arithmetic that moves this share of a golden tile's cells. Raises ToolError for too much."""
    allowed = math.ceil(moved_share * ALLOWED_OVER_MEASURED / ALLOWED_STEP) * ALLOWED_STEP
    if allowed > MAX_ALLOWED_SHARE:
        raise ToolError(
            f"{name} moves {moved_share:.2%} of a golden tile's cells; twice that is more than a bundle may allow "
            f"({MAX_ALLOWED_SHARE:.0%}); leave it out, or give better calibration tiles"
        )
    return round(max(allowed, ALLOWED_STEP), 6)


def _moved_share(bundle: Bundle, predictor: Predictor) -> float:
    """The largest over the golden tiles and the sides of tiles."""
    shares = []
    for side_px in proof_sides_px(bundle.tile_sides_px(predictor.target or "onnx")):
        sized = bundle.with_tiles(side_px, predictor.target or "onnx")
        segmenter = predictor.open(sized)
        shares += [tile.moved_share for tile in run_golden(sized, segmenter)]
        segmenter.close()
    return max(shares)
