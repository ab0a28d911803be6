"""A report as a picture of a few kB, drawn without a screen."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from edge_runtime.files import write_atomically
from tools.benchmarks.layout import Bars, Curves, as_text, value_at
from tools.benchmarks.layouts import LAYOUTS
from tools.benchmarks.report import Report, Row
from tools.errors import ToolError

KINDS = ("svg", "png")
# Text stays text in an SVG, and nothing in it changes from one drawing to the next.
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "edge-runtime", "font.size": 9}


def draw(path: Path, report: Report) -> None:
    """Write the picture. Raises ToolError for any suffix but .svg and .png."""
    kind = path.suffix.lstrip(".").lower()
    if kind not in KINDS:
        raise ToolError(f"{path}: pictures are {' or '.join(KINDS)}; choose such a name")
    layout = LAYOUTS[report.benchmark]
    with rc_context(STYLE):
        figure = Figure(figsize=(7.0, _height_inch(layout.picture, report)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        if isinstance(layout.picture, Curves):
            _draw_curves(axes, layout.picture, report.rows)
        else:
            _draw_bars(axes, layout.picture, report.rows)
        if len(axes.get_legend_handles_labels()[0]) > 1:
            figure.legend(loc="outside lower center", ncols=6, frameon=False)
        axes.set_title(f"{layout.title}\n{report.machine}", fontsize=9, loc="left")
        stream = io.BytesIO()
        figure.savefig(stream, format=kind, dpi=90, metadata={"Date": None} if kind == "svg" else None)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, stream.getvalue())


def _height_inch(picture: Curves | Bars, report: Report) -> float:
    return 3.4 if isinstance(picture, Curves) else 1.5 + 0.3 * len(report.rows)


def _draw_curves(axes: Any, picture: Curves, rows: Sequence[Row]) -> None:
    for value in dict.fromkeys(row[picture.by] for row in rows):
        mine = [row for row in rows if row[picture.by] == value]
        axes.plot(
            [row[picture.x] for row in mine], [row[picture.y] for row in mine], "o-", label=f"{value} {picture.by}"
        )
    axes.set(xlabel=picture.x_label, ylabel=picture.y_label)
    if picture.log_x:
        axes.set_xscale("log", base=2)
        ticks = sorted({row[picture.x] for row in rows})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)


def _draw_bars(axes: Any, picture: Bars, rows: Sequence[Row]) -> None:
    names = [", ".join(_named(key, row[key]) for key in picture.names if key in row) for row in rows]
    places, lefts = range(len(rows)), [0.0] * len(rows)
    for key, label in picture.parts.items():
        widths = [float(value_at(row, key) or 0.0) for row in rows]
        axes.barh(places, widths, left=lefts, label=label)
        lefts = [left + width for left, width in zip(lefts, widths, strict=True)]
    for place, total in zip(places, lefts, strict=True):
        axes.annotate(as_text(total), (total, place), xytext=(3, 0), textcoords="offset points", va="center")
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    if picture.log:
        axes.set_xscale("log")
    axes.set(xlabel=picture.label)


def _named(key: str, value: Any) -> str:
    return value if isinstance(value, str) else f"{as_text(value)} {key.replace('_', ' ')}"
