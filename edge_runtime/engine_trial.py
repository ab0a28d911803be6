"""Child process: one engine tried on one bundle; import, load, golden tiles, then the time of a tile, turn by turn.

Reads the inspection settings as a line of JSON from standard input, then a line for each turn; writes lines as
`engine_race.Answer`. Native code may print there, too, so its output goes to standard error.
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
from edge_runtime.inference.bundle import check_golden, load_bundle
from edge_runtime.inference.golden import GoldenTile
from edge_runtime.interfaces import Segmenter
from edge_runtime.processes import die_with_parent

TILES_A_TURN = 3


def main() -> None:
    die_with_parent()
    answers = os.dup(1)
    os.dup2(2, 1)

    def answer(**told: object) -> None:
        os.write(answers, json.dumps(told).encode() + b"\n")

    inspection = InspectionSettings.model_validate_json(sys.stdin.buffer.readline())
    try:
        bundle = load_bundle(inspection.bundle)
        segmenter = build_segmenter(inspection, bundle)
        check_golden(bundle, segmenter, allowed_share(inspection, bundle))
        take_huge_pages(but_not=())
        golden = bundle.read_golden(bundle.manifest.golden[0])
        answer(proved=True)
        for _ in sys.stdin.buffer:
            answer(**_median_ms(golden, segmenter))
    except EdgeRuntimeError as exc:
        answer(problem=str(exc))


def _median_ms(golden: GoldenTile, segmenter: Segmenter) -> dict[str, float]:
    """Of a few tiles: the time on the wall, and that of the processors."""
    walls_ns, cpus_ns = [], []
    for _ in range(TILES_A_TURN):
        wall_ns, cpu_ns = time.monotonic_ns(), time.process_time_ns()
        segmenter.predict(golden.picture, golden.template)
        walls_ns.append(time.monotonic_ns() - wall_ns)
        cpus_ns.append(time.process_time_ns() - cpu_ns)
    return {"wall_ms": statistics.median(walls_ns) / NS_PER_MS, "cpu_ms": statistics.median(cpus_ns) / NS_PER_MS}


if __name__ == "__main__":
    main()
