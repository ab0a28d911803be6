"""The compiler's table of layers, read out of its log, and the time that follows from it: an estimate, no measurement.

The model. For each layer the compiler tells the cycles that its arithmetic and its memory traffic take; the larger of
the two counts, at the NPU's highest clock. Layers without cycles (sums that stand alone) are charged their traffic, at
the rate that the compiler's own memory cycles come to. The sum times each end of `SLOWER` is the estimate.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from tools.errors import ConversionError

CLOCK_HZ = 1e9  # RK3588's NPU at its highest clock
# Multiply-adds a cycle of one core: 1024 int8 are the published 2 TOPS of a core, 512 in fp16 its 1 TFLOPS.
MACS_A_CYCLE = {"INT8": 1024, "FLOAT16": 512}
BYTES_OF = {"INT8": 1, "FLOAT16": 2}
CHANNEL_GROUP = {"INT8": 16, "FLOAT16": 8}
DDR_BYTES_A_CYCLE = 23.6
# How much longer two networks take than their tables, compiled here, by the times that Rockchip publishes for one core
# at the highest clock, INT8 (model zoo): YOLOv5s with ReLU at 640 px 15.1 ms against 12.5, ResNet-50 9.1 against 5.8.
SLOWER = (1.2, 1.6)
ENDS = ("InputOperator", "OutputOperator")
TITLE = "Network Layer Information Table"
ROW = re.compile(
    r"\] (?P<number>\d+)\s+(?P<op>\S+)\s+(?P<dtype>\S+)\s+(?P<place>NPU|CPU|GPU)\s+(?P<inputs>\S+)\s+(?P<output>\S+)\s+"
    r"(?P<ddr>\d+)/(?P<npu>\d+)/(?P<total>\d+)\s+(?P<rw_kib>\d+)\s+(?P<name>\S+)\s*$"
)
FULL_NAME = re.compile(r"^\w+:(?:n\.)?(?P<node>.+?)(?:_(?:Conv|Add)\w*)?$")


@dataclass(frozen=True)
class NpuLayer:
    """One row: `place` computes it, `cycles` the compiler says, `macs` the network has, `ms` the estimate charges."""

    name: str
    op: str
    dtype: str
    place: str
    inputs: str
    output: str
    macs: int
    ddr_cycles: int
    npu_cycles: int
    cycles: int
    ms: float


@dataclass(frozen=True)
class Estimate:
    """One tile on one core, in ms: from and to; `table_ms`: the compiler's cycles alone; `peak_ms`: its multiply-adds.

    Without the driver's own work on the processor. `ddr_gb_s`: what the core asks of the memory at the table's speed.
    `on_cpu`: layers that the NPU leaves to the processor.
    """

    from_ms: float
    to_ms: float
    table_ms: float
    peak_ms: float
    ddr_gb_s: float
    on_cpu: tuple[str, ...]


def read_layers(log: str, macs: Mapping[str, int]) -> list[NpuLayer]:
    """The rows of the table in a verbose log. `macs`: multiply-adds by node. Raises ConversionError where none is."""
    rows = [match for line in log.partition(TITLE)[2].splitlines() if (match := ROW.search(line))]
    if not rows:
        raise ConversionError("the toolkit's log has no table of layers; is it another version than the pinned one?")
    return [_layer(row, macs) for row in rows]


def estimate(layers: list[NpuLayer]) -> Estimate:
    inside = [layer for layer in layers if layer.op not in ENDS]
    tile_ms = sum(layer.ms for layer in inside)
    peak_cycles = sum(layer.macs / MACS_A_CYCLE.get(layer.dtype, MACS_A_CYCLE["FLOAT16"]) for layer in inside)
    ddr_cycles = sum(layer.ddr_cycles or layer.ms * CLOCK_HZ / 1e3 * (layer.npu_cycles == 0) for layer in inside)
    return Estimate(
        from_ms=tile_ms * SLOWER[0],
        to_ms=tile_ms * SLOWER[1],
        table_ms=tile_ms,
        peak_ms=peak_cycles / CLOCK_HZ * 1e3,
        ddr_gb_s=ddr_cycles * DDR_BYTES_A_CYCLE / (tile_ms * 1e6) if tile_ms else 0.0,
        on_cpu=tuple(layer.name for layer in inside if layer.place != "NPU"),
    )


def _layer(row: re.Match[str], macs: Mapping[str, int]) -> NpuLayer:
    named = FULL_NAME.match(row["name"])
    name = named["node"] if named else row["name"]
    total = int(row["total"])
    charged = total or (0 if row["op"] in ENDS else _traffic_cycles(row))
    return NpuLayer(
        name=name,
        op=row["op"],
        dtype=row["dtype"],
        place=row["place"],
        inputs=row["inputs"],
        output=row["output"],
        macs=0 if row["op"] in ENDS else macs.get(name, 0),
        ddr_cycles=int(row["ddr"]),
        npu_cycles=int(row["npu"]),
        cycles=total,
        ms=charged / CLOCK_HZ * 1e3,
    )


def _traffic_cycles(row: re.Match[str]) -> float:
    """What the layer reads, by the table, and what it writes, its channels filled up to whole groups."""
    sides = [int(side) for side in row["output"].strip("()").split(",") if side.isdigit()]
    group = CHANNEL_GROUP.get(row["dtype"], 8)
    if len(sides) > 1:
        sides[1] = -(-sides[1] // group) * group
    written = prod(sides) * BYTES_OF.get(row["dtype"], 2)
    return (int(row["rw_kib"]) * 1024 + written) / DDR_BYTES_A_CYCLE
