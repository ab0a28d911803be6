"""Run as a script on one thread: the fastest float32 matrix product that NumPy's BLAS gives, as one line of JSON.

Arguments: sides of the square matrices, separated by commas, and repeats.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np


def measure(side: int, repeats: int) -> float:
    """GFLOP/s of the fastest of `repeats` products of two (side, side) matrices."""
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal((side, side)).astype(np.float32) for _ in range(2))
    out = np.empty_like(a)
    np.matmul(a, b, out=out)
    times_ns = []
    for _ in range(repeats):
        began = time.perf_counter_ns()
        np.matmul(a, b, out=out)
        times_ns.append(time.perf_counter_ns() - began)
    return 2 * side**3 / min(times_ns)


def main() -> None:
    sides, repeats = [int(side) for side in sys.argv[1].split(",")], int(sys.argv[2])
    print(json.dumps({str(side): measure(side, repeats) for side in sides}))


if __name__ == "__main__":
    main()
