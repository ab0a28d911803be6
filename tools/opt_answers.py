"""What opt and Paddle Lite cannot do, in words: found in the program before they run, or in opt's last words after."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

from tools.children import last_words
from tools.errors import ConversionError
from tools.program_file import BOOL, DTYPE_NAMES, FLOAT32, INT32, INT64, UINT8, Op, Program, Variable

REPLACEMENTS = {
    "bicubic_interp_v2": "bilinear interpolation",
    "einsum": "matmul and transpose",
    "erfinv": "another activation; erf and gelu are supported",
    "pixel_unshuffle": "reshape and transpose",
    "unpool": "interpolation or a transposed convolution",
    "conv2d_transpose": "a dense transposed convolution (groups=1) or bilinear interpolation",
    "depthwise_conv2d_transpose": "a dense transposed convolution (groups=1) or bilinear interpolation",
}
KEEP_ATTRIBUTES = "export again with paddle.jit.save(…, clip_extra=False)"
DROPPED_ATTRIBUTES = {"relu6": "threshold", "swish": "beta"}
COMPARISONS = ("equal", "not_equal", "less_than", "less_equal", "greater_than", "greater_equal")
LITE_CASTS = frozenset(
    {
        *((BOOL, other) for other in (BOOL, INT32, INT64, FLOAT32)),
        *((FLOAT32, other) for other in (FLOAT32, BOOL, INT32, INT64, UINT8)),
        *((INT32, other) for other in (INT32, INT64, FLOAT32)),
        *((INT64, other) for other in (INT64, INT32, FLOAT32)),
        *((UINT8, other) for other in (UINT8, FLOAT32)),
    }
)
OPT_ANSWERS = (
    (r"No attributes called (\w+)", f"attribute {{0}} was dropped on export; {KEEP_ATTRIBUTES}"),
    (r"is_dispensable \|\| is_have_output", f"an output was dropped on export (instance_norm); {KEEP_ATTRIBUTES}"),
    (r"Wrong target '([^']+)'", "opt knows no target {0}"),
    (r"Unable to open file: (\S+)", "cannot write {0}; check that the folder exists and is writable"),
    (r"BN bias's size should be equal", "the parameters belong to another model; take both files of one export"),
    (r"Failed to read \d+ bytes|not allowed to load partial data|needs weights but", "the parameter file is damaged"),
    (r"version of tensor \S+ is not supported", "the parameter file is damaged"),
    (
        r"HasInputScale",
        "a layer for the NPU has no 8-bit scale; quantise transposed convolutions too (quantize --transposed)",
    ),
    (
        r"Can't find a 'calib' kernel",
        "opt wants an 8-bit form of an operator that has none, behind the last convolution; "
        "make the INT8 program with python -m tools quantize",
    ),
)
CRASH = (
    f"opt crashed; known causes are attention exported without its attributes ({KEEP_ATTRIBUTES}) and layer_norm "
    "without weight and bias (use nn.LayerNorm)"
)


def check_program(program: Program, where: str) -> None:
    """Raise ConversionError, all findings in one message, for what opt would take and Paddle Lite abort on.

    Comparisons with a Python number, casts that Paddle Lite lacks, attributes dropped on export, no parameter at all.
    """
    if not program.parameters():
        raise ConversionError(f"{where}: the model has no parameters, which opt cannot read; nothing to convert")
    variables = {variable.name: variable for variable in program.variables}
    findings = dict.fromkeys(finding for op in program.ops for finding in _findings(op, variables))
    if findings:
        raise ConversionError(f"{where}: {'; '.join(findings)}")


def explain_opt(done: subprocess.CompletedProcess[str]) -> str:
    """What opt's last words mean and what to do about it."""
    text = done.stdout + done.stderr
    unsupported = re.search(r"not supported on '\S*'\. These unsupported ops are: ([^.\n]+)", text)
    if unsupported:
        names = re.findall(r"[a-z0-9_]+", unsupported.group(1))
        return "; ".join(f"operator {n} is not supported; use {REPLACEMENTS.get(n, 'another operator')}" for n in names)
    for pattern, answer in OPT_ANSWERS:
        found = re.search(pattern, text)
        if found:
            return answer.format(*found.groups())
    return CRASH if done.returncode == -11 else last_words(done)


def _findings(op: Op, variables: dict[str, Variable]) -> Iterator[str]:
    dropped = DROPPED_ATTRIBUTES.get(op.kind)
    if dropped and dropped not in op.attributes:
        yield f"attribute {dropped} of {op.kind} was dropped on export; {KEEP_ATTRIBUTES}"
    if op.kind in COMPARISONS and any(variables[name].dims == () for name in op.inputs if name in variables):
        yield (
            f"{op.kind} compares with a Python number, where Paddle Lite aborts; compare with paddle.full_like(x, …) "
            "or leave the threshold to the device"
        )
    if op.kind == "cast":
        yield from _cast_findings(op, variables)


def _cast_findings(op: Op, variables: dict[str, Variable]) -> Iterator[str]:
    if not {*op.inputs, *op.outputs} <= variables.keys():
        return
    before, after = variables[op.inputs[0]].dtype, variables[op.outputs[0]].dtype
    if (before, after) not in LITE_CASTS:
        names = [DTYPE_NAMES.get(dtype, f"type {dtype}") for dtype in (before, after)]
        yield f"Paddle Lite cannot cast {names[0]} to {names[1]}; cast to float32 in between, or not at all"
