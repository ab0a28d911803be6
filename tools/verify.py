"""What `pack` measures of a model: parity with the float network, its effective receptive radius, time per tile."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edge_runtime.inference.bundle import load_bundle
from edge_runtime.inference.golden import GoldenTile
from edge_runtime.inference.paddle_lite import PaddleLiteSegmenter
from edge_runtime.interfaces import Segmenter
from edge_runtime.values import InputContract, Mask
from edge_runtime.vision.boards import BINARY, CAMERA, paint_board
from edge_runtime.vision.preprocess import TilePreprocessor
from tools.dataset import Dataset, gray_to_bgr
from tools.export import load_run_network
from tools.networks import OUTPUT_STRIDE_PX, TOTAL_STRIDE_PX, BytesOut
from tools.paddle_first import paddle

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8


GOLDEN_SEED = 2024
RADIUS_LEVEL = 1e-4
RADIUS_TILE_PX = 256
LARGEST_EXACT_MARGIN_PX = 64
TIMED_TILES = 20
PARITY_TILES = 12


@dataclass(frozen=True)
class TileParity:
    """An artefact against the float network: score differences of 255, and the share of cells of equal class."""

    tiles: int
    max_score_difference: int
    mean_score_difference: float
    equal_class_share: float


def verify_bundle(folder: Path, run: Path, datasets: Sequence[Dataset]) -> tuple[TileParity, int, Any]:
    """Parity of the bundle's x86 artefact with the run's float network, its effective radius, and that network.

    Compared on the golden pictures and on some of each data set; runs the predictor in this process.
    """
    network = load_run_network(run)
    segmenter = PaddleLiteSegmenter(load_bundle(folder), threads=1)
    contract = segmenter.input_contract
    pictures = golden_pictures(contract.tile_px)
    measured_px = effective_radius_px(network, contract, pictures)
    for dataset in datasets:
        pictures += sample_pictures(dataset, contract.tile_px, PARITY_TILES)
    return measure_parity(network, segmenter, pictures), measured_px, network


def golden_pictures(tile_px: int) -> list[ImageU8]:
    """Made-up boards with defects, two as a camera shows them and two as two-level scans."""
    styles = (CAMERA, CAMERA, BINARY, BINARY)
    return [
        paint_board(GOLDEN_SEED, index, (tile_px, tile_px), replace(style, defects_mean=8.0, clean_share=0.0)).image
        for index, style in enumerate(styles)
    ]


def golden_tiles(segmenter: Segmenter) -> list[GoldenTile]:
    """The golden pictures and the masks that `segmenter` gives for them."""
    preprocessor = TilePreprocessor(segmenter.input_contract)
    tiles = []
    for picture in golden_pictures(segmenter.input_contract.tile_px):
        class_ids, scores = segmenter.predict(preprocessor.tile(picture, (0, 0)))
        tiles.append(GoldenTile(picture, Mask(class_ids, scores, segmenter.mask_stride_px)))
    return tiles


def sample_pictures(dataset: Dataset, tile_px: int, count: int) -> list[ImageU8]:
    """The top left tile of `count` pictures spread over a data set."""
    step = max(1, len(dataset.pictures) // count)
    chosen = dataset.pictures[::step][:count]
    return [gray_to_bgr(picture.read_image()[:tile_px, :tile_px]) for picture in chosen]


def measure_parity(network: Any, segmenter: Segmenter, pictures: Sequence[ImageU8]) -> TileParity:
    """Compare an artefact with the float network, cell by cell, on the first tile of each picture."""
    reference = BytesOut(network)
    reference.eval()
    preprocessor = TilePreprocessor(segmenter.input_contract)
    differences, equal = [], []
    for picture in pictures:
        tile = preprocessor.tile(picture, (0, 0))
        class_ids, scores = segmenter.predict(tile)
        with paddle.no_grad():
            wanted_ids, wanted_scores = (plane.numpy()[0] for plane in reference(paddle.to_tensor(tile)))
        differences.append(np.abs(scores.astype(np.int16) - wanted_scores))
        equal.append(np.mean(class_ids == wanted_ids))
    return TileParity(len(pictures), int(np.max(differences)), float(np.mean(differences)), float(np.mean(equal)))


def effective_radius_px(network: Any, contract: InputContract, pictures: Sequence[ImageU8]) -> int:
    """How far a change of the input moves any class probability by more than `RADIUS_LEVEL`.

    Everything on one side of a line is replaced by another picture's pixels; measured from the line in all four
    directions, for every position of the line within the total stride. A radius beyond half of `RADIUS_TILE_PX`
    cannot be seen.
    """
    preprocessor = TilePreprocessor(contract)
    tiles = [preprocessor.tile(p, (0, 0))[..., :RADIUS_TILE_PX, :RADIUS_TILE_PX].copy() for p in pictures]
    return max(
        _reach_px(network, np.rot90(tile, turn, (2, 3)), np.rot90(other, turn, (2, 3)))
        for tile, other in zip(tiles, tiles[1:] + tiles[:1], strict=True)
        for turn in range(4)
    )


def choose_margin_px(theoretical_px: int, measured_px: int) -> int:
    """A multiple of the total stride: the theoretical radius where that is cheap, else the measured one.

    With the theoretical radius stitching is exact whatever the picture.
    """
    radius_px = theoretical_px if theoretical_px <= LARGEST_EXACT_MARGIN_PX else measured_px
    return -(-radius_px // TOTAL_STRIDE_PX) * TOTAL_STRIDE_PX


def tile_ms(segmenter: Segmenter) -> float:
    """Median CPU time of one tile, preprocessing excluded."""
    pictures = golden_pictures(segmenter.input_contract.tile_px)[:1]
    tile = TilePreprocessor(segmenter.input_contract).tile(pictures[0], (0, 0))
    return float(np.median([_cpu_ms(segmenter, tile) for _ in range(TIMED_TILES)]))


def _reach_px(network: Any, tile: npt.NDArray[Any], other: npt.NDArray[Any]) -> int:
    """The largest reach to the right of a line with everything left of it replaced."""
    unchanged = _probabilities(network, tile)
    reaches = [0]
    for phase in range(0, TOTAL_STRIDE_PX, OUTPUT_STRIDE_PX):
        line = tile.shape[3] // 2 + phase
        changed = tile.copy()
        changed[..., :line] = other[..., :line]
        moved = np.max(np.abs(_probabilities(network, changed) - unchanged), axis=(0, 1, 2))
        reaches += [int(column) * OUTPUT_STRIDE_PX - (line - 1) for column in np.flatnonzero(moved > RADIUS_LEVEL)]
    return max(reaches)


def _probabilities(network: Any, tile: npt.NDArray[Any]) -> npt.NDArray[Any]:
    with paddle.no_grad():
        logits = network(paddle.to_tensor(np.ascontiguousarray(tile)))
        return np.asarray(paddle.nn.functional.softmax(logits, axis=1).numpy())


def _cpu_ms(segmenter: Segmenter, tile: npt.NDArray[Any]) -> float:
    began_ns = time.process_time_ns()
    segmenter.predict(tile)
    return (time.process_time_ns() - began_ns) / 1e6
