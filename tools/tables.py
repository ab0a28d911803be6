"""Tables as CSV and Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from tools.markdown import table


def csv_text(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([head, *rows])
    return stream.getvalue()


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return "\n".join([*table(head, ([_cell(value) for value in row] for row in rows)), ""])


def _cell(value: object) -> str:
    return (f"{value:.4g}" if isinstance(value, float) else str(value)).replace("|", "\\|")
