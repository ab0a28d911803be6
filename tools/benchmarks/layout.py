"""How rows are shown: which columns, in which words, with which picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tools.benchmarks.report import Report, Row


@dataclass(frozen=True)
class Curves:
    """One curve for each value of `by`, over `x`."""

    x: str
    y: str
    by: str
    x_label: str
    y_label: str
    log_x: bool = False


@dataclass(frozen=True)
class Bars:
    """One horizontal bar a row, named by the columns `names`; several `parts` are stacked."""

    names: tuple[str, ...]
    parts: Mapping[str, str]
    label: str
    log: bool = False


@dataclass(frozen=True)
class Layout:
    """`tables`: each key → heading; a key that no row has is left out."""

    title: str
    tables: tuple[Mapping[str, str], ...]
    picture: Curves | Bars
    sums: Mapping[str, str] = field(default_factory=dict)


def tables(layout: Layout, report: Report) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Each table's headings and its rows' cells as text; an absent value is a dash.

    A table that has nothing of its own to show is left out.
    """
    seen: set[str] = set()
    for columns in layout.tables:
        keys = [key for key in columns if any(value_at(row, key) is not None for row in report.rows)]
        if set(keys) - seen:
            yield [columns[key] for key in keys], [[_text(row, key) for key in keys] for row in report.rows]
        seen.update(keys)


def facts(report: Report) -> str:
    """What holds for all rows, in one line."""
    named = {key: value for key, value in report.conditions.items() if value not in ("", None)}
    return ", ".join(f"{key.replace('_', ' ')} {as_text(value)}" for key, value in named.items())


def sums(layout: Layout, report: Report) -> list[str]:
    """A line each: what could not be measured, and those of the summary that the layout names."""
    failed = [
        f"{row['name']}, {row['cores']} cores, not measured: {row['failed']}" for row in report.rows if "failed" in row
    ]
    named = [(words, report.summary[key]) for key, words in layout.sums.items() if key in report.summary]
    return failed + [f"{words}: {as_text(value)}" for words, value in named]


def as_text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {as_text(each)}" for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(as_text(each) for each in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)


def value_at(row: Row, key: str) -> Any:
    """The row's value; `outer.inner` is a value within a value. None where there is none."""
    value: Any = row
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _text(row: Row, key: str) -> str:
    value = value_at(row, key)
    return "–" if value is None else as_text(value)
