"""`bench limit`: which share of the processor's arithmetic a predictor uses."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime.inference.bundle import load_bundle
from tools.benchmarks.frames import inspection, made_frame
from tools.benchmarks.predictors import Predictors
from tools.benchmarks.priority import AS_A_WORKER
from tools.benchmarks.report import Clerk, Report, Row
from tools.errors import ToolError
from tools.progress import progress_bar

ROOT = Path(__file__).parents[2]
GEMM_SIDES = (512, 1024, 2048)
GEMM_REPEATS = 4
GEMM_LIMIT_S = 300
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
# Set on some machines for old builds of OpenBLAS; they would keep a current one from its fastest kernels.
SLOWING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


@dataclass(frozen=True)
class LimitWish:
    bundles: Sequence[Path]
    backends: Sequence[str]
    rounds: int
    torch_python: Path | None = None
    runs: int = 10


def bench_limit(wish: LimitWish) -> Report:
    """One row for each model and backend, one thread: GFLOP/s of its convolutions over those of a large sgemm.

    Peak and predictor are measured in turn, so that a neighbour meets both; `share` is the median of the rounds'
    ratios. With `torch_python` the summary has what torch multiplies in float32, bfloat16 and int8.
    Raises BundleError, InferenceError, ToolError.
    """
    clerk = Clerk("limit")
    cases = [(bundle, backend) for bundle in wish.bundles for backend in wish.backends]
    for bundle, backend in cases:
        inspection(bundle, 1, backend)  # a wrong name is told here in one line
    rows = []
    with progress_bar("models") as advance:
        for bundle, backend in cases:
            rows.append(_row(bundle, backend, wish))
            advance(len(rows), len(cases))
    summary = {} if wish.torch_python is None else {"torch_gflops": measure_gemm("torch", wish.torch_python)}
    return clerk.report({"rounds": wish.rounds, "blas": blas_name(), "threads": 1}, rows, summary)


def _row(folder: Path, backend: str, wish: LimitWish) -> Row:
    bundle = load_bundle(folder)
    contract, gmacs = bundle.input_contract, bundle.manifest.figures.macs_per_tile / 1e9
    if gmacs <= 0:
        raise ToolError(f"{folder}: its manifest tells no macs_per_tile; choose a bundle with a real network")
    picture = made_frame(contract.tile_px, contract.template)
    times, peaks = [], []
    with Predictors(folder, picture, 1, backend) as predictors:
        for _ in range(wish.rounds):
            times.append(predictors.tile_ms(wish.runs))
            peaks.append(measure_gemm()["f32"])
    return {"model": bundle.model_id, "backend": backend, **share_of_peak(gmacs, times, peaks)}


def share_of_peak(gmacs: float, tile_ms: Sequence[float], peak_gflops: Sequence[float]) -> dict[str, Any]:
    """A multiply-add counts as two operations, as in sgemm."""
    reached = [2 * gmacs / ms * 1000 for ms in tile_ms]
    ratios = [each / peak for each, peak in zip(reached, peak_gflops, strict=True)]
    return {
        "gmacs": round(gmacs, 3),
        "tile_ms": round(statistics.median(tile_ms), 2),
        "gflops": round(statistics.median(reached), 1),
        "peak_gflops": round(statistics.median(peak_gflops), 1),
        "share": round(statistics.median(ratios), 3),
    }


def measure_gemm(
    library: str = "numpy",
    python: Path = Path(sys.executable),
    sides: Sequence[int] = GEMM_SIDES,
    repeats: int = GEMM_REPEATS,
) -> dict[str, float]:
    """GFLOP/s of the fastest side by precision, on one thread, in a process of its own. Raises ToolError."""
    environment = {name: value for name, value in os.environ.items() if name not in SLOWING} | ONE_THREAD
    environment["PYTHONPATH"] = str(ROOT)
    command = [
        *AS_A_WORKER,
        str(python),
        "-m",
        "tools.benchmarks.gemm_child",
        library,
        ",".join(map(str, sides)),
        str(repeats),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=GEMM_LIMIT_S, check=False)
    if done.returncode:
        last = " ".join(done.stderr.strip().splitlines()[-1:])
        raise ToolError(f"{python}: {library}'s matrix product ended with {done.returncode}: {last}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {precision: round(value, 1) for precision, value in found.items()}


def blas_name() -> str:
    """What NumPy multiplies matrices with, and the version."""
    import numpy

    blas = numpy.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"NumPy {numpy.__version__}, {blas['name']} {blas['version']}"
