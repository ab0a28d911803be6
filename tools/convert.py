"""`convert`: Paddle programs to Paddle Lite files, checked by running the x86 twin against Paddle."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import BundleError
from edge_runtime.files import write_atomically
from edge_runtime.inference.nb_file import NbHeader, check_nb, nnadapter_device, normalise_nb, read_nb_header
from tools.children import run_child
from tools.errors import ConversionError
from tools.model_files import ModelFiles, find_model
from tools.opt_answers import check_program, explain_opt
from tools.opt_targets import ALL_TARGETS, TARGETS, OptFlags, choose_precision, file_name, opt_flags
from tools.program_file import FLOAT32, parse_program
from tools.simulate import Arrays, run_lite, run_paddle

log = logging.getLogger(__name__)

__all__ = ["TARGETS", "Converted", "Parity", "convert_model", "explain_opt", "run_opt"]

FREE_SIDE_PX = 512
SIDES_PX = range(8, 4097)
FLOAT_TOLERANCE = 1e-3
UNEQUAL_SHARE_MAX = 1e-3
X86_INT8_CRASH = (
    "its x86 INT8 kernels crash on grouped and depthwise convolutions; leave out x86, or give it the float program"
)
UNSHARED = "but its passing tensors share no memory: a worker may take up to 1.7 times as much"
KERNEL_PRECISIONS = {"int8": 2, "fp16": 5}


@dataclass(frozen=True)
class Parity:
    """One output of the x86 twin against Paddle: largest difference, and the share of values that are not equal."""

    max_difference: float
    unequal_share: float


@dataclass(frozen=True)
class Converted:
    """A Paddle Lite file that was checked; `parity` is None for targets that do not run here.

    `agrees` is False for an x86 file of 8-bit kernels or weights that answers otherwise than the program. That is to be
    expected and no refusal: Paddle Lite's x86 INT8 kernels diverge from Paddle's simulation and say nothing about ARM.
    `tile_px` is the side the tiles were asked for in, else None.
    """

    path: Path
    target: str
    opt_version: str
    parity: tuple[Parity, ...] | None
    precision: str = "fp32"
    tile_px: int | None = None
    agrees: bool = True


def convert_model(
    path: Path,
    out: Path,
    targets: Sequence[str],
    precision: str | None = None,
    sizes_px: Sequence[int] = (),
) -> list[Converted]:
    """Convert one model for each target and size into `out`/NAME[.SIZE].TARGET[.PRECISION].nb.

    precision: None takes the program as it is (INT8 programs stay so). sizes_px: sides of square tiles, one file each.
    The x86 twin of a float program is always made and run against Paddle, because opt can report success on a useless
    file; that of an INT8 program only when x86 is wanted, because it says nothing about other targets.
    Raises ConversionError and then leaves no file.
    """
    model = find_model(path)
    where = model.where
    if not targets:
        raise ConversionError(f"target missing; allowed: {' '.join(ALL_TARGETS)}")
    quantized = model.program.is_quantized()
    wanted = {target: choose_precision(target, precision, quantized, where) for target in targets}
    check_program(model.program, where)
    _check_sizes(model, sizes_px)
    with tempfile.TemporaryDirectory(prefix="convert-") as scratch:
        made: list[tuple[Converted, bytes]] = []
        for side_px in dict.fromkeys(sizes_px) or [None]:
            folder = Path(scratch) / str(side_px)
            folder.mkdir()
            sized = model if side_px is None else _with_side(model, side_px, folder)
            made += _convert_all(sized, wanted, side_px, folder)
    out.mkdir(parents=True, exist_ok=True)
    return [_keep(item, data, out) for item, data in made]


def run_opt(model: ModelFiles, target: str, scratch: Path, precision: str = "fp32") -> Path:
    """The `.nb` that opt makes in a child process; a warning where only one that takes more memory can be made.

    Raises ConversionError with opt's abort put into words.
    """
    flags = opt_flags(target, precision)
    try:
        return _run_opt(model, target, scratch, precision, flags)
    except ConversionError as exc:
        if not flags.otherwise:
            raise
        first = exc
    try:
        nb_path = _run_opt(model, target, scratch, precision, replace(flags, places=flags.otherwise))
    except ConversionError as exc:
        before = "" if str(exc) == str(first) else f"; before, with the places {flags.places}: {first}"
        raise ConversionError(f"{exc}{before}") from first
    log.warning("%s; with the places %s alone it is made, %s", first, flags.otherwise, UNSHARED)
    return nb_path


def _run_opt(model: ModelFiles, target: str, scratch: Path, precision: str, flags: OptFlags) -> Path:
    output = scratch / f"opt.{target}.{precision}"
    files = (str(model.program_path), str(model.params_path))
    done = run_child("opt_child.py", *files, flags.places, str(int(flags.fp16)), flags.weight_type, str(output))
    if done.returncode:
        raise ConversionError(f"{model.where}: opt for {target} failed: {explain_opt(done)}")
    nb_path = output.with_name(f"{output.name}.nb")
    try:
        header = read_nb_header(nb_path)
        check_nb(header, target, str(nb_path))
    except BundleError as exc:
        raise ConversionError(f"{model.where}: opt for {target} made a useless file: {exc}") from exc
    _check_precision(header, target, precision, model.where)
    return nb_path


def compare_with_paddle(model: ModelFiles, nb_path: Path) -> tuple[tuple[Parity, ...], bool]:
    """Run the x86 file and Paddle on the same noise: each output's parity, and whether all of them agree.

    Raises ConversionError when one cannot run or their shapes differ.
    """
    where = model.where
    inputs = [values[None] for values in _noise_inputs(model)]
    wanted, found = run_paddle(model, inputs), _run_twin(model, nb_path, inputs)
    if [plane.shape for plane in wanted] != [plane.shape for plane in found]:
        shapes = f"{[plane.shape[1:] for plane in found]}, Paddle {[plane.shape[1:] for plane in wanted]}"
        raise ConversionError(f"{where}: the converted model answers {shapes}; do not use it")
    parity = tuple(_parity(a, b) for a, b in zip(wanted, found, strict=True))
    return parity, all(_agrees(plane, measured) for plane, measured in zip(wanted, parity, strict=True))


def _convert_all(
    model: ModelFiles, wanted: dict[str, str], side_px: int | None, scratch: Path
) -> list[tuple[Converted, bytes]]:
    quantized = model.program.is_quantized()
    as_it_is = "int8" if quantized else "fp32"
    known = {}
    if "x86" in wanted or not quantized:
        known["x86", as_it_is] = twin = _make(model, "x86", as_it_is, scratch)
        if not (twin.agrees or quantized):
            raise ConversionError(f"{model.where}: {_difference(twin.parity or ())}; do not use it")
    made = []
    for target, precision in wanted.items():
        one = known.get((target, precision)) or _make(model, target, precision, scratch)
        data = normalise_nb(one.path.read_bytes())
        path = Path(file_name(model.name, target, precision, side_px))
        made.append((replace(one, path=path, tile_px=side_px), data))
    return made


def _make(model: ModelFiles, target: str, precision: str, scratch: Path) -> Converted:
    """One file of opt in the scratch folder, run where it can be."""
    nb_path = run_opt(model, target, scratch, precision)
    parity, agrees = compare_with_paddle(model, nb_path) if target == "x86" else (None, True)
    return Converted(nb_path, target, read_nb_header(nb_path).opt_version, parity, precision, None, agrees)


def _run_twin(model: ModelFiles, nb_path: Path, inputs: Sequence[npt.NDArray[np.float32]]) -> Arrays:
    try:
        return run_lite(nb_path, inputs, model.where)
    except ConversionError as exc:
        if not model.program.is_quantized():
            raise
        raise ConversionError(f"{exc}; {X86_INT8_CRASH}") from exc


def _check_sizes(model: ModelFiles, sizes_px: Sequence[int]) -> None:
    """Raise ConversionError unless every input can take square tiles of each of these sides."""
    for side_px in sizes_px:
        if side_px not in SIDES_PX:
            raise ConversionError(f"size {side_px}; allowed: {SIDES_PX.start} to {SIDES_PX.stop - 1} px")
        for variable in model.program.inputs():
            fixed = variable.dims[2:]
            if len(fixed) != 2 or not {side_px, -1}.issuperset(fixed):
                raise ConversionError(
                    f"{model.where}: input {variable.name} is fixed to {list(variable.dims)}; for tiles of "
                    f"{side_px} px export the model at that size, or with free sides (-1)"
                )


def _with_side(model: ModelFiles, side_px: int, folder: Path) -> ModelFiles:
    """The model with all free sides of its inputs fixed, its program written into `folder`."""
    from tools.program_edit import fix_side

    data = model.program_path.read_bytes()
    for variable in model.program.inputs():
        data = fix_side(data, variable.name, side_px)
    path = folder / "sized.pdmodel"
    path.write_bytes(data)
    where = f"{model.where} at {side_px} px"
    return replace(model, program_path=path, program=parse_program(data, where), where=where)


def _check_precision(header: NbHeader, target: str, precision: str, where: str) -> None:
    """Raise ConversionError when opt took the flags and made no kernel of the precision; NPU kernels do not tell."""
    wanted = KERNEL_PRECISIONS.get(precision)
    if wanted and not nnadapter_device(target) and wanted not in {kernel.precision for kernel in header.kernels}:
        raise ConversionError(f"{where}: opt for {target} made no {precision} kernel; nothing in the model can use it")


def _noise_inputs(model: ModelFiles) -> list[npt.NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    inputs = []
    for variable in model.program.inputs():
        if variable.dtype != FLOAT32:
            raise ConversionError(
                f"{model.where}: input {variable.name} is not float32; keep casts out of the exported model"
            )
        batch, *rest = variable.dims
        dims = [max(1, batch), *(FREE_SIDE_PX if side < 0 else side for side in rest)]
        inputs.append(rng.standard_normal(dims, np.float32))
    return inputs


def _parity(wanted: npt.NDArray[Any], found: npt.NDArray[Any]) -> Parity:
    difference = np.abs(wanted.astype(np.float64) - found)
    return Parity(float(difference.max()), float(np.mean(difference > 0)))


def _agrees(wanted: npt.NDArray[Any], measured: Parity) -> bool:
    """Floats within a thousandth of the largest value; of whole numbers (class ids, bytes) nearly all equal."""
    if wanted.dtype.kind == "f":
        return measured.max_difference <= FLOAT_TOLERANCE * max(1.0, float(np.abs(wanted).max()))
    return measured.unequal_share <= UNEQUAL_SHARE_MAX


def _difference(parity: Sequence[Parity]) -> str:
    worst = max(parity, key=lambda measured: measured.max_difference)
    index = parity.index(worst)
    return (
        f"output {index} of the converted model differs from Paddle by up to {worst.max_difference:.3g} "
        f"({worst.unequal_share:.2%} of the values)"
    )


def _keep(item: Converted, data: bytes, out: Path) -> Converted:
    path = out / item.path
    write_atomically(path, data)
    return replace(item, path=path)
