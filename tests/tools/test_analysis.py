import csv

import numpy as np
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from tools.analysis import analyse_layers, analyse_sensitivity
from tools.architectures.unet import UnetSettings, build_unet
from tools.batch_norms import quantile_rows, scale_magnitudes
from tools.commands_analyse import analyse
from tools.errors import ToolError
from tools.graph import INPUT, Graph, Node, count_macs, count_parameters, initial_weights
from tools.network_file import save_network
from tools.sensitivity import Study
from tools.tables import csv_text, markdown_table

GRAPH = build_unet(UnetSettings(widths=(8, 16), depths=(0, 1)), 1, 7)
PNG = b"\x89PNG\r\n"


@pytest.fixture
def quiet(tmp_path):
    with open(tmp_path / "console.txt", "w") as file:
        yield Console(file=file, width=200)


def rows_of(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_layers_are_tabulated_with_sum_and_whole(tmp_path, quiet):
    times = analyse_layers(GRAPH, tmp_path, lambda graph, side_px: 1e-6 * count_macs(graph, side_px), quiet)
    assert times.sum_ms == pytest.approx(times.whole_ms) == pytest.approx(count_macs(GRAPH, 512) / 1e6)
    rows = rows_of(tmp_path / "layers.csv")
    assert sum(int(row["macs"]) for row in rows) == count_macs(GRAPH, 512)
    assert sum(float(row["ms"]) for row in rows) == pytest.approx(times.sum_ms)
    assert f"together, the whole network {times.whole_ms:.2f} ms" in (tmp_path / "layers.md").read_text()


def test_sensitivity_lists_the_costliest_class_first(tmp_path, quiet):
    study = Study(GRAPH, initial_weights(GRAPH, 1), "l1", (0.5,))
    trials = analyse_sensitivity(study, lambda graph, weights: count_parameters(graph) / 1e4, tmp_path, quiet)
    text = (tmp_path / "sensitivity.md").read_text().splitlines()
    first = min(trials, key=lambda trial: trial.quality)
    assert f"| {first.channel_class} | 0.5 | {first.channels} → {first.kept} |" in next(
        line for line in text if line.startswith("| ") and "class" not in line and "---" not in line
    )
    assert len(rows_of(tmp_path / "sensitivity.csv")) == len(trials)
    assert (tmp_path / "sensitivity.png").read_bytes().startswith(PNG)


def test_quantiles_are_of_the_magnitudes():
    graph = Graph(5, (Node("b", "bn", (INPUT,)), Node("head", "conv", ("b",), 2)), "head")
    weights = initial_weights(graph, 1) | {"b.scale": np.array([-4, 1, 0, 2, -3], np.float32)}
    assert quantile_rows(scale_magnitudes(graph, weights)) == [("b", 5, pytest.approx([0, 0.2, 1, 2, 3, 3.8, 4]))]


def test_tables_escape_and_round():
    assert markdown_table(["a", "b"], [("x|y", 0.123456), (1, None)]) == (
        "| a | b |\n| --- | --- |\n| x\\|y | 0.1235 |\n| 1 | None |\n"
    )
    assert csv_text(["a", "b"], [("x,y", 0.123456)]) == 'a,b\n"x,y",0.123456\n'


@pytest.fixture
def run(tmp_path):
    """Runs `analyse` on a small network with options, without timing. ToolErrors come through."""
    save_network(tmp_path / "net" / "network.npz", GRAPH, initial_weights(GRAPH, 1))
    app = typer.Typer()
    app.command()(analyse)

    def run_analyse(*options):
        arguments = [str(tmp_path / "net"), "--out", str(tmp_path / "out"), "--no-timing", *options]
        result = CliRunner().invoke(app, arguments)
        if isinstance(result.exception, Exception):
            raise result.exception
        return result.output

    return run_analyse


def test_held_out_pictures_judge_the_pruned_networks(run, boards_folder, tmp_path):
    run("--data", str(boards_folder), "--ratios", "0.5")
    rows = rows_of(tmp_path / "out" / "sensitivity.csv")
    judged = ["(nothing)", "stem.conv", "down1.conv", "level1.0.first.conv", "merge0.conv"]
    assert [row["channel_class"] for row in rows] == judged
    assert all(0 <= float(row["quality"]) <= 1 for row in rows)
    assert (tmp_path / "out" / "batch_norm.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--ratios", "1.5"], "above 0 and below 1"),
        (["--method", "x"], "allowed: l1"),
        (["--data", "/no"], "/no: no annotations"),
    ],
)
def test_what_cannot_be_analysed_is_said_before_anything_is_written(run, tmp_path, options, words):
    with pytest.raises(ToolError, match=words):
        run(*options)
    assert not (tmp_path / "out").exists()


def test_data_of_other_classes_is_refused(run, tmp_path, boards_folder):
    graph = build_unet(UnetSettings(widths=(8,), depths=(0,)), 1, 3)
    save_network(tmp_path / "net" / "network.npz", graph, initial_weights(graph, 1))
    with pytest.raises(ToolError, match="has 6 defect classes, the network 2"):
        run("--data", str(boards_folder))
