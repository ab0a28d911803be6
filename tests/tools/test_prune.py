import subprocess
import sys

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from tools.architectures.unet import UnetSettings, build_unet
from tools.commands_prune import prune
from tools.errors import ToolError
from tools.graph import count_macs, count_parameters, initial_weights
from tools.network_file import load_network, save_network
from tools.prune import Wish, prune_network
from tools.pruning.choice import Limits

GRAPH = build_unet(UnetSettings(widths=(16, 32), depths=(0, 1)), 1, 3)


@pytest.fixture
def network(tmp_path):
    """A folder with a network file."""
    save_network(tmp_path / "whole" / "network.npz", GRAPH, initial_weights(GRAPH, 1))
    return tmp_path / "whole"


@pytest.fixture
def run(network, tmp_path):
    """Runs `prune` with options; gives what it printed and the pruned graph. ToolErrors come through."""
    app = typer.Typer()
    app.command()(prune)

    def run_prune(*options):
        result = CliRunner().invoke(app, [str(network), "--out", str(tmp_path / "small"), *options])
        if isinstance(result.exception, Exception):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output, load_network(tmp_path / "small")[0]

    return run_prune


@pytest.mark.parametrize(
    ("option", "value", "count"),
    [
        ("--macs", "0.5", lambda graph: count_macs(graph, 512) / count_macs(GRAPH, 512) / 0.5),
        ("--macs", "3e8", lambda graph: count_macs(graph, 512) / 3e8),
        ("--parameters", "0.5", lambda graph: count_parameters(graph) / count_parameters(GRAPH) / 0.5),
        ("--parameters", "20000", lambda graph: count_parameters(graph) / 20000),
    ],
)
def test_targets_are_shares_or_numbers_and_are_met(run, option, value, count):
    output, graph = run(option, value)
    assert 0.7 < count(graph) <= 1
    assert f"{count_macs(GRAPH, 512):,} → {count_macs(graph, 512):,}" in output


def test_ratios_by_pattern_and_the_widths_are_told(run, tmp_path):
    output, graph = run("--ratio", "0.5", "--ratio-of", "down1.*=0.25", "--spare", "stem.*")
    assert [graph[name].channels for name in ("stem.conv", "down1.conv", "level1.0.first.conv")] == [16, 24, 16]
    assert "level1.0.first.conv" in output
    assert "| down1.conv | 32 | 24 |" in (tmp_path / "small" / "pruning.md").read_text()


@pytest.mark.parametrize("method", ["l1", "fpgm", "bn"])
def test_each_method_prunes(run, method):
    _, graph = run("--macs", "0.6", "--method", method, "--no-protect-head-input", "--max-share", "0.75")
    assert count_macs(graph, 512) <= 0.6 * count_macs(GRAPH, 512)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "exactly one way: --macs, --parameters, --milliseconds, or ratios"),
        (["--macs", "0.5", "--ratio", "0.5"], "exactly one way"),
        (["--macs", "-3"], "macs -3.0: must be above 0"),
        (["--macs", "nan"], "macs nan: must be above 0"),
        (["--macs", "0.01"], "the least is "),
        (["--ratio", "1"], "below 1, where no channel is left"),
        (["--ratio-of", "down1"], "'down1': expected PATTERN=SHARE"),
        (["--ratio-of", "down1=half"], "expected PATTERN=SHARE"),
        (["--ratio-of", "nothing=0.5"], "matches 'nothing'; there are stem.conv"),
        (["--macs", "0.5", "--spare", "nothing"], "matches 'nothing'; there are stem.conv"),
        (["--macs", "0.5", "--method", "l2"], "'l2'; allowed: l1, fpgm, bn"),
        (["--macs", "0.5", "--align", "0"], "align 0 must be at least 1"),
    ],
)
def test_a_wish_that_cannot_be_granted_is_explained_and_writes_nothing(run, tmp_path, options, words):
    with pytest.raises(ToolError) as refused:
        run(*options)
    assert words in str(refused.value)
    assert not (tmp_path / "small").exists()


def test_the_network_itself_is_not_overwritten(run, network):
    before = (network / "network.npz").read_bytes()
    with pytest.raises(ToolError, match="holds the network to prune"):
        run("--macs", "0.5", "--out", str(network))
    assert (network / "network.npz").read_bytes() == before


def test_milliseconds_ask_the_caller_for_times():
    asked = []

    def measure(graph):
        asked.append(graph)
        return 100.0 * count_macs(graph, 512) / count_macs(GRAPH, 512)

    pruned = prune_network(GRAPH, initial_weights(GRAPH, 1), "l1", Wish(milliseconds=70.0), Limits(), measure)
    assert 50 < measure(pruned.graph) <= 70
    assert 3 <= len(asked) <= 9
    assert np.isfinite(next(iter(pruned.weights.values()))).all()


def test_pruning_and_its_judgement_load_no_tensor_library():
    program = (
        "import sys, tools.prune, tools.sensitivity, tools.layers, tools.commands_prune, tools.commands_analyse; "
        "print(sorted({'paddle', 'paddlelite', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
