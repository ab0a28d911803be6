"""A recipe's mistakes and missing data are told before its first step, and what it did not make is never removed."""

import json
import shutil
import sys
from dataclasses import replace

import pytest
from rich.console import Console

from edge_runtime.vision.boards import BINARY
from tools.errors import ToolError
from tools.recipe import read_recipe
from tools.recipe_check import check_data, check_recipe
from tools.recipe_runner import run_recipe
from tools.synthesize import write_boards

STYLE = replace(BINARY, defects_mean=12.0, clean_share=0.0)
RECIPE = """
name = "tiny"
work = "work"
terms = "terms.txt"
[[synthesize]]
out = "painted"
count = 2
[[data]]
folder = "painted"
[[validation]]
label = "val"
folder = "val"
[network]
widths = [8, 16, 16]
[train]
steps = 10
[[prune]]
macs = 0.6
spare = ["stem.*"]
[distill]
steps = 6
[pack]
targets = ["x86", "arm"]
"""


@pytest.fixture(scope="module")
def boards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("boards") / "val"
    write_boards(folder, 1, 6, 320, STYLE)
    return folder


@pytest.fixture
def folder(boards, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "terms.txt").write_text("Free.")
    shutil.copytree(boards, tmp_path / "val")
    return tmp_path


def recipe_of(folder, text=RECIPE):
    (folder / "recipe.toml").write_text(text)
    return read_recipe(folder / "recipe.toml")


def relabel(folder, change):
    path = folder / "val" / "annotations.json"
    labels = json.loads(path.read_text())
    change(labels)
    path.write_text(json.dumps(labels))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps = 10", "holdout_every = 10", r"r: train: holdout_every must be 16 in a recipe"),
        ("[distill]", "[distill]\nholdout_every = 8", r"r: distill: holdout_every must be 16"),
        ("[distill]", "[distill]\nfrozen = ['nothing']", r"r: distill: frozen: no node is called 'nothing'"),
        ("[distill]", "[distill]\ntemplate = true", r"r: distill: the network takes 1 input channels"),
        (
            "[distill]",
            "[distill]\ndata = [{ folder = 'gone', share = 1.0 }]",
            r"r: distill\.data: gone holds no annotations\.json",
        ),
        ("stem.*", "stern.*", r"r: prune\[0\]\.spare: no layer that can be pruned matches 'stern"),
        ('"val"\nfolder', '"a=b"\nfolder', r"r: validation\[\]\.label: 'a=b' must not hold '='"),
        (
            "[network]",
            '[[validation]]\nlabel = "val"\nfolder = "painted"\n[network]',
            r"r: validation\[\]\.label: val is given twice",
        ),
        (
            "[[data]]",
            '[[synthesize]]\nout = "other/painted"\n[[data]]',
            r"r: synthesize\[\]\.out: painted is given twice",
        ),
        ('"arm"', '"arm+int8"', r"r: pack\.targets: is a float program; make the INT8 one first"),
    ],
)
def test_what_would_fail_after_hours_is_told_at_once(folder, old, new, message):
    check_recipe(recipe_of(folder), "r")
    assert old in RECIPE
    with pytest.raises(ToolError, match=message):
        check_recipe(recipe_of(folder, RECIPE.replace(old, new)), "r")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda labels: labels.update(annotations=[]), "no example of open, .* to measure"),
        (lambda labels: labels["images"][0].update(mask="gone.png"), "gone.png: missing"),
        (lambda labels: labels.update(images=[], annotations=[]), "lists no pictures"),
    ],
)
def test_a_validation_set_that_cannot_be_measured_is_told_at_once(folder, change, message):
    check_data(recipe_of(folder), "r")
    relabel(folder, change)
    with pytest.raises(ToolError, match=message):
        check_data(recipe_of(folder), "r")


def test_data_sets_of_other_classes_are_told_at_once(folder):
    shutil.copytree(folder / "val", folder / "more")
    relabel(folder, lambda labels: labels["categories"][0].update(name="hair"))
    with pytest.raises(ToolError, match="name different classes"):
        check_data(recipe_of(folder, RECIPE.replace('folder = "painted"', 'folder = "more"')), "r")


def test_what_the_recipe_did_not_make_stays_however_often_it_is_tried(folder, monkeypatch):
    (folder / "painted").mkdir()
    (folder / "painted" / "photograph.png").write_text("precious")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    for _ in range(3):
        with pytest.raises(ToolError, match="step synthesize-painted ended with exit code 1"):
            run_recipe(recipe_of(folder), None, sys.executable, Console(quiet=True))
    assert (folder / "painted" / "photograph.png").read_text() == "precious"


def test_a_trainer_that_is_not_there_is_told_at_once(folder):
    with pytest.raises(ToolError, match="--trainer /gone/python: no program"):
        run_recipe(recipe_of(folder), None, "/gone/python", Console(quiet=True))
    assert not (folder / "work").exists()
