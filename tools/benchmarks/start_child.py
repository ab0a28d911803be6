"""Run as a script: what an inspection worker does before it is ready, with the time after each step, as JSON.

Arguments: bundle folder, backend. Times are of the monotonic clock, in ns, so that they fit the parent's.
"""

import time

BEGAN_NS = time.monotonic_ns()

import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402


def main() -> None:
    stamps = {"interpreter": BEGAN_NS}
    from edge_runtime import child_program as child_program
    from edge_runtime.engines import allowed_share, build_segmenter
    from edge_runtime.inference.bundle import load_bundle
    from edge_runtime.inference.proof import check_golden
    from edge_runtime.runtime import inspection as worker  # noqa: F401
    from tools.benchmarks.frames import inspection as settings_for

    stamps["imports"] = time.monotonic_ns()
    folder, backend = Path(sys.argv[1]), sys.argv[2]
    bundle = load_bundle(folder)
    stamps["bundle"] = time.monotonic_ns()
    inspection = settings_for(folder, 1, backend)
    segmenter = build_segmenter(inspection, bundle)
    stamps["predictor"] = time.monotonic_ns()
    check_golden(bundle, segmenter, allowed_share(inspection, bundle))
    stamps["golden tiles"] = time.monotonic_ns()
    print(json.dumps(stamps))


if __name__ == "__main__":
    main()
