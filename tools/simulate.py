"""Running a model on this machine in a child process: the Paddle program itself, or its Paddle Lite x86 form."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tools.children import last_words, run_child
from tools.errors import ConversionError
from tools.model_files import ModelFiles, find_model

Arrays = tuple[npt.NDArray[Any], ...]
BYTE_STEPS = 2
IDS_MAX = 32


def run_paddle(model: ModelFiles, inputs: Sequence[npt.NDArray[np.float32]]) -> Arrays:
    """Every output over all runs. `inputs`: one array per input, runs first: (runs, N, C, H, W); so are the outputs.

    Quantised programs are simulated as Paddle defines them. Raises ConversionError when Paddle cannot run it.
    """
    files = (str(model.program_path), str(model.params_path))
    return _run("Paddle", "paddle_child.py", files, model.where, inputs)


def run_lite(nb_path: Path, inputs: Sequence[npt.NDArray[np.float32]], where: str) -> Arrays:
    """As `run_paddle`, for an x86 `.nb`; `where` names the model in messages."""
    return _run("Paddle Lite", "lite_child.py", (str(nb_path),), where, inputs)


class Agreement:
    """A quality for `quantize_model`: the share of output values that stay as the float program has them, at worst.

    Scores stay within 2 of 255, floats within 2/255 of the largest one. Class ids count only where there is nothing
    else: in the background, where scores are low, they are chance.
    """

    def __init__(self, float_program: Path, tiles: npt.NDArray[np.float32]) -> None:
        self._float_program = float_program
        self._inputs = [tiles[:, None]]

    def __call__(self, program: Path) -> float:
        found = run_paddle(find_model(program), self._inputs)
        return min(_share(self._wanted[index], found[index]) for index in self._judged)

    @cached_property
    def _wanted(self) -> Arrays:
        return run_paddle(find_model(self._float_program), self._inputs)

    @cached_property
    def _judged(self) -> list[int]:
        graded = [index for index, plane in enumerate(self._wanted) if not _are_ids(plane)]
        return graded or list(range(len(self._wanted)))


def _are_ids(plane: npt.NDArray[Any]) -> bool:
    return plane.dtype.kind != "f" and len(np.unique(plane)) <= IDS_MAX


def _share(wanted: npt.NDArray[Any], found: npt.NDArray[Any]) -> float:
    if _are_ids(wanted):
        return float(np.mean(wanted == found))
    step = float(np.abs(wanted).max()) / 255.0 if wanted.dtype.kind == "f" else 1.0
    return float(np.mean(np.abs(wanted.astype(np.float64) - found) <= BYTE_STEPS * step))


def _run(engine: str, script: str, files: Sequence[str], where: str, inputs: Sequence[npt.NDArray[Any]]) -> Arrays:
    with tempfile.TemporaryDirectory(prefix="simulate-") as scratch:
        given, answer = Path(scratch) / "in.npz", Path(scratch) / "out.npz"
        arrays: dict[str, Any] = {str(index): values for index, values in enumerate(inputs)}
        np.savez(given, **arrays)
        done = run_child(script, *files, str(given), str(answer))
        if done.returncode:
            raise ConversionError(f"{where}: {engine} cannot run it: {last_words(done)}")
        with np.load(answer, allow_pickle=False) as stored:
            return tuple(stored[str(index)] for index in range(len(stored.files)))
