"""Calibration tiles: what a network is shown while the ranges of its activations are measured."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from tools.errors import CalibrationError
from tools.program_file import Variable

Tiles = npt.NDArray[np.float32]
TILES_MIN = 8


def load_tiles(path: Path) -> Tiles:
    """Preprocessed tiles, float32 (N, C, H, W), from an .npz with one array, an .npy, or a folder of .npy tiles.

    Raises CalibrationError for what cannot be read; `check_tiles` judges the values.
    """
    if not path.is_dir():
        return _stack([_read_array(path)], str(path))
    files = sorted(path.glob("*.npy"))
    if not files:
        raise CalibrationError(
            f"{path}: no .npy tiles; write each preprocessed tile, float32 (C, H, W), with numpy.save"
        )
    return _stack([_read_array(file) for file in files], str(path))


def stack_tiles(tiles: npt.NDArray[Any] | Iterable[npt.NDArray[Any]], where: str = "calibration tiles") -> Tiles:
    """One array (N, C, H, W) from tiles (C, H, W), batches (n, C, H, W), or such an array itself."""
    return _stack([tiles] if isinstance(tiles, np.ndarray) else list(tiles), where)


def check_tiles(tiles: Tiles, wanted: Variable, where: str = "calibration tiles") -> None:
    """Raise CalibrationError unless these tiles fit the program's input `wanted` and can teach ranges."""
    if not _fits(tiles.shape[1:], wanted.dims[1:]):
        raise CalibrationError(
            f"{where}: tiles are {list(tiles.shape[1:])} (C, H, W), the program's input {wanted.name} takes "
            f"{list(wanted.dims[1:])}; preprocess them as the device does"
        )
    if len(tiles) < TILES_MIN:
        raise CalibrationError(
            f"{where}: {len(tiles)} tiles; at least {TILES_MIN} are needed, because each layer's scale is taken from "
            "what these tiles excite, and a few leave it to chance"
        )
    _check_values(tiles, where)


def _check_values(tiles: Tiles, where: str) -> None:
    finite = np.isfinite(tiles).all(axis=(1, 2, 3))
    if not finite.all():
        raise CalibrationError(f"{where}: tile {int(np.argmin(finite))} holds NaN or infinity; check its preprocessing")
    spread = np.ptp(tiles.reshape(len(tiles), -1), axis=1)
    if not spread.all():
        raise CalibrationError(
            f"{where}: tile {int(np.argmin(spread))} is constant, it excites nothing and pulls the scales down; "
            "take tiles of real parts, some with defects"
        )


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(shape) == len(wanted) and all(want in (-1, side) for side, want in zip(shape, wanted, strict=True))


def _stack(arrays: list[npt.NDArray[Any]], where: str) -> Tiles:
    if not arrays:
        raise CalibrationError(f"{where}: no tile; at least {TILES_MIN} are needed")
    wrong = {str(array.dtype) for array in arrays if array.dtype != np.float32}
    if wrong:
        raise CalibrationError(
            f"{where}: dtype {', '.join(sorted(wrong))}; tiles are float32, preprocessed as on the device"
        )
    batches = [array[None] if array.ndim == 3 else array for array in arrays]
    shapes = {batch.shape[1:] for batch in batches if batch.ndim == 4}
    if len(shapes) != 1 or any(batch.ndim != 4 for batch in batches):
        listed = ", ".join(sorted({str(list(array.shape)) for array in arrays})[:4])
        raise CalibrationError(f"{where}: shapes {listed}; every tile is (C, H, W), all of one size")
    return np.ascontiguousarray(np.concatenate(batches))


def _read_array(path: Path) -> npt.NDArray[Any]:
    try:
        with path.open("rb") as file:
            return _only_array(np.load(file, allow_pickle=False), path)
    except OSError as exc:
        raise CalibrationError(f"{path}: {exc.strerror}; give an .npz, an .npy or a folder of .npy tiles") from exc
    except (ValueError, EOFError, BadZipFile) as exc:
        raise CalibrationError(f"{path}: not a NumPy file of numbers; write it with numpy.savez or numpy.save") from exc


def _only_array(stored: Any, path: Path) -> npt.NDArray[Any]:
    if isinstance(stored, np.ndarray):
        return stored
    if len(stored.files) != 1:
        raise CalibrationError(f"{path}: holds {len(stored.files)} arrays; one array of tiles is wanted")
    return np.asarray(stored[stored.files[0]])
