"""What every segmenter refuses before native code can see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_runtime.errors import InferenceError

if TYPE_CHECKING:
    from edge_runtime.interfaces import TileF32
    from edge_runtime.values import InputContract


def check_tile(tile: TileF32, contract: InputContract) -> None:
    """Raise InferenceError unless `tile` is contiguous float32 (1, C, tile_px, tile_px) and finite."""
    shape = (1, contract.channel_count, contract.tile_px, contract.tile_px)
    if not isinstance(tile, np.ndarray):
        raise InferenceError(f"tile: must be an array, not {type(tile).__name__}; {_answer(contract)}")
    if tile.dtype != np.float32:
        raise InferenceError(f"tile: dtype must be float32, not {tile.dtype}; {_answer(contract)}")
    if tile.shape != shape:
        raise InferenceError(f"tile: shape must be {shape} for life, not {tile.shape}; {_answer(contract)}")
    if not tile.flags.c_contiguous:
        raise InferenceError(f"tile: must be C-contiguous; {_answer(contract)}")
    if not np.isfinite(tile).all():
        raise InferenceError(f"tile: holds NaN or infinity; {_answer(contract)}")


def _answer(contract: InputContract) -> str:
    template = " with template" if contract.template else ""
    return (
        "make it with TilePreprocessor from the bundle's own contract "
        f"({contract.channels}{template}, {contract.tile_px} px)"
    )
