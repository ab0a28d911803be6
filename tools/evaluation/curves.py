"""Precision against recall, as a table and as a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from edge_runtime.files import write_atomically
from edge_runtime.values import DefectClass
from tools.evaluate import ALL
from tools.scoring import Curve, Scores
from tools.tables import csv_text

CURVES_CSV, CURVES_PNG = "curves.csv", "curves.png"
THRESHOLDS_CSV, THRESHOLDS_PNG = "thresholds.csv", "thresholds.png"
BLACK = "#222222"


def write_curves(
    folder: Path, curves: Mapping[str, Curve], operating: Mapping[str, Scores], classes: Sequence[DefectClass]
) -> None:
    """curves.csv (a row for each distinct score of each class) and curves.png, operating points as dots."""
    rows = [
        (name, *_rounded(score, precision, recall))
        for name, curve in curves.items()
        for score, precision, recall in zip(curve.scores, curve.precision, curve.recall, strict=True)
    ]
    _write_text(folder / CURVES_CSV, csv_text(("class", "score_min", "precision", "recall"), rows))
    figure, axes = _axes("recall", "precision")
    for name, color in line_colors(classes).items():
        curve, point = curves[name], operating[name]
        if not curve.labelled:
            continue
        steps = np.maximum.accumulate(curve.precision[::-1])[::-1]
        label = f"{name}, {'mean ' if name == ALL else ''}AP {point.average_precision:.3f}"
        axes.plot(curve.recall, steps, color=color, label=label, **_style(name))
        axes.plot([point.recall], [point.precision], "o", color=color, markersize=7)
    axes.legend(loc="lower left", fontsize=8)
    write_atomically(folder / CURVES_PNG, _png(figure))


def write_thresholds(
    folder: Path, tried: Mapping[int, Sequence[tuple[int, Scores]]], chosen: Sequence[DefectClass]
) -> None:
    """thresholds.csv and thresholds.png: each class's scores at every threshold tried, the chosen ones as dots."""
    rows = [
        (known.name, threshold, *_rounded(one.precision, one.recall, one.f_score))
        for known in chosen
        for threshold, one in tried[known.class_id]
    ]
    _write_text(folder / THRESHOLDS_CSV, csv_text(("class", "threshold", "precision", "recall", "f_score"), rows))
    figure, axes = _axes("threshold", "F")
    for known in chosen:
        by_threshold = {threshold: one.f_score for threshold, one in tried[known.class_id]}
        color = line_colors(chosen)[known.name]
        axes.plot(list(by_threshold), list(by_threshold.values()), color=color, label=known.name)
        axes.plot([known.threshold], [by_threshold.get(known.threshold, 0.0)], "o", color=color, markersize=7)
    axes.set_xlim(0, 255)
    axes.legend(loc="lower left", fontsize=8)
    write_atomically(folder / THRESHOLDS_PNG, _png(figure))


def line_colors(classes: Sequence[DefectClass]) -> dict[str, str]:
    """The bundle's own colours, black for all classes together."""
    hexadecimal = {known.name: "#{2:02x}{1:02x}{0:02x}".format(*known.color_bgr) for known in classes}
    return {ALL: BLACK, **hexadecimal}


def _axes(across: str, up: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(8, 6), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=across, ylabel=up, xlim=(0, 1.02), ylim=(0, 1.02))
    axes.grid(True, color="#dddddd")
    return figure, axes


def _style(name: str) -> dict[str, float]:
    return {"linewidth": 2.5 if name == ALL else 1.2}


def _rounded(*values: float) -> tuple[float, ...]:
    return tuple(round(float(value), 5) for value in values)


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def _write_text(path: Path, text: str) -> None:
    write_atomically(path, text.encode())
