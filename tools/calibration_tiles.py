"""Calibration tiles from labelled pictures, prepared exactly as the device prepares them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_runtime.files import write_atomically
from edge_runtime.values import InputContract
from tools.crops import MEAN, STD
from tools.dataset import load_dataset
from tools.network_file import load_network
from tools.recipe import TILES_NAME
from tools.verify import prepared_tiles, sample_pictures


def write_tiles(out: Path, folders: Sequence[Path], network: Path, count: int, tile_px: int) -> Path:
    """Write `count` tiles, evenly from all data sets, float32 (N, C, tile_px, tile_px); returns the file.

    Raises ToolError for unreadable data.
    """
    graph, _ = load_network(network)
    template = graph.input_channels == 2
    contract = InputContract("GRAY", (MEAN,), (STD,), tile_px, graph.total_stride_px, 0, template)
    share = -(-count // len(folders))
    pictures = [made for folder in folders for made in sample_pictures(load_dataset(folder), tile_px, share, template)]
    stream = io.BytesIO()
    np.savez_compressed(stream, tiles=np.concatenate(prepared_tiles(contract, pictures[:count])))
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / TILES_NAME, stream.getvalue())
    return out / TILES_NAME
