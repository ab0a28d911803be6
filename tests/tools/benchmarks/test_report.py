"""A report as a file, on the terminal and as a picture."""

import io
import json
from dataclasses import asdict

import pytest
from rich.console import Console

from tools.benchmarks.chart import draw
from tools.benchmarks.layout import Bars, as_text, tables, value_at
from tools.benchmarks.layouts import LAYOUTS
from tools.benchmarks.output import deliver, print_report
from tools.benchmarks.report import Clerk, load, save
from tools.errors import ToolError

ROWS = [
    {
        "megapixels": 1.05,
        "side_px": 1024,
        "workers": 1,
        "tiles": 9,
        "frame_ms": 90.0,
        "ms_per_megapixel": 85.8,
        "rounds": 5,
    },
    {
        "megapixels": 4.19,
        "side_px": 2048,
        "workers": 1,
        "tiles": 25,
        "frame_ms": 260.0,
        "ms_per_megapixel": 62.0,
        "rounds": 5,
    },
]


@pytest.fixture
def report():
    return Clerk("scaling").report({"model": "m/1", "rounds": 5}, ROWS, {"flatness": {"1": 1.384}})


def test_a_report_is_read_as_it_was_written(report, tmp_path):
    save(tmp_path / "new" / "a.json", report)
    read = load(tmp_path / "new" / "a.json")
    assert json.loads(json.dumps(asdict(read))) == json.loads(json.dumps(asdict(report)))
    assert str(read.machine) == str(report.machine)
    assert read.measured_at.endswith("+00:00")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"benchmark": "scaling"}', "12", '{"machine": {}}'])
def test_what_is_no_report_is_refused_by_its_name(text, tmp_path):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ToolError, match=r"x\.json: not a benchmark's result"):
        load(path)


def test_another_format_or_no_rows_is_refused(report, tmp_path):
    for change in ({"format": 2}, {"rows": []}):
        (tmp_path / "x.json").write_text(json.dumps({**asdict(report), **change}))
        with pytest.raises(ToolError, match="measure it again"):
            load(tmp_path / "x.json")


def test_the_table_names_rows_machine_and_sums(report):
    console = Console(file=io.StringIO(), width=120)
    print_report(report, console)
    text = console.file.getvalue()
    for words in ("ms per megapixel", "85.80", "1024", "flatness by workers: 1 1.38", "model m/1", report.machine.cpu):
        assert words in text
    assert "ms per tile" not in text  # no row has it


def test_an_absent_value_is_a_dash_and_a_table_without_news_is_left_out(report):
    layout = LAYOUTS["pipeline"]
    bare = Clerk("pipeline").report({}, [{"workers": 1, "overhead": 1.02}, {"workers": 2}])
    ((headings, rows),) = tables(layout, bare)
    assert (headings, rows) == (["workers", "overhead"], [["1", "1.02"], ["2", "–"]])


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1234, "0.123"), (1.239, "1.24"), (123.4, "123"), (True, "yes"), ((1, 2.5), "1, 2.50"), ({"a": 1.0}, "a 1.00")],
)
def test_numbers_are_rounded_by_their_size(value, text):
    assert as_text(value) == text


def nested(values):
    """{"a.b": 1} as {"a": {"b": 1}}."""
    row = {}
    for key, value in values.items():
        outer, _, inner = key.partition(".")
        row[outer] = {inner: value} if inner else value
    return row


def test_a_value_within_a_value_is_found():
    assert value_at({"a": {"b": 2}}, "a.b") == 2
    assert [value_at(row, "a.b") for row in ({}, {"a": None}, {"a": {"c": 1}})] == [None] * 3


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_every_benchmark_has_a_small_picture(name, suffix, tmp_path):
    layout = LAYOUTS[name]
    picture = layout.picture
    keys = (*picture.names, *picture.parts) if isinstance(picture, Bars) else (picture.x, picture.y, picture.by)
    rows = [nested({key: float(number) for key in keys}) for number in (1, 2, 3)]
    draw(tmp_path / f"a.{suffix}", Clerk(name).report({}, rows))
    data = (tmp_path / f"a.{suffix}").read_bytes()
    assert data.startswith(b"\x89PNG" if suffix == "png" else b"<?xml")
    assert len(data) < 40_000


def test_a_picture_of_another_kind_is_refused(report, tmp_path):
    with pytest.raises(ToolError, match=r"a\.gif: pictures are svg or png"):
        draw(tmp_path / "a.gif", report)


def test_a_result_goes_to_file_and_terminal_or_as_json_to_the_terminal(report, tmp_path, capsys):
    deliver(report, tmp_path / "a.json", tmp_path / "a.svg")
    assert "Time against picture size" in capsys.readouterr().out
    assert load(tmp_path / "a.json").rows == ROWS
    deliver(report, type(tmp_path)("-"), None)
    assert json.loads(capsys.readouterr().out)["rows"] == ROWS
