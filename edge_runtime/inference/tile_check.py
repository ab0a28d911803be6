"""What every segmenter refuses before native code can see it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edge_runtime.errors import InferenceError

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8, InputContract


def check_tile(picture: ImageU8, template: ImageU8 | None, contract: InputContract) -> None:
    """Raise InferenceError unless both are as `interfaces.Segmenter.predict` wants them."""
    side = contract.tile_px
    _check_plane("picture", picture, (side, side, 3), contract)
    if (template is not None) != contract.template:
        problem = "the model needs one" if template is None else "the model takes none"
        raise InferenceError(f"template: {problem}; {_answer(contract)}")
    if template is not None:
        _check_plane("template", template, (side, side), contract)


def _check_plane(name: str, plane: ImageU8, shape: tuple[int, ...], contract: InputContract) -> None:
    if not isinstance(plane, np.ndarray):
        raise InferenceError(f"{name}: must be an array, not {type(plane).__name__}; {_answer(contract)}")
    if plane.dtype != np.uint8:
        raise InferenceError(f"{name}: dtype must be uint8, not {plane.dtype}; {_answer(contract)}")
    if plane.shape != shape:
        raise InferenceError(f"{name}: shape must be {shape} for life, not {plane.shape}; {_answer(contract)}")
    row_bytes = math.prod(shape[1:])
    if plane.strides[1:] != (row_bytes // shape[1], 1)[: len(shape) - 1] or plane.strides[0] < row_bytes:
        raise InferenceError(f"{name}: only its rows may lie apart, strides are {plane.strides}; {_answer(contract)}")


def _answer(contract: InputContract) -> str:
    template = " with template" if contract.template else ""
    return f"cut it with cut_tile by the bundle's own contract ({contract.channels}{template}, {contract.tile_px} px)"
