"""`edge-runtime modbus-map`: what the controller's programmer gets."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from typer.testing import CliRunner

from edge_runtime.__main__ import app
from edge_runtime.protocol.modbus_map import REGISTERS, STATUS_BITS

SETTINGS = """
[camera]
driver = "synthetic"
[inspection]
bundle = "model"
[modbus]
word_order = "little"
"""


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["modbus-map", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


def orders(text: str) -> set[str]:
    return {row["word_order"] for row in csv.DictReader(io.StringIO(text)) if row["word_order"]}


def test_the_csv_follows_the_settings_word_order(tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(SETTINGS)
    assert orders(run("--csv")) == {"high word first"}
    assert orders(run("--csv", settings)) == {"low word first"}


def test_the_table_for_people_names_everything() -> None:
    text = run()
    assert [name for name in (*(each.name for each in REGISTERS), *STATUS_BITS) if name not in text] == []
