"""`quantize`: static post-training INT8 with a float fall-back for the layers that lose most.

Judged by Paddle's simulated run of the quantised program (paddle.inference, no graph optimisation): Paddle Lite's x86
INT8 kernels diverge from it and say nothing about ARM.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from edge_runtime.files import write_atomically
from tools.calibration import Tiles, check_tiles, stack_tiles
from tools.children import last_words, run_child
from tools.errors import ConversionError
from tools.model_files import ModelFiles, find_model
from tools.program_file import FLOAT32, Program

Algorithm = Literal["avg", "hist", "KL"]
Quality = Callable[[Path], float]
QUANTIZABLE = ("conv2d", "depthwise_conv2d")
TRANSPOSED = "conv2d_transpose"
WEIGHTED = (*QUANTIZABLE, TRANSPOSED, "mul", "matmul", "matmul_v2")
RANK_TILES = 4
CHILD_LIMIT_S = 3600
PROGRAM, PARAMS = "model.pdmodel", "model.pdiparams"


@dataclass(frozen=True)
class Layer:
    """A quantizable layer, named by its weight.

    `error` is what quantising this layer alone does to the network's answer: root mean square difference over the
    standard deviation of the float answer.
    """

    name: str
    kind: str
    weight_shape: tuple[int, ...]
    error: float
    kept_float: bool = False


@dataclass(frozen=True)
class Step:
    """One try: the layers left in float, and the quality reached."""

    float_layers: tuple[str, ...]
    quality: float


@dataclass(frozen=True)
class Quantized:
    """A quantised program on disk, its layers with the most harmful first, and the steps that led there.

    `error` is that of the answer with all layers quantised, as in `Layer`. Without a quality there are no steps.
    """

    path: Path
    algorithm: Algorithm
    error: float
    layers: tuple[Layer, ...]
    float_quality: float | None = None
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Request:
    """What the child is asked; paths as text. `probes` are the variables whose values are compared."""

    task: str
    program: str
    params: str
    input: str
    tiles: str
    algorithm: str
    kinds: tuple[str, ...]
    layers: tuple[str, ...]
    probes: tuple[str, ...]
    scales: str
    errors: str
    out: str
    rank_tiles: int = RANK_TILES
    float_layers: tuple[str, ...] = ()


def quantize_model(
    path: Path,
    tiles: npt.NDArray[Any] | Iterable[npt.NDArray[Any]],
    out: Path,
    algorithm: Algorithm = "avg",
    *,
    quality: Quality | None = None,
    tolerance: float = 0.0,
    transposed: bool = False,
) -> Quantized:
    """Write `out`/NAME.pdmodel and .pdiparams, the INT8 form of the float program at `path`.

    tiles: float32 (C, H, W) each, preprocessed as on the device. quality: how good a program is, more is better; layers
    go back to float, the most harmful first, until it falls short of the float program's by no more than `tolerance`.
    transposed: quantise transposed convolutions too, which some NPUs need and Paddle Lite x86 computes wrongly.
    Raises CalibrationError or ConversionError before anything is written.
    """
    model = find_model(path)
    kinds = (*QUANTIZABLE, TRANSPOSED) if transposed else QUANTIZABLE
    _check_request(model, kinds, algorithm, tolerance)
    if out.resolve() == model.program_path.resolve().parent:
        raise ConversionError(f"{out}: holds the float program, which would be lost; name another folder")
    stacked = stack_tiles(tiles)
    check_tiles(stacked, model.program.inputs()[0])
    with tempfile.TemporaryDirectory(prefix="quantize-") as scratch:
        work = _Work(model, stacked, kinds, algorithm, Path(scratch))
        found = work.search(quality, tolerance)
        return _keep(found, model.name, out)


def quantizable_layers(program: Program, kinds: Sequence[str] = QUANTIZABLE) -> dict[str, Layer]:
    """The layers of these kinds whose weight is stored with the program, by name, in graph order, without errors."""
    stored = {variable.name: variable.dims for variable in program.parameters()}
    found = {}
    for op in program.ops:
        weight = next((name for name in op.inputs if name in stored and len(stored[name]) == 4), None)
        if op.kind in kinds and weight is not None:
            found[weight] = Layer(weight, op.kind, stored[weight], error=0.0)
    return found


def probe_names(program: Program) -> tuple[str, ...]:
    """Where the network's answer is measured: what the last weighted layers give, before it is rounded to bytes.

    A layer is one of the last when no other weighted layer hears from it.
    """
    heard: set[str] = set()
    probes = []
    for op in reversed(program.ops):
        weighted = op.kind in WEIGHTED
        if weighted and not heard.intersection(op.outputs):
            probes.append(op.outputs[0])
        if weighted or heard.intersection(op.outputs):
            heard.update(op.inputs)
    return tuple(reversed(probes))


def fewest(count: int, passes: Callable[[int], bool]) -> int:
    """The smallest n of 0..count for which `passes(n)` holds, when more never harms; `count` itself is not tried.

    Small n come first (0, 1, 2, 4, …), because each try costs a quantisation.
    """
    low, high = -1, 0
    while high < count and not passes(high):
        low, high = high, min(count, max(1, 2 * high))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(middle) else (middle, high)
    return high


class _Work:
    """One quantisation in a scratch folder: calibrate once, then choose layers."""

    def __init__(self, model: ModelFiles, tiles: Tiles, kinds: tuple[str, ...], algorithm: str, scratch: Path) -> None:
        self.model = model
        self.scratch = scratch
        self.layers = quantizable_layers(model.program, kinds)
        np.save(scratch / "tiles.npy", tiles)
        self.request = Request(
            task="calibrate",
            program=str(model.program_path.resolve()),
            params=str(model.params_path.resolve()),
            input=model.program.inputs()[0].name,
            tiles=str(scratch / "tiles.npy"),
            algorithm=algorithm,
            kinds=kinds,
            layers=tuple(self.layers),
            probes=probe_names(model.program),
            scales=str(scratch / "scales.json"),
            errors=str(scratch / "errors.json"),
            out=str(scratch / "all" / PROGRAM),
        )

    def search(self, quality: Quality | None, tolerance: float) -> Quantized:
        self._ask(self.request)
        total, ranked = self._ranking()
        everything = Quantized(Path(self.request.out), self.request.algorithm, total, ranked)  # type: ignore[arg-type]
        return everything if quality is None else self._fall_back(everything, quality, tolerance)

    def _ranking(self) -> tuple[float, tuple[Layer, ...]]:
        errors = json.loads(Path(self.request.errors).read_text(encoding="utf-8"))
        layers = [replace(layer, error=errors[name]) for name, layer in self.layers.items()]
        return errors[""], tuple(sorted(layers, key=lambda layer: -layer.error))

    def _fall_back(self, found: Quantized, quality: Quality, tolerance: float) -> Quantized:
        wanted = quality(self.model.program_path)
        names = tuple(layer.name for layer in found.layers)
        steps: list[Step] = []

        def holds(count: int) -> bool:
            steps.append(Step(names[:count], quality(self._program(names[:count]))))
            return steps[-1].quality >= wanted - tolerance

        count = fewest(len(names), holds)
        if count == len(names):
            raise ConversionError(
                f"{self.model.where}: no layer can be quantised within a tolerance of {tolerance:g} (float "
                f"{wanted:.4g}, all layers INT8 {steps[0].quality:.4g}); allow more, or fine-tune with `qat`"
            )
        layers = tuple(replace(layer, kept_float=index < count) for index, layer in enumerate(found.layers))
        return replace(
            found, path=self._program(names[:count]), layers=layers, float_quality=wanted, steps=tuple(steps)
        )

    def _program(self, float_layers: tuple[str, ...]) -> Path:
        out = self.scratch / f"float{len(float_layers)}" / PROGRAM if float_layers else Path(self.request.out)
        if not out.exists():
            self._ask(replace(self.request, task="write", float_layers=float_layers, out=str(out)))
        return out

    def _ask(self, request: Request) -> None:
        Path(request.out).parent.mkdir(exist_ok=True)
        asked = self.scratch / "request.json"
        asked.write_text(json.dumps(asdict(request)), encoding="utf-8")
        done = run_child("quantize_child.py", str(asked), limit_s=CHILD_LIMIT_S)
        if done.returncode:
            raise ConversionError(f"{self.model.where}: Paddle cannot {request.task} its INT8 form: {last_words(done)}")


def _check_request(model: ModelFiles, kinds: tuple[str, ...], algorithm: str, tolerance: float) -> None:
    where = model.where
    if algorithm not in get_args(Algorithm):
        raise ConversionError(f"algorithm {algorithm}; allowed: {', '.join(get_args(Algorithm))}")
    if not 0.0 <= tolerance < float("inf"):
        raise ConversionError(f"tolerance {tolerance}; it is what the quality may lose, 0 or more")
    if model.program.is_quantized():
        raise ConversionError(f"{where}: is quantised already; give the float program it was made from")
    inputs = model.program.inputs()
    if len(inputs) != 1 or inputs[0].dtype != FLOAT32 or len(inputs[0].dims) != 4:
        raise ConversionError(f"{where}: needs exactly one input, float32 (N, C, H, W); found {len(inputs)}")
    if inputs[0].dims[0] not in (-1, 1):
        raise ConversionError(f"{where}: batch {inputs[0].dims[0]}; export it for one tile a run")
    if not quantizable_layers(model.program, kinds):
        raise ConversionError(f"{where}: no {' or '.join(kinds)} with a stored weight; there is nothing to quantise")


def _keep(found: Quantized, name: str, out: Path) -> Quantized:
    out.mkdir(parents=True, exist_ok=True)
    program = out / f"{name}.pdmodel"
    write_atomically(program.with_suffix(".pdiparams"), found.path.with_name(PARAMS).read_bytes())
    write_atomically(program, found.path.read_bytes())
    find_model(program)
    return replace(found, path=program)
