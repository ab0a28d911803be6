"""A report as the user sees it: a table on the terminal, a file, a picture."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from tools.benchmarks.layout import facts, sums, tables
from tools.benchmarks.layouts import LAYOUTS
from tools.benchmarks.report import Report, save, to_json

STDOUT = Path("-")
NAME_LENGTH = 30


def deliver(report: Report, json_file: Path | None, picture: Path | None) -> None:
    """`json_file` "-" prints the JSON instead of the table. Raises ToolError for a kind of picture there is none of."""
    if json_file == STDOUT:
        print(to_json(report), end="")
    else:
        print_report(report, Console())
    if json_file is not None and json_file != STDOUT:
        save(json_file, report)
    if picture is not None:
        from tools.benchmarks.chart import draw

        draw(picture, report)


def print_report(report: Report, console: Console) -> None:
    layout = LAYOUTS[report.benchmark]
    console.print(f"[bold]{layout.title}[/]")
    for headings, rows in tables(layout, report):
        table = Table(box=box.SIMPLE_HEAD)
        for heading, cells in zip(headings, zip(*rows, strict=True), strict=True):
            is_number = any(cell[:1].isdigit() for cell in cells)
            is_name = not is_number and max(map(len, cells)) <= NAME_LENGTH
            table.add_column(heading, justify="right" if is_number else "left", no_wrap=is_name, overflow="fold")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for line in (*sums(layout, report), facts(report), f"{report.machine}, load {report.load_1min} before"):
        console.print(line, soft_wrap=True, highlight=False)
