"""The report on a bundle's networks for the NPU, as JSON and as Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from edge_runtime.files import write_atomically
from tools.markdown import code, table
from tools.rknn.layers import CLOCK_HZ, SLOWER, Estimate, NpuLayer
from tools.rknn.parity import Parity
from tools.scoring import Scores

ESTIMATED = "**Estimate, not a measurement**: no board was used."


@dataclass(frozen=True)
class NpuResult:
    """One network: its target, what the compiler says, and what the simulator answers."""

    target: str
    file_bytes: int
    layers: tuple[NpuLayer, ...]
    estimate: Estimate
    parity: Parity


@dataclass(frozen=True)
class NpuReport:
    """`float_scores`: of the float network on the same pictures. `macs`: of a tile."""

    model_id: str
    toolkit_version: str
    data: str
    pictures: int
    macs: int
    float_scores: Scores
    results: tuple[NpuResult, ...]


def write_report(report: NpuReport, out: Path) -> None:
    """rknn.json and rknn.md, whole or not at all. Raises OSError."""
    told = {"estimates": ESTIMATED.replace("*", ""), **asdict(report)}
    write_atomically(out / "rknn.json", json.dumps(told, indent=1).encode() + b"\n")
    write_atomically(out / "rknn.md", report_text(report).encode())


def report_text(report: NpuReport) -> str:
    parts = [
        f"# {code(report.model_id)} on RK3588's NPU",
        f"Toolkit {report.toolkit_version}, simulator; {code(report.data)}, {report.pictures} pictures.",
        "## Simulator against the float network",
        "\n".join(table(*_parity_table(report))),
        "## Time of a tile on one core",
        ESTIMATED,
        "\n".join(table(*_time_table(report.results))),
    ]
    for result in report.results:
        parts += [f"## Layers of {code(result.target)}", "\n".join(table(*_layer_table(result.layers)))]
    return "\n\n".join(parts) + "\n"


def _parity_table(report: NpuReport) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    head = ("", "defects the same", "missed", "new", "other class", "verdicts changed", "cells moved", "golden", "F")
    rows: list[Sequence[str]] = [("float", *["–"] * 7, f"{report.float_scores.f_score:.4f}")]
    for result in report.results:
        totals, parity = result.parity.totals, result.parity
        counts = (totals.same, totals.missed, totals.new, totals.changed_class, totals.verdicts_changed)
        moved = (f"{parity.moved:.3%}", f"{max(parity.golden_moved):.3%} at most", f"{parity.scores.f_score:.4f}")
        rows.append((code(result.target), *map(str, counts), *moved))
    return head, rows


def _time_table(results: Sequence[NpuResult]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    head = (
        "",
        f"estimate, ms (× {SLOWER[0]} to × {SLOWER[1]})",
        f"compiler's cycles at {CLOCK_HZ / 1e9:g} GHz, ms",
        "multiply-adds at the published peak, ms",
        "memory traffic, GB/s",
        "layers on the processor",
    )
    rows = []
    for result in results:
        told = result.estimate
        figures = (f"{told.table_ms:.2f}", f"{told.peak_ms:.2f}", f"{told.ddr_gb_s:.1f}")
        places = ", ".join(map(code, told.on_cpu)) or "none"
        rows.append((code(result.target), f"{told.from_ms:.1f} to {told.to_ms:.1f}", *figures, places))
    return head, rows


def _layer_table(layers: Sequence[NpuLayer]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    head = ("layer", "operation", "on", "output", "M multiply-adds", "memory / arithmetic cycles", "ms, estimated")
    rows = [
        (
            code(layer.name),
            layer.op,
            layer.place,
            layer.output.strip("\\"),
            f"{layer.macs / 1e6:.1f}" if layer.macs else "",
            f"{layer.ddr_cycles} / {layer.npu_cycles}" if layer.cycles else "",
            f"{layer.ms:.3f}" if layer.ms else "",
        )
        for layer in layers
    ]
    return head, rows
