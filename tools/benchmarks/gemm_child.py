"""Run as a process on one thread: the fastest matrix product that a library gives, GFLOP/s by precision, as JSON.

Arguments: `numpy` or `torch`, sides of the square matrices separated by commas, repeats. With torch, by the interpreter
of `.venv-peers`; nothing else of this repository is imported. Integer multiply-adds count as two operations as well.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable


def with_numpy(side: int) -> dict[str, Callable[[], object]]:
    import numpy as np

    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal((side, side)).astype(np.float32) for _ in range(2))
    out = np.empty_like(a)
    return {"f32": lambda: np.matmul(a, b, out=out)}


def with_torch(side: int) -> dict[str, Callable[[], object]]:
    """Products by oneDNN: float32, bfloat16 and int8, the last into int32."""
    import torch

    torch.set_num_threads(1)
    a, b = (torch.randn(side, side) for _ in range(2))
    coarse = a.bfloat16(), b.bfloat16()
    whole = [torch.randint(-9, 9, (side, side), dtype=torch.int8) for _ in range(2)]
    return {
        "f32": lambda: torch.mm(a, b),
        "bf16": lambda: torch.mm(*coarse),
        "int8": lambda: torch._int_mm(*whole),
    }


LIBRARIES = {"numpy": with_numpy, "torch": with_torch}


def gflops(product: Callable[[], object], side: int, repeats: int) -> float:
    """Of the fastest of `repeats` products of two (side, side) matrices."""
    product()
    times_ns = []
    for _ in range(repeats):
        began = time.perf_counter_ns()
        product()
        times_ns.append(time.perf_counter_ns() - began)
    return 2 * side**3 / min(times_ns)


def main() -> None:
    library, sides, repeats = LIBRARIES[sys.argv[1]], [int(side) for side in sys.argv[2].split(",")], int(sys.argv[3])
    best: dict[str, float] = {}
    for side in sides:
        for precision, product in library(side).items():
            best[precision] = max(best.get(precision, 0.0), gflops(product, side, repeats))
    print(json.dumps(best))


if __name__ == "__main__":
    main()
