"""The layout of each benchmark. Terminal, page and picture read the same table."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from edge_runtime.runtime.part_times import STATIONS
from tools.benchmarks.layout import Bars, Curves, Layout


def _hops(share: str) -> dict[str, str]:
    return {f"hops_ms.{hop}.{share}": hop for hop in (*STATIONS, "wire")}


LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "pipeline": Layout(
            "Overhead of the whole path",
            (
                {
                    "workers": "workers",
                    "tiles": "tiles",
                    "tile_px": "of px",
                    "frame_ms": "frame ms",
                    "tile_ms": "pure tile ms",
                    "overhead": "overhead",
                    "overhead_least": "least",
                    "overhead_most": "most",
                    "overhead_floor": "floor",
                },
                {
                    "workers": "workers",
                    "prepare_ms": "prepare ms",
                    "preprocess_ms": "preprocess ms",
                    "place_ms": "place ms",
                    "spot_ms": "spot ms",
                    "decide_ms": "decide ms",
                    "handover_ms": "handover ms",
                },
                {
                    "workers": "workers",
                    "path_capture_ms": "capture ms",
                    "path_handover_ms": "handover ms",
                    "path_tiles_ms": "tiles ms",
                    "path_decide_ms": "decide ms",
                    "path_wire_ms": "wire ms",
                    "path_ms": "all ms",
                    "stream_ms": "back to back ms",
                    "stream_overhead": "over tiles",
                },
            ),
            Bars(
                ("workers",),
                {
                    "path_capture_ms": "capture",
                    "path_handover_ms": "handover",
                    "path_tiles_ms": "tiles",
                    "path_decide_ms": "decide",
                    "path_wire_ms": "wire",
                },
                "milliseconds from trigger to wire",
            ),
        ),
        "scaling": Layout(
            "Time against picture size",
            (
                {
                    "megapixels": "megapixels",
                    "side_px": "side px",
                    "workers": "workers",
                    "tiles": "tiles",
                    "tile_px": "of px",
                    "frame_ms": "frame ms",
                    "least_ms": "least",
                    "most_ms": "most",
                    "ms_per_megapixel": "ms per megapixel",
                    "computed": "computed per pixel",
                    "ms_per_computed_megapixel": "ms per computed megapixel",
                    "ms_per_tile": "ms per tile",
                    "rounds": "rounds",
                },
            ),
            Curves("megapixels", "ms_per_megapixel", "workers", "megapixels", "ms per megapixel", log_x=True),
            {"flatness": "flatness by workers", "flatness_computed": "of what is computed"},
        ),
        "start": Layout(
            "Start",
            (
                {
                    "workers": "workers",
                    "guard_ms": "guard ms",
                    "office_ms": "office ms",
                    "capture_ms": "capture ms",
                    "inspection_ms": "last worker ms",
                    "ready_ms": "READY ms",
                },
            ),
            Bars(("workers",), {"ready_ms": "READY"}, "milliseconds from start to READY"),
            {
                "worker_ms": "steps of a worker, ms",
                "switch_ms": "change of recipe and model, ms",
                "takeover_ms": "another bundle taken over by the running daemon, ms",
            },
        ),
        "memory": Layout(
            "Memory of the whole daemon",
            (
                {
                    "megapixels": "megapixels",
                    "tile_px": "tiles of px",
                    "pss_mb": "PSS MB",
                    "uss_mb": "USS MB",
                    "ring_mb": "frame ring MB",
                    "rest_mb": "rest MB",
                    "slots": "slots",
                    "parts": "parts",
                },
                {
                    "megapixels": "megapixels",
                    "tile_px": "tiles of px",
                    "line_mb": "line MB",
                    "guard_mb": "guard MB",
                    "capture_mb": "capture MB",
                    "inspection_mb": "workers MB",
                    "office_mb": "office MB",
                },
            ),
            Bars(
                ("megapixels", "tile_px"),
                {
                    "ring_mb": "frame ring",
                    "inspection_mb": "workers",
                    "capture_mb": "capture",
                    "office_mb": "office",
                    "guard_mb": "guard",
                    "line_mb": "line",
                },
                "PSS in MB, each shared page once",
            ),
            {
                "growth_mb_per_megapixel": "growth with the bundle's usual tiles, MB per megapixel",
                "at_zero_mb": "at 0 megapixels, MB",
                "worst_residual_mb": "farthest from the line, MB",
                "step_mb": "what the chosen tiles take beyond the usual ones, MB",
            },
        ),
        "limit": Layout(
            "Share of the processor's arithmetic",
            (
                {
                    "model": "model",
                    "backend": "backend",
                    "gmacs": "GMAC a tile",
                    "tile_ms": "tile ms",
                    "gflops": "GFLOP/s",
                    "peak_gflops": "sgemm GFLOP/s",
                    "share": "share",
                },
            ),
            Bars(("model", "backend"), {"share": "share"}, "share of sgemm's GFLOP/s, one thread"),
            {"torch_gflops": "PyTorch's matrix product, GFLOP/s"},
        ),
        "peers": Layout(
            "Side by side with what else there is",
            (
                {
                    "name": "who",
                    "cores": "cores",
                    "frame_ms": "frame ms",
                    "ratio.paddle_lite": "times paddle_lite",
                    "ratio.auto": "times auto",
                    "ratio.auto:coarse": "times auto:coarse",
                    "f_score": "F",
                },
                {
                    "name": "who",
                    "cores": "cores",
                    "core_differ": "core differs",
                    "seam_differ": "seam differs",
                },
                {
                    "name": "who",
                    "cores": "cores",
                    "least_ms": "least",
                    "most_ms": "most",
                    "rounds": "rounds",
                    "peak_mb": "peak MB",
                },
                {"name": "who", "note": "with"},
            ),
            Bars(("name", "cores"), {"frame_ms": "frame"}, "milliseconds a frame", log=True),
        ),
        "accuracy": Layout(
            "Equally right",
            (
                {
                    "name": "who",
                    "f_score": "F",
                    "precision": "precision",
                    "recall": "recall",
                    "average_precision": "average precision",
                },
                {"name": "who", "f_by_class": "F by class"},
                {"name": "who", "note": "with"},
            ),
            Bars(("name",), {"f_score": "F"}, "F of defects"),
        ),
        "line": Layout(
            "From a trigger to its result on the wire",
            (
                {
                    "priority": "priority",
                    "priority_granted": "granted",
                    "triggers": "triggers",
                    "inspected": "inspected",
                    "beyond_inference_ms.p50": "beyond inference p50 ms",
                    "beyond_inference_ms.p99": "p99",
                    "beyond_inference_ms.max": "max",
                    "meets_goal": "goal met",
                },
                {
                    "priority": "priority",
                    "trigger_to_wire_ms.p50": "trigger to wire p50 ms",
                    "trigger_to_wire_ms.p99": "p99",
                    "trigger_to_wire_ms.max": "max",
                },
                {
                    "priority": "priority",
                    "beyond_compute_ms.p50": "beyond compute p50 ms",
                    "beyond_compute_ms.p99": "p99",
                    "beyond_compute_ms.max": "max",
                },
                *({"priority": f"{share} ms, priority"} | _hops(share) for share in ("p50", "p99", "max")),
            ),
            Bars(("priority",), {"beyond_inference_ms.p99": "p99"}, "milliseconds beyond inference, p99"),
            {"pauses": "what the machine takes from a process that only looks at the clock"},
        ),
        "modbus": Layout(
            "Modbus while all workers inspect",
            (
                {
                    "polls": "readings",
                    "late_polls": "late",
                    "errors": "errors",
                    "torn": "torn",
                    "changed": "changed",
                    "wrong": "wrong",
                    "parts": "parts",
                    "not_inspected": "not inspected",
                    "wrong_records": "wrong records",
                },
                {
                    "read_ms_p50": "reading p50 ms",
                    "read_ms_p99": "p99",
                    "read_ms_max": "max",
                    "worker_busy": "processors a worker",
                    "mbpoll.polls": "mbpoll's readings",
                    "mbpoll.errors": "its errors",
                },
            ),
            Bars(("parts",), {"read_ms_p99": "p99"}, "milliseconds a reading, p99"),
        ),
    }
)
