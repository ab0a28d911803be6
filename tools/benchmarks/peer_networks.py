"""What the peers are given: a network in the forms they take, frames and the way a pixel is scaled."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from onnx import TensorProto, helper

from edge_runtime.inference.bundle import Bundle
from edge_runtime.vision.preprocess import value_table
from tools.architectures.classic import classic_unet
from tools.errors import ToolError
from tools.graph import Graph, Weights, count_macs, initial_weights
from tools.network_file import load_network
from tools.onnx_file import onnx_bytes
from tools.onnx_network import logits_name, read_onnx
from tools.tile_form import with_prior

if TYPE_CHECKING:
    from edge_runtime.values import InputContract


@dataclass(frozen=True)
class Task:
    """What is to be computed: a network, `data` its ONNX file, on the tiles of `contract`."""

    graph: Graph
    weights: Weights
    data: bytes
    contract: InputContract

    @property
    def mask_stride_px(self) -> int:
        return self.graph.output_stride_px

    @property
    def gmacs(self) -> float:
        """For one tile."""
        return round(count_macs(self.graph, self.contract.tile_px) / 1e9, 2)


def bundle_task(bundle: Bundle, tile_px: int) -> Task:
    """The bundle's own network. Raises BundleError."""
    artefact = bundle.artefact_for("onnx")
    data = resized(bundle.read(artefact), (tile_px, tile_px), bundle.mask_stride_px)
    graph, weights = read_onnx(data, str(bundle.folder / artefact.file))
    return Task(graph, weights, data, replace(bundle.input_contract, tile_px=tile_px))


def classic_task(bundle: Bundle, run: Path | None, tile_px: int) -> Task:
    """The classic UNet for the bundle's pictures, as `run` trained it or untrained.

    Its background's prior is shifted as a bundle's is. Raises ToolError for a run of another network.
    """
    graph = classic_unet(bundle.input_contract.channel_count, len(bundle.classes) + 1)
    weights = initial_weights(graph, 1)
    if run is not None:
        found, weights = load_network(run)
        if found != graph:
            raise ToolError(f"{run}: not a run of tools/benchmarks/classic.toml on the bundle's classes")
    weights = with_prior(graph, weights)
    return Task(graph, weights, onnx_bytes(graph, weights, tile_px), replace(bundle.input_contract, tile_px=tile_px))


def prepare_exchange(task: Task, frame_hw: tuple[int, int], folder: Path) -> Path:
    """Make the folder: `whole.onnx` (bytes out, the frame's size), `tile.onnx` (bytes out, the tile's size),
    `logits.onnx` (any number of tiles), `paddle/model.pdmodel` (logits of one tile), `job.json`."""
    contract, stride_px = task.contract, task.mask_stride_px
    folder.mkdir()
    (folder / "whole.onnx").write_bytes(resized(task.data, frame_hw, stride_px))
    (folder / "tile.onnx").write_bytes(task.data)
    (folder / "logits.onnx").write_bytes(logits_only(task.data, task.graph.class_count, stride_px))
    _export(task.graph, task.weights, contract.tile_px, folder / "paddle")
    (folder / "job.json").write_text(json.dumps(job_of(contract, stride_px)), encoding="utf-8")
    return folder


def common_size(task: Task, sizes_hw: set[tuple[int, int]]) -> tuple[int, int]:
    """The one size of all frames. Raises ToolError for several, or one that a whole-frame peer cannot take."""
    stride_px, tile_px = task.graph.total_stride_px, task.contract.tile_px
    if len(sizes_hw) != 1:
        raise ToolError(f"the frames have {len(sizes_hw)} sizes; whole-frame peers are compiled for one")
    ((height_px, width_px),) = sizes_hw
    if height_px % stride_px or width_px % stride_px or min(height_px, width_px) < tile_px:
        raise ToolError(
            f"frames of {height_px} x {width_px} px: whole-frame peers need multiples of {stride_px} px, "
            f"at least {tile_px}"
        )
    return height_px, width_px


def job_of(contract: InputContract, mask_stride_px: int) -> dict[str, Any]:
    """What a peer must know to make its input from a frame: numbers only."""
    tables = [value_table(mean, std).tolist() for mean, std in zip(contract.mean, contract.std, strict=True)]
    return {
        "channels": contract.channels,
        "tables": tables,
        "template": contract.template,
        "tile_px": contract.tile_px,
        "margin_px": contract.margin_px,
        "mask_stride_px": mask_stride_px,
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
