"""`convert`: Paddle programs to Paddle Lite files, checked by running the x86 twin against Paddle."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import BundleError
from edge_runtime.files import write_atomically
from edge_runtime.inference.nb_file import check_nb, normalise_nb, read_nb_header
from tools.errors import ConversionError
from tools.model_files import ModelFiles, find_model
from tools.program_file import FLOAT32

TARGETS = ("x86", "arm")
CHILD_LIMIT_S = 600
FREE_SIDE_PX = 512
FLOAT_TOLERANCE = 1e-3
UNEQUAL_SHARE_MAX = 1e-3
REPLACEMENTS = {
    "bicubic_interp_v2": "bilinear interpolation",
    "pixel_unshuffle": "reshape and transpose",
    "conv2d_transpose": "a dense transposed convolution (groups=1) or bilinear interpolation",
    "depthwise_conv2d_transpose": "a dense transposed convolution (groups=1) or bilinear interpolation",
}
OPT_ANSWERS = (
    (r"No attributes called (\w+)", "attribute {0} was dropped on export; use paddle.jit.save(…, clip_extra=False)"),
    (r"Wrong target '([^']+)'", "opt knows no target {0}"),
    (r"Unable to open file: (\S+)", "cannot write {0}; check that the folder exists and is writable"),
    (r"BN bias's size should be equal", "the parameters belong to another model; take both files of one export"),
    (r"Failed to read \d+ bytes|not allowed to load partial data|needs weights but", "the parameter file is damaged"),
)


@dataclass(frozen=True)
class Parity:
    """One output of the x86 twin against Paddle: largest difference, and the share of values that are not equal."""

    max_difference: float
    unequal_share: float


@dataclass(frozen=True)
class Converted:
    """A Paddle Lite file that was checked; `parity` is None for targets that do not run here."""

    path: Path
    target: str
    opt_version: str
    parity: tuple[Parity, ...] | None


def convert_model(path: Path, out: Path, targets: Sequence[str]) -> list[Converted]:
    """Convert one model for each target into `out`/NAME.TARGET.nb. Raises ConversionError and then leaves no file.

    The x86 twin is always made and run against Paddle, because opt can report success on a useless file.
    """
    unknown = sorted(set(targets) - set(TARGETS))
    if unknown or not targets:
        raise ConversionError(f"target {', '.join(unknown) or 'missing'}; allowed: {', '.join(TARGETS)}")
    model = find_model(path)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="convert-") as scratch:
        twin = run_opt(model, "x86", Path(scratch))
        parity = compare_with_paddle(model, twin, Path(scratch))
        compiled = {t: twin if t == "x86" else run_opt(model, t, Path(scratch)) for t in dict.fromkeys(targets)}
        return [_keep(model, nb, target, out, parity) for target, nb in compiled.items()]


def run_opt(model: ModelFiles, target: str, scratch: Path) -> Path:
    """The `.nb` that opt makes in a child process. Raises ConversionError with opt's abort put into words."""
    output = scratch / f"opt.{target}"
    files = (str(model.program_path), str(model.params_path))
    done = run_child("opt_child.py", *files, target, str(output))
    if done.returncode:
        raise ConversionError(f"{model.program_path}: opt for {target} failed: {explain_opt(done)}")
    nb_path = output.with_name(f"{output.name}.nb")
    try:
        check_nb(read_nb_header(nb_path), target, str(nb_path))
    except BundleError as exc:
        raise ConversionError(f"{model.program_path}: opt for {target} made a useless file: {exc}") from exc
    return nb_path


def explain_opt(done: subprocess.CompletedProcess[str]) -> str:
    """What opt's last words mean and what to do about it."""
    text = done.stdout + done.stderr
    unsupported = re.search(r"not supported on '\S*'\. These unsupported ops are: ([^.\n]+)", text)
    if unsupported:
        names = re.findall(r"'([^']+)'", unsupported.group(1))
        return "; ".join(f"operator {n} is not supported; use {REPLACEMENTS.get(n, 'another operator')}" for n in names)
    for pattern, answer in OPT_ANSWERS:
        found = re.search(pattern, text)
        if found:
            return answer.format(*found.groups())
    return _last_words(done)


def compare_with_paddle(model: ModelFiles, nb_path: Path, scratch: Path) -> tuple[Parity, ...]:
    """Run the x86 file and Paddle on the same noise. Raises ConversionError when they do not agree."""
    inputs: dict[str, Any] = {str(i): values for i, values in enumerate(_noise_inputs(model))}
    np.savez(scratch / "in.npz", **inputs)
    files = (str(model.program_path), str(model.params_path))
    wanted = _outputs(model, scratch, "paddle", "paddle_child.py", *files)
    found = _outputs(model, scratch, "lite", "lite_child.py", str(nb_path))
    if [plane.shape for plane in wanted] != [plane.shape for plane in found]:
        shapes = f"{[plane.shape for plane in found]}, Paddle {[plane.shape for plane in wanted]}"
        raise ConversionError(f"{model.program_path}: the converted model answers {shapes}; do not use it")
    parity = tuple(_parity(a, b) for a, b in zip(wanted, found, strict=True))
    for index, (plane, measured) in enumerate(zip(wanted, parity, strict=True)):
        if not _agrees(plane, measured):
            raise ConversionError(
                f"{model.program_path}: output {index} of the converted model differs from Paddle by up to "
                f"{measured.max_difference:.3g} ({measured.unequal_share:.2%} of the values); do not use it"
            )
    return parity


def run_child(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of this package's child scripts on one thread, its output captured."""
    command = [sys.executable, str(Path(__file__).with_name(script)), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            env=environment,
            timeout=CHILD_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise ConversionError(f"{script}: no answer within {CHILD_LIMIT_S} s") from exc


def _noise_inputs(model: ModelFiles) -> list[npt.NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    inputs = []
    for variable in model.program.inputs():
        if variable.dtype != FLOAT32:
            raise ConversionError(
                f"{model.program_path}: input {variable.name} is not float32; keep casts out of the exported model"
            )
        batch, *rest = variable.dims
        dims = [max(1, batch), *(FREE_SIDE_PX if side < 0 else side for side in rest)]
        inputs.append(rng.standard_normal(dims, np.float32))
    return inputs


def _outputs(model: ModelFiles, scratch: Path, kind: str, script: str, *files: str) -> list[npt.NDArray[Any]]:
    answer = scratch / f"{kind}.npz"
    done = run_child(script, *files, str(scratch / "in.npz"), str(answer))
    if done.returncode:
        raise ConversionError(f"{model.program_path}: {kind} cannot run it: {_last_words(done)}")
    with np.load(answer, allow_pickle=False) as stored:
        return [stored[str(index)] for index in range(len(stored.files))]


def _parity(wanted: npt.NDArray[Any], found: npt.NDArray[Any]) -> Parity:
    difference = np.abs(wanted.astype(np.float64) - found)
    return Parity(float(difference.max()), float(np.mean(difference > 0)))


def _agrees(wanted: npt.NDArray[Any], measured: Parity) -> bool:
    """Floats within a thousandth of the largest value; of whole numbers (class ids, bytes) nearly all equal."""
    if wanted.dtype.kind == "f":
        return measured.max_difference <= FLOAT_TOLERANCE * max(1.0, float(np.abs(wanted).max()))
    return measured.unequal_share <= UNEQUAL_SHARE_MAX


def _keep(model: ModelFiles, nb_path: Path, target: str, out: Path, parity: tuple[Parity, ...]) -> Converted:
    path = out / f"{model.name}.{target}.nb"
    data = normalise_nb(nb_path.read_bytes())
    write_atomically(path, data)
    return Converted(path, target, read_nb_header(data).opt_version, parity if target == "x86" else None)


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    telling = [line for line in lines if "Check failed" in line or "Error" in line] or lines or ["no message"]
    return f"{_how_it_ended(done.returncode)}: {telling[-1][:300]}"


def _how_it_ended(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
