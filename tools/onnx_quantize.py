"""A float ONNX network in INT8: scales from calibration tiles, stored as pairs of quantise and dequantise nodes."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from edge_runtime.inference.planes import INPUT_NAME
from tools.calibration import Tiles, check_tiles
from tools.graph import FloatArray
from tools.program_file import FLOAT32, Variable

WEIGHTED = ("Conv", "ConvTranspose")
QUANTISED = [*WEIGHTED, "MaxPool", "Concat"]


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Hands out one tile after the other."""

    def __init__(self, tiles: Tiles) -> None:
        self._tiles = iter(tiles)

    def get_next(self) -> dict[str, FloatArray] | None:
        tile = next(self._tiles, None)
        return None if tile is None else {INPUT_NAME: np.ascontiguousarray(tile[None])}


def quantize_onnx(data: bytes, tiles: Tiles) -> bytes:
    """Static INT8 of a network by `onnx_bytes`. `tiles`: float32 (N, C, side, side), prepared as on the device.

    Weights are int8 with a scale for each channel, activations uint8: the pair that processors multiply in hardware.
    Scales span the extremes: a defect is one, and averages or percentiles cut it off. The softmax and what follows stay
    float. Raises CalibrationError for tiles that do not fit or can teach nothing.
    """
    model = onnx.load_from_string(data)
    dims = tuple(dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim)
    check_tiles(tiles, Variable(INPUT_NAME, FLOAT32, dims, persistable=False, holder=False))
    with tempfile.TemporaryDirectory(prefix="quantize-") as scratch, _quiet():
        given, made = Path(scratch) / "float.onnx", Path(scratch) / "int8.onnx"
        given.write_bytes(data)
        quantize_static(
            given,
            made,
            _Reader(tiles),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=QUANTISED,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        return made.read_bytes()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """It prints progress, and advice that does not apply: shapes are known and batch norm is folded already."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
    finally:
        root.setLevel(level)
