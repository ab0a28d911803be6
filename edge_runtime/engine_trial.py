"""Child process: one engine tried on one bundle; import, load, golden tiles, then the time of a tile.

Reads the inspection settings as JSON from standard input, writes one JSON object to standard output: `tile_ms`, or
`problem`. Native code may print there, too, so its output goes to standard error.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time

from edge_runtime.clock import NS_PER_MS
from edge_runtime.config import InspectionSettings
from edge_runtime.engines import allowed_share, build_segmenter
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.huge_pages import take_huge_pages
from edge_runtime.inference.bundle import Bundle, check_golden, load_bundle
from edge_runtime.interfaces import Segmenter
from edge_runtime.processes import die_with_parent

TIMED_TILES = 9


def main() -> None:
    die_with_parent()
    answers = os.dup(1)
    os.dup2(2, 1)
    inspection = InspectionSettings.model_validate_json(sys.stdin.buffer.read())
    try:
        answer: dict[str, object] = {"tile_ms": _try(inspection)}
    except EdgeRuntimeError as exc:
        answer = {"problem": str(exc)}
    os.write(answers, json.dumps(answer).encode())


def _try(inspection: InspectionSettings) -> float:
    bundle = load_bundle(inspection.bundle)
    segmenter = build_segmenter(inspection, bundle)
    check_golden(bundle, segmenter, allowed_share(inspection, bundle))
    take_huge_pages(but_not=())
    return _median_ms(bundle, segmenter)


def _median_ms(bundle: Bundle, segmenter: Segmenter) -> float:
    """Wall time: an engine may wait for a GPU, or compute on several cores."""
    golden = bundle.read_golden(bundle.manifest.golden[0])
    times_ns = []
    for _ in range(TIMED_TILES):
        began_ns = time.monotonic_ns()
        segmenter.predict(golden.picture, golden.template)
        times_ns.append(time.monotonic_ns() - began_ns)
    return statistics.median(times_ns) / NS_PER_MS


if __name__ == "__main__":
    main()
