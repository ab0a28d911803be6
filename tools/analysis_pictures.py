"""Pictures of an analysis, drawn without a screen."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from edge_runtime.files import write_atomically
from tools.graph import FloatArray
from tools.sensitivity import WHOLE, Trial

BINS = 60
ROW_INCH = 0.22
LEAST_HEIGHT_INCH = 4.0


def draw_scales(path: Path, magnitudes: Mapping[str, FloatArray]) -> None:
    """All |scale| as a histogram; beside it each batch norm's middle half, 5 % to 95 %, and median."""
    figure = _figure(len(magnitudes))
    pooled, each = figure.subplots(1, 2)
    pooled.hist(np.concatenate(list(magnitudes.values())), bins=BINS)
    pooled.set(xlabel="|scale|", ylabel="channels", title="all batch norms")
    rows = np.arange(len(magnitudes))
    low, quarter, median, three_quarters, high = np.array(
        [np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95)) for values in magnitudes.values()]
    ).T
    each.hlines(rows, low, high, linewidth=1)
    each.hlines(rows, quarter, three_quarters, linewidth=5)
    each.plot(median, rows, "k.")
    each.set(xlabel="|scale|", title="5 % to 95 %, middle half, median")
    _name_rows(each, list(magnitudes))
    _save(figure, path)


def draw_sensitivity(path: Path, trials: Sequence[Trial]) -> None:
    """Quality by class (rows) and ratio (columns), the whole network's quality in the title."""
    names = list(dict.fromkeys(trial.channel_class for trial in trials if trial.channel_class != WHOLE))
    ratios = sorted({trial.ratio for trial in trials if trial.channel_class != WHOLE})
    found = {(trial.channel_class, trial.ratio): trial.quality for trial in trials}
    figure = _figure(len(names))
    axes = figure.subplots()
    grid = np.array([[found[name, ratio] for ratio in ratios] for name in names])
    picture = axes.imshow(grid, aspect="auto", cmap="viridis")
    figure.colorbar(picture, label="quality")
    axes.set_xticks(range(len(ratios)), [f"{ratio:g}" for ratio in ratios])
    axes.set(xlabel="share of the class's channels asked to go", title=f"whole network: {found[WHOLE, 0.0]:.4g}")
    _name_rows(axes, names)
    _save(figure, path)


def _figure(rows: int) -> Figure:
    figure = Figure(figsize=(10.0, max(LEAST_HEIGHT_INCH, rows * ROW_INCH)), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _name_rows(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_ylim(len(names) - 0.5, -0.5)


def _save(figure: Figure, path: Path) -> None:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    write_atomically(path, stream.getvalue())
