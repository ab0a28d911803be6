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
from typing import TYPE_CHECKING

from edge_runtime.clock import NS_PER_MS
from edge_runtime.config_inspection import InspectionSettings
from edge_runtime.engines import allowed_share, build_segmenter, target_of
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.heap import keep_freed, keep_large_apart
from edge_runtime.huge_pages import take_huge_pages
from edge_runtime.inference.bundle import Bundle, load_bundle
from edge_runtime.inference.proof import check_golden
from edge_runtime.interfaces import Segmenter
from edge_runtime.processes import die_with_parent
from edge_runtime.vision.preprocess import cut_tile

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8

TILES_A_TURN, TURN_ENDS_AFTER_MS = 3, 100.0


def main() -> None:
    die_with_parent()
    answers = os.dup(1)
    os.dup2(2, 1)

    def answer(**told: object) -> None:
        os.write(answers, json.dumps(told).encode() + b"\n")

    inspection = InspectionSettings.model_validate_json(sys.stdin.buffer.readline())
    keep_large_apart()
    try:
        bundle = _sized(load_bundle(inspection.bundle), inspection)
        segmenter = build_segmenter(inspection, bundle)
        check_golden(bundle, segmenter, allowed_share(inspection, bundle))
        keep_freed()
        take_huge_pages(but_not=())
        tile = _tile(bundle)
        answer(proved=True, **_median_ms(segmenter, *tile))
        for _ in sys.stdin.buffer:
            answer(**_median_ms(segmenter, *tile))
    except EdgeRuntimeError as exc:
        answer(problem=str(exc))


def _sized(bundle: Bundle, inspection: InspectionSettings) -> Bundle:
    """With the tiles that are to be measured; None set: its usual ones. Raises BundleError."""
    if inspection.tile_px is None or inspection.backend == "scripted":
        return bundle
    return bundle.with_tiles(inspection.tile_px, target_of(inspection))


def _tile(bundle: Bundle) -> tuple[ImageU8, ImageU8 | None]:
    """Picture and template of a golden tile, as large as the tiles in use."""
    side_px = bundle.input_contract.tile_px
    golden = bundle.read_golden(bundle.manifest.golden_for(side_px)[0])
    template = None if golden.template is None else cut_tile(golden.template, (0, 0), side_px)
    return cut_tile(golden.picture, (0, 0), side_px), template


def _median_ms(segmenter: Segmenter, picture: ImageU8, template: ImageU8 | None) -> dict[str, float]:
    """Of a few tiles, fewer where they are slow: the time on the wall, and that of the processors."""
    walls_ns: list[int] = []
    cpus_ns: list[int] = []
    while len(walls_ns) < TILES_A_TURN and sum(walls_ns) < TURN_ENDS_AFTER_MS * NS_PER_MS:
        wall_ns, cpu_ns = time.monotonic_ns(), time.process_time_ns()
        segmenter.predict(picture, template)
        walls_ns.append(time.monotonic_ns() - wall_ns)
        cpus_ns.append(time.process_time_ns() - cpu_ns)
    return {"wall_ms": statistics.median(walls_ns) / NS_PER_MS, "cpu_ms": statistics.median(cpus_ns) / NS_PER_MS}


if __name__ == "__main__":
    main()
