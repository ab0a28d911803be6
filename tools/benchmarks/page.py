"""docs/performance.md: prose by hand, figures by `bench report` from the last run's JSON files."""

from __future__ import annotations

import re
from pathlib import Path

from edge_runtime.files import write_atomically
from tools.benchmarks.chart import draw
from tools.benchmarks.layout import facts, sums, tables
from tools.benchmarks.layouts import LAYOUTS
from tools.benchmarks.report import Report, load
from tools.errors import ToolError
from tools.markdown import table

_BLOCK = re.compile(r"(<!-- bench ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
NOT_MEASURED = "Not measured yet.\n"


def write_page(page: Path, results: Path) -> list[str]:
    """Renew the page's figures and the pictures beside the results; returns the benchmarks that have none.

    Raises ToolError, OSError.
    """
    text = page.read_text(encoding="utf-8")
    reports = {path.stem: load(path) for path in sorted(results.glob("*.json")) if _kind(path.stem) in LAYOUTS}
    for name, report in reports.items():
        draw(results / f"{name}.svg", report)
    write_atomically(page, filled(text, reports, results.name, str(page)).encode())
    return [name for name in LAYOUTS if name not in reports]


def _kind(name: str) -> str:
    """The benchmark that a block or a result's file is of: `peers-template` is a second run of `peers`."""
    return name.partition("-")[0]


def filled(text: str, reports: dict[str, Report], results: str, where: str) -> str:
    """The page with each block between `<!-- bench NAME -->` and `<!-- end -->` made anew.

    `results`: the folder of the pictures, as the page's links say it. Raises ToolError for a benchmark or a result
    without a block and for a block of a benchmark there is none of.
    """
    found = {name for _, name, _ in _BLOCK.findall(text)}
    for name in ({*LAYOUTS} ^ {_kind(name) for name in found}) | (reports.keys() - found):
        raise ToolError(
            f"{where}: each benchmark and result has a block `<!-- bench NAME -->` … `<!-- end -->`; look at {name!r}"
        )
    return _BLOCK.sub(lambda block: block[1] + _body(block[2], reports.get(block[2]), results) + block[3], text)


def _body(name: str, report: Report | None, results: str) -> str:
    if report is None:
        return NOT_MEASURED
    layout = LAYOUTS[_kind(name)]
    parts = ["\n".join(table(headings, rows)) for headings, rows in tables(layout, report)]
    parts += [f"- {line}" for line in sums(layout, report)]
    machine = report.machine
    parts.append(
        f"Measured at {report.measured_at} on {machine} ({', '.join(machine.units)}; {machine.kernel}, "
        f"Python {machine.python}), load {report.load_1min} before; {facts(report)}."
    )
    parts.append(f"![{layout.title}]({results}/{name}.svg)")
    return "\n\n".join(parts).replace("\n\n- ", "\n- ") + "\n"
