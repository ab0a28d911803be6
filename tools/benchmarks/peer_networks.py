"""What the peers are given: the bundle's own network in the forms they take, frames and the way a pixel is scaled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from edge_runtime.inference.bundle import Bundle
from edge_runtime.vision.preprocess import value_table
from tools.benchmarks.classic_unet import classic_unet
from tools.errors import ToolError
from tools.graph import Graph, Weights, count_macs, initial_weights
from tools.onnx_network import logits_name, read_onnx

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8


@dataclass(frozen=True)
class Exchange:
    """The folder: `frame_N.npy` (uint8 H, W, 3 BGR), `whole.onnx` (bytes out, the frame's size), `tile.onnx` (bytes
    out, the tile's size), `logits.onnx` (any number of tiles), `paddle/model.pdmodel` and `classic/model.pdmodel`
    (logits of one tile), `job.json`."""

    folder: Path
    frame_hw: tuple[int, int]
    class_count: int
    gmacs: float
    classic_gmacs: float


def prepare_exchange(bundle: Bundle, frames: Sequence[ImageU8], folder: Path, with_classic: bool) -> Exchange:
    """Write the folder. Raises ToolError for a bundle or frames that the peers cannot be given, BundleError."""
    frame_hw = _common_size(bundle, frames)
    artefact = bundle.artefact_for("onnx")
    data = bundle.read(artefact)
    graph, weights = read_onnx(data, str(bundle.folder / artefact.file))
    contract = bundle.input_contract
    (folder / "whole.onnx").write_bytes(resized(data, frame_hw, bundle.mask_stride_px))
    (folder / "tile.onnx").write_bytes(data)
    (folder / "logits.onnx").write_bytes(logits_only(data, graph.class_count, bundle.mask_stride_px))
    _export(graph, weights, contract.tile_px, folder / "paddle")
    classic = classic_unet(graph.input_channels, graph.class_count)
    if with_classic:
        _export(classic, initial_weights(classic, 1), contract.tile_px, folder / "classic")
    for number, frame in enumerate(frames):
        np.save(folder / f"frame_{number}.npy", frame)
    (folder / "job.json").write_text(json.dumps(_job(bundle)), encoding="utf-8")
    gmacs, classic_gmacs = (round(count_macs(each, contract.tile_px) / 1e9, 2) for each in (graph, classic))
    return Exchange(folder, frame_hw, graph.class_count, gmacs, classic_gmacs)


def _common_size(bundle: Bundle, frames: Sequence[ImageU8]) -> tuple[int, int]:
    contract = bundle.input_contract
    sizes = {frame.shape[:2] for frame in frames}
    if contract.template:
        raise ToolError(f"{bundle.folder}: the peers have no way to take a template; choose a bundle without")
    if len(sizes) != 1:
        raise ToolError(f"the frames have {len(sizes)} sizes; whole-frame peers are compiled for one")
    (height_px, width_px) = sizes.pop()
    if height_px % contract.stride_px or width_px % contract.stride_px or min(height_px, width_px) < contract.tile_px:
        raise ToolError(
            f"frames of {height_px} x {width_px} px: whole-frame peers need multiples of {contract.stride_px} px, "
            f"at least {contract.tile_px}"
        )
    return height_px, width_px


def _job(bundle: Bundle) -> dict[str, Any]:
    """What a peer must know to make its input from a frame: numbers only."""
    contract = bundle.input_contract
    tables = [value_table(mean, std).tolist() for mean, std in zip(contract.mean, contract.std, strict=True)]
    return {
        "channels": contract.channels,
        "tables": tables,
        "tile_px": contract.tile_px,
        "margin_px": contract.margin_px,
        "mask_stride_px": bundle.mask_stride_px,
    }


def resized(data: bytes, frame_hw: tuple[int, int], mask_stride_px: int) -> bytes:
    """The same network for another size of input: it has no weight that depends on the size."""
    model = onnx.load_from_string(data)
    cells_hw = [side_px // mask_stride_px for side_px in frame_hw]
    _set_dims(model.graph.input[0], {2: frame_hw[0], 3: frame_hw[1]})
    for output in model.graph.output:
        _set_dims(output, {1: cells_hw[0], 2: cells_hw[1]})
    return bytes(model.SerializeToString(deterministic=True))


def logits_only(data: bytes, class_count: int, mask_stride_px: int) -> bytes:
    """The network up to its logits, for any number of tiles at a time; what follows is cut off."""
    model = onnx.load_from_string(data)
    logits = logits_name(model)
    kept = [node for node in model.graph.node if node.output[0].startswith("n.")]
    needed = {name for node in kept for name in node.input}
    constants = [each for each in model.graph.initializer if each.name in needed]
    _set_dims(model.graph.input[0], {0: "tiles"})
    side_px = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    cells = side_px // mask_stride_px
    output = helper.make_tensor_value_info(logits, TensorProto.FLOAT, ["tiles", class_count, cells, cells])
    made = helper.make_graph(kept, "logits", [model.graph.input[0]], [output], initializer=constants)
    return bytes(
        helper.make_model(made, opset_imports=model.opset_import, ir_version=model.ir_version).SerializeToString()
    )


def _set_dims(value: Any, dims: dict[int, int | str]) -> None:
    shape = value.type.tensor_type.shape
    for index, wanted in dims.items():
        if isinstance(wanted, int):
            shape.dim[index].dim_value = wanted
        else:
            shape.dim[index].dim_param = wanted


def _export(graph: Graph, weights: Weights, tile_px: int, folder: Path) -> None:
    """A Paddle program that gives the logits of one tile."""
    from tools.paddle_first import paddle
    from tools.paddle_network import evaluating

    spec = paddle.static.InputSpec([1, graph.input_channels, tile_px, tile_px], "float32", "tile")
    paddle.jit.save(evaluating(graph, weights), str(folder / "model"), input_spec=[spec])
