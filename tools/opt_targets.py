"""What opt is told for each target and precision. `TARGETS` are those made unless others are named."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edge_runtime.inference.nb_file import KERNEL_TARGETS, nnadapter_device
from tools.errors import ConversionError

ALL_TARGETS = tuple(KERNEL_TARGETS)
TARGETS = ("x86", "arm")
PRECISIONS = ("fp32", "fp16", "int8", "int8_weights", "int16_weights")
WEIGHT_TYPES = {"int8_weights": "QUANT_INT8", "int16_weights": "QUANT_INT16"}
# opt lets tensors that pass share memory only where ARM is among the places. x86 and the host come first and do all
# there is to do; a file that names an ARM kernel all the same is refused like any other.
X86_SHARING = "x86,host,arm"
CPU_PRECISIONS = ("fp32", "int8", *WEIGHT_TYPES)
ALLOWED = {
    "x86": CPU_PRECISIONS,
    "arm": CPU_PRECISIONS,
    "arm+fp16": ("fp16",),
    "arm+int8": ("int8",),
    "opencl,arm": ("fp32", "int8", *WEIGHT_TYPES),
    **{target: ("fp32", "int8") for target in ALL_TARGETS if nnadapter_device(target)},
}


@dataclass(frozen=True)
class OptFlags:
    """opt's `valid_places`, fp16 kernels or not, and `quant_type` of the stored weights ("" = as they are).

    `otherwise`: the places to try where opt fails with the first ones, or makes a useless file ("" = none). Such a file
    takes more memory.
    """

    places: str
    fp16: bool = False
    weight_type: str = ""
    otherwise: str = ""


def choose_precision(target: str, precision: str | None, quantized: bool, where: str) -> str:
    """The precision of the file to make: what was asked for, or what target and program say by themselves.

    Raises ConversionError for a target or precision that is unknown, or that does not fit the program.
    """
    if target not in ALLOWED:
        raise ConversionError(f"target {target}; allowed: {' '.join(ALL_TARGETS)}")
    allowed = ALLOWED[target]
    chosen = precision or ("int8" if quantized else allowed[0])
    if chosen not in allowed:
        raise ConversionError(f"{where}: {target} takes precision {' or '.join(allowed)}, not {chosen}")
    if quantized and chosen != "int8":
        raise ConversionError(f"{where}: is an INT8 program; for {chosen} give the float program it was made from")
    if chosen == "int8" and not quantized:
        raise ConversionError(f"{where}: is a float program; make the INT8 one first (python -m tools quantize)")
    return chosen


def opt_flags(target: str, precision: str) -> OptFlags:
    """The flags for a pair that `choose_precision` let pass."""
    weight_type = WEIGHT_TYPES.get(precision, "")
    if target == "x86" and precision != "int8":
        return OptFlags(X86_SHARING, weight_type=weight_type, otherwise="x86")
    return OptFlags(target.split("+")[0], precision == "fp16", weight_type)


def file_name(name: str, target: str, precision: str, tile_px: int | None = None) -> str:
    """NAME[.SIZE].TARGET[.PRECISION].nb; the precision is left out where the target has only that or it is fp32."""
    parts = [
        name,
        str(tile_px) if tile_px else "",
        target,
        "" if precision in ("fp32", *ALLOWED[target][:1]) else precision,
    ]
    return ".".join([*(_plain(part) for part in parts if part), "nb"])


def _plain(text: str) -> str:
    """Only what every file system and a bundle's manifest take."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-") or "model"
