"""`analyse`: layers and their times, scales of batch norm, and what pruning each class of channels alone costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from edge_runtime.files import write_atomically
from tools.batch_norms import QUANTILES, quantile_rows, scale_magnitudes
from tools.graph import Graph, Weights, count_macs, count_parameters
from tools.layers import Layer, Measure, split_layers, time_layers
from tools.machine import cpu_name
from tools.pruning.plan import TILE_PX
from tools.sensitivity import WHOLE, Quality, Study, Trial, measure_sensitivity
from tools.tables import csv_text, markdown_table


@dataclass(frozen=True)
class Times:
    """Layers measured alone, and the whole network in one piece, in CPU milliseconds for a tile."""

    layers: tuple[Layer, ...]
    whole_ms: float

    @property
    def sum_ms(self) -> float:
        return sum(layer.ms or 0.0 for layer in self.layers)


def analyse_layers(graph: Graph, out: Path, measure: Measure, console: Console) -> Times:
    """Write layers.csv and layers.md."""
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("timing layers", total=len(split_layers(graph)) + 1)
        whole_ms = measure(graph, TILE_PX)
        progress.advance(task)
        layers = time_layers(graph, TILE_PX, measure, lambda: progress.advance(task))
    times = Times(tuple(layers), whole_ms)
    head = [field.name for field in fields(Layer)]
    rows = [astuple(layer) for layer in layers]
    summary = (
        f"{count_macs(graph, TILE_PX):,} multiply-adds for a tile of {TILE_PX} px, {count_parameters(graph):,} "
        f"parameters. Layers alone take {times.sum_ms:.2f} ms together, the whole network {whole_ms:.2f} ms: medians "
        f"of CPU time on one thread, Paddle Lite x86, {cpu_name()}.\n"
    )
    _write(out / "layers.csv", csv_text(head, rows))
    _write(out / "layers.md", f"# Layers\n\n{summary}\n{markdown_table(head, rows)}")
    console.print(summary, highlight=False)
    return times


def analyse_scales(graph: Graph, weights: Weights, out: Path) -> None:
    """Write batch_norm.csv, batch_norm.md and batch_norm.png; nothing for a network without batch norm."""
    from tools.analysis_pictures import draw_scales

    magnitudes = scale_magnitudes(graph, weights)
    if not magnitudes:
        return
    head = ["batch norm", "channels", *(f"{share:.0%}" for share in QUANTILES)]
    rows = [(name, channels, *quantiles) for name, channels, quantiles in quantile_rows(magnitudes)]
    _write(out / "batch_norm.csv", csv_text(head, rows))
    _write(out / "batch_norm.md", f"# |scale| of batch norm: quantiles\n\n{markdown_table(head, rows)}")
    draw_scales(out / "batch_norm.png", magnitudes)


def analyse_sensitivity(study: Study, quality: Quality, out: Path, console: Console) -> list[Trial]:
    """Write sensitivity.csv trial by trial, resuming one that lies there, then sensitivity.md and sensitivity.png."""
    from tools.analysis_pictures import draw_sensitivity

    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("pruning class by class")
        trials = measure_sensitivity(
            study,
            quality,
            out / "sensitivity.csv",
            lambda done, total: progress.update(task, completed=done, total=total),
        )
    _write(out / "sensitivity.md", sensitivity_text(study.method, trials))
    draw_sensitivity(out / "sensitivity.png", trials)
    return trials


def sensitivity_text(method: str, trials: Sequence[Trial]) -> str:
    """The classes whose loss of channels costs most first."""
    whole = next(trial for trial in trials if trial.channel_class == WHOLE)
    lost = sorted((trial for trial in trials if trial is not whole), key=lambda trial: trial.quality)
    rows = [
        (
            t.channel_class,
            t.ratio,
            f"{t.channels} → {t.kept}",
            t.macs,
            t.parameters,
            t.quality,
            t.quality - whole.quality,
        )
        for t in lost
    ]
    head = ["class", "ratio", "channels", "MACs", "parameters", "quality", "change"]
    return (
        f"# Sensitivity ({method}, one class at a time, not trained again)\n\n"
        f"The whole network: quality {whole.quality:.4g}, {whole.macs:,} multiply-adds, "
        f"{whole.parameters:,} parameters.\n\n"
        f"{markdown_table(head, rows)}"
    )


def _write(path: Path, text: str) -> None:
    write_atomically(path, text.encode())
