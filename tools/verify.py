"""What is measured of an artefact: parity with the float network, receptive radius, time a tile."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edge_runtime.interfaces import Segmenter
from edge_runtime.values import InputContract
from edge_runtime.vision.preprocess import TilePreprocessor, cut_tile
from edge_runtime.vision.registration import register_template
from tools.convert import run_opt
from tools.dataset import Dataset, Picture, gray_to_bgr
from tools.errors import ToolError
from tools.export import export_network, exported_network
from tools.golden_pictures import MadePicture
from tools.graph import FloatArray, Graph, Weights, receptive_radius_px
from tools.model_files import find_model
from tools.paddle_first import paddle
from tools.simulate import run_lite

if TYPE_CHECKING:
    from edge_runtime.interfaces import TileF32
    from edge_runtime.values import ImageU8

RADIUS_LEVEL = 1e-4
RADIUS_TILE_PX = 512
LARGEST_EXACT_MARGIN_PX = 64
TIMED_TILES = 20
PARITY_TILES = 12


@dataclass(frozen=True)
class TileParity:
    """An artefact against the float network: score differences of 255, and the share of cells of equal class.

    Classes are compared where either says defect: in the background the likeliest defect is chance.
    """

    tiles: int
    max_score_difference: int
    mean_score_difference: float
    equal_class_share: float


def prepared_tiles(contract: InputContract, pictures: Sequence[MadePicture]) -> list[TileF32]:
    """The first tile of each picture as the device would prepare it."""
    preprocessor = TilePreprocessor(contract)
    return [preprocessor.tile(made.image, (0, 0), made.template) for made in pictures]


def sample_pictures(dataset: Dataset, tile_px: int, count: int, with_template: bool) -> list[MadePicture]:
    """The top left tile of `count` pictures spread over a data set, with its registered template if wanted."""
    step = max(1, len(dataset.pictures) // count)
    return [_first_tile(picture, tile_px, with_template) for picture in dataset.pictures[::step][:count]]


def _first_tile(picture: Picture, tile_px: int, with_template: bool) -> MadePicture:
    image = picture.read_image()
    template = register_template(image, picture.read_template()) if with_template else None
    cut = (slice(tile_px), slice(tile_px))
    return MadePicture(gray_to_bgr(image[cut]), None if template is None else np.ascontiguousarray(template[cut]))


def measure_parity(reference: Segmenter, segmenter: Segmenter, pictures: Sequence[MadePicture]) -> TileParity:
    """Compare an artefact with the float network, cell by cell, on the first tile of each picture."""
    differences, equal, defective = [], 0, 0
    for made in pictures:
        (wanted_ids, wanted), (found_ids, found) = _first_answer(reference, made), _first_answer(segmenter, made)
        differences.append(np.abs(found.astype(np.int16) - wanted))
        sure = np.maximum(found, wanted) >= 128
        equal += int(np.count_nonzero((wanted_ids == found_ids) & sure))
        defective += int(np.count_nonzero(sure))
    share = equal / defective if defective else 1.0
    return TileParity(len(pictures), int(np.max(differences)), float(np.mean(differences)), share)


def float_difference(graph: Graph, weights: Weights, tiles: Sequence[TileF32], scratch: Path) -> float:
    """Largest difference of any class probability between the Lite x86 twin and Paddle, both in float32.

    Raises ToolError where Paddle Lite answers no numbers: its softmax on x86 fails (2.13rc0) where the logits of nearby
    cells lie too far apart, and a score would be 0 there, whatever the cell shows.
    """
    program = export_network(graph, weights, scratch / "probabilities", tiles[0].shape[-1], output_form="probabilities")
    model = find_model(program)
    stacked = np.stack(tiles)
    (found,) = run_lite(run_opt(model, "x86", scratch), [stacked], str(program))
    if not np.isfinite(found).all():
        raise ToolError(
            f"{np.mean(~np.isfinite(found)):.1%} of the probabilities are no numbers in Paddle Lite: the network's "
            "logits lie too far apart for its softmax; train it for more steps, or with a lower peak_rate"
        )
    wanted = _probabilities(exported_network(graph, weights, output_form="probabilities"), stacked[:, 0])
    return float(np.abs(found[:, 0] - wanted).max())


def effective_radius_px(graph: Graph, weights: Weights, tiles: Sequence[TileF32]) -> int:
    """How far a change of the input moves any class probability by more than `RADIUS_LEVEL`.

    Everything on one side of a line is replaced by another tile's values; measured from the line in all four
    directions, for every position of the line within the total stride. A radius beyond half of the tiles cannot be
    seen.
    """
    network = exported_network(graph, weights, output_form="probabilities")
    side_px = min(RADIUS_TILE_PX, tiles[0].shape[-1])
    cut = [np.ascontiguousarray(tile[..., :side_px, :side_px]) for tile in tiles]
    return max(
        _reach_px(network, graph, np.rot90(tile, turn, (2, 3)), np.rot90(other, turn, (2, 3)))
        for tile, other in zip(cut, cut[1:] + cut[:1], strict=True)
        for turn in range(4)
    )


def choose_margin_px(graph: Graph, measured_px: Callable[[], int]) -> int:
    """A multiple of the total stride: the theoretical radius where that is cheap, else the measured one.

    With the theoretical radius stitching is exact whatever the picture.
    """
    theoretical_px = receptive_radius_px(graph)
    radius_px = theoretical_px if theoretical_px <= LARGEST_EXACT_MARGIN_PX else measured_px()
    return -(-radius_px // graph.total_stride_px) * graph.total_stride_px


def tile_ms(segmenters: Sequence[Segmenter], pictures: Sequence[MadePicture]) -> list[float]:
    """Median CPU time of a picture's first tile for each of several segmenters.

    Taken in turn, so that a busy machine meets all.
    """
    times: list[list[float]] = [[] for _ in segmenters]
    for _ in range(TIMED_TILES):
        for segmenter, made, its_times in zip(segmenters, pictures, times, strict=True):
            its_times.append(_cpu_ms(segmenter, made))
    return [float(np.median(its_times)) for its_times in times]


def _reach_px(network: Any, graph: Graph, tile: npt.NDArray[Any], other: npt.NDArray[Any]) -> int:
    """The largest reach to the right of a line with everything left of it replaced."""
    unchanged = _probabilities(network, tile)
    stride_px = graph.output_stride_px
    reaches = [0]
    for phase in range(0, graph.total_stride_px, stride_px):
        line = tile.shape[3] // 2 + phase
        changed = tile.copy()
        changed[..., :line] = other[..., :line]
        moved = np.max(np.abs(_probabilities(network, changed) - unchanged), axis=(0, 1, 2))
        reaches += [int(column) * stride_px - (line - 1) for column in np.flatnonzero(moved > RADIUS_LEVEL)]
    return max(reaches)


def _probabilities(network: Any, tiles: npt.NDArray[Any]) -> FloatArray:
    with paddle.no_grad():
        return np.asarray(network(paddle.to_tensor(np.ascontiguousarray(tiles))).numpy(), np.float32)


def _first_answer(segmenter: Segmenter, made: MadePicture) -> tuple[ImageU8, ImageU8]:
    tile_px = segmenter.input_contract.tile_px
    template = None if made.template is None else cut_tile(made.template, (0, 0), tile_px)
    return segmenter.predict(cut_tile(made.image, (0, 0), tile_px), template)


def _cpu_ms(segmenter: Segmenter, made: MadePicture) -> float:
    began_ns = time.process_time_ns()
    _first_answer(segmenter, made)
    return (time.process_time_ns() - began_ns) / 1e6
