"""A recipe's INT8 step by quantisation-aware training."""

from pathlib import Path

import pytest

from tools.errors import ToolError
from tools.recipe import read_recipe, steps
from tools.recipe_check import check_recipe
from tools.runs import parse_settings

RECIPE = """
name = "tiny"
work = "work"
terms = "terms.txt"
[[data]]
folder = "boards"
[[validation]]
label = "val"
folder = "val"
[network]
widths = [8, 16, 16]
[train]
engine = "torch"
steps = 5000
peak_rate = 2e-3
crop_px = 128
template = true
[distill]
[pack]
prior_shift = 6.0
[quantize]
"""


@pytest.fixture
def read(tmp_path):
    def read_text(text):
        (tmp_path / "recipe.toml").write_text(text)
        return read_recipe(tmp_path / "recipe.toml")

    return read_text


def test_train_takes_the_place_of_calibration(read):
    chain = steps(read(RECIPE + "train = { steps = 100 }"))
    assert [step.name for step in chain if step.name in ("program", "tiles", "quantize")] == ["quantize"]
    (step,) = (step for step in chain if step.name == "quantize")
    assert step.command == ("qat", "work/distill", "--out", "work/quantize", "--prior-shift", "6.0")
    assert step.reads == (Path("boards"), Path("work/distill/network.npz"))
    assert not step.trains
    assert step.settings == {
        "data": [{"folder": "boards", "share": 1.0}],
        "crop_px": 128,
        "template": True,
        "steps": 100,
    }
    assert parse_settings(dict(step.settings), "step").engine == "paddle"
    for name in ("compare", "pack"):
        (reader,) = (step for step in chain if step.name == name)
        assert ("--quantized", "work/quantize") in zip(reader.command, reader.command[1:], strict=False)


def test_without_train_the_program_is_calibrated(read):
    names = [step.name for step in steps(read(RECIPE + "tiles = 8"))]
    assert names[2:5] == ["program", "tiles", "quantize"]


def test_its_settings_are_checked_before_the_first_step(read, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "terms.txt").write_text("Free.")
    for folder in ("boards", "val"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "annotations.json").write_text("{}")
    check_recipe(read(RECIPE + "train = { steps = 100 }"), "recipe.toml")
    with pytest.raises(ToolError, match=r"recipe\.toml: quantize\.train: stpes: unknown key"):
        check_recipe(read(RECIPE + "train = { stpes = 100 }"), "recipe.toml")


def test_train_may_name_other_data(read):
    chain = steps(read(RECIPE + "train = { data = [{ folder = 'other', share = 1.0 }] }"))
    (step,) = (step for step in chain if step.name == "quantize")
    assert step.reads[0] == Path("other")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("tiles = 8\ntrain = {}", "quantize: algorithm, tiles and tolerance are for INT8 after training"),
        ("train = { engine = 'torch' }", r"quantize: train\.engine: quantisation-aware training is Paddle's"),
        ("train = 3", r"quantize\.train: "),
    ],
)
def test_what_contradicts_itself_is_told(read, line, message):
    with pytest.raises(ToolError, match=message):
        read(RECIPE + line)
