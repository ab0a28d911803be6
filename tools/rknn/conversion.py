"""A bundle's network converted for the NPU and run in the simulator, and the files for the bundle's next version."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_runtime.inference.bundle import Bundle
from edge_runtime.inference.bundle_writer import NewArtefact
from edge_runtime.inference.margins import MarginsEngine
from edge_runtime.inference.network import NetworkSegmenter
from edge_runtime.inference.proof import run_golden
from edge_runtime.inference.rknn_file import check_rknn
from edge_runtime.inference.rknn_lite import rknn_tensors
from edge_runtime.inference.targets import RKNN_TARGETS
from edge_runtime.interfaces import Segmenter
from edge_runtime.values import InputContract
from tools.artefacts import allowance
from tools.calibration import Tiles, check_tiles
from tools.errors import CalibrationError, ToolError
from tools.graph import Graph, Weights, macs_by_node
from tools.onnx_network import read_onnx
from tools.program_file import FLOAT32, Variable
from tools.rknn.layers import NpuLayer, read_layers
from tools.rknn.margins import margins_onnx
from tools.rknn.simulator import PixelsU8, Simulator

FILES = {"rknn": "model.rknn", "rknn+int8": "model.int8.rknn"}
PIXEL_TOLERANCE = 0.01


@dataclass(frozen=True)
class Request:
    """Targets of `RKNN_TARGETS`, the interpreter that has the toolkit, and calibration tiles for INT8."""

    targets: tuple[str, ...]
    python: Path
    calibration: Tiles | None = None

    def check(self) -> None:
        """Raise ToolError for what the targets need and lack."""
        if unknown := set(self.targets) - set(RKNN_TARGETS):
            raise ToolError(f"target {', '.join(sorted(unknown))}: allowed are {', '.join(RKNN_TARGETS)}")
        if "rknn+int8" in self.targets and self.calibration is None:
            raise ToolError(
                "target rknn+int8 needs calibration tiles: make them with `python -m tools tiles`, give --calibration"
            )


@dataclass(frozen=True)
class Simulated:
    """A network for one target: the file, what the compiler says of its layers, and the simulator as a segmenter."""

    target: str
    data: bytes
    version: str
    layers: tuple[NpuLayer, ...]
    segmenter: Segmenter


def float_network(bundle: Bundle) -> tuple[Graph, Weights]:
    """What the bundle's ONNX file computes. Raises BundleError for a bundle without one."""
    entry = bundle.artefact_for("onnx")
    return read_onnx(bundle.read(entry), str(bundle.folder / entry.file))


@contextmanager
def simulated(bundle: Bundle, graph: Graph, weights: Weights, target: str, request: Request) -> Iterator[Simulated]:
    """Convert for `target`; the segmenter works until the block ends. Raises ToolError, BundleError."""
    request.check()
    contract, where = bundle.input_contract, FILES[target]
    calibration = None
    if target == "rknn+int8" and request.calibration is not None:
        calibration = calibration_pixels(request.calibration, contract)
    tile, answer = rknn_tensors(bundle)
    network = margins_onnx(graph, weights, contract.tile_px)
    with tempfile.TemporaryDirectory(prefix="rknn-") as scratch:
        simulator = Simulator(request.python, network, contract, answer[1], answer[2], Path(scratch))
        try:
            built = simulator.build(calibration)
            check_rknn(built.data, built.version, tile, answer, where)
            layers = tuple(read_layers(built.log, macs_by_node(graph, contract.tile_px)))
            segmenter = NetworkSegmenter(bundle, where, MarginsEngine(bundle, simulator.infer))
            yield Simulated(target, built.data, built.version, layers, segmenter)
        finally:
            simulator.close()


def rknn_artefacts(bundle: Bundle, graph: Graph, weights: Weights, request: Request) -> list[NewArtefact]:
    """A file for each target, allowed to move of the golden tiles what `allowance` makes of the simulator's answer.

    Raises ToolError, BundleError.
    """
    made = []
    for target in request.targets:
        with simulated(bundle, graph, weights, target, request) as one:
            moved = max(tile.moved_share for tile in run_golden(bundle, one.segmenter))
        arithmetic, precision = ("int8", "int8") if target == "rknn+int8" else ("f16", "fp16")
        made.append(
            NewArtefact(
                FILES[target],
                one.data,
                target,  # type: ignore[arg-type]
                precision,  # type: ignore[arg-type]
                rknn_version=one.version,
                allowed_shares={arithmetic: allowance(moved, f"{FILES[target]} in the simulator")},
            )
        )
    return made


def calibration_pixels(tiles: Tiles, contract: InputContract) -> PixelsU8:
    """The pixels, uint8 (N, H, W, C), of tiles that the contract prepared. Raises CalibrationError for others."""
    sides = (1, contract.channel_count, contract.tile_px, contract.tile_px)
    check_tiles(tiles, Variable("tile", FLOAT32, sides, persistable=False, holder=False))
    templates = int(contract.template)
    mean, std = (np.array([*each, *each[:1] * templates]).reshape(-1, 1, 1) for each in (contract.mean, contract.std))
    values = (tiles * std + mean) * 255
    pixels = np.rint(values)
    if np.abs(values - pixels).max() > PIXEL_TOLERANCE or pixels.min() < 0 or pixels.max() > 255:
        raise CalibrationError(
            "calibration tiles: no pixels give these values by the bundle's mean and std; make them with "
            "`python -m tools tiles` for this network"
        )
    return np.ascontiguousarray(pixels.astype(np.uint8).transpose(0, 2, 3, 1))
