"""A recipe's chain: what runs, what runs again, what is never replaced. A stub stands in for the commands."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tools.errors import ToolError
from tools.recipe import read_recipe, steps
from tools.recipe_check import check_recipe
from tools.recipe_runner import run_recipe
from tools.runs import parse_settings, save_settings

RECIPE = """
name = "tiny"
version = "1"
out = "bundles"
work = "work"
terms = "terms.txt"
[[synthesize]]
out = "painted"
count = 4
[[data]]
folder = "painted"
share = 0.5
[[data]]
folder = "photographed"
share = 0.5
[[validation]]
label = "val"
folder = "val"
[network]
widths = [8, 16, 16]
[train]
steps = 10
[[prune]]
macs = 0.6
train = { steps = 5 }
[distill]
steps = 6
[quantize]
tiles = 8
[pack]
targets = ["x86", "arm"]
"""
CHAIN = [
    "synthesize-painted",
    "train",
    "prune1",
    "finetune1",
    "distill",
    "program",
    "tiles",
    "quantize",
    "stage-unpruned",
    "stage-pruned",
    "stage-distilled",
    "compare",
    "pack",
]


class Kitchen:
    """A recipe in a folder of its own, where the test runs, and the steps that each run took."""

    def __init__(self, folder):
        self.folder, self.file, self.diary = folder, folder / "recipe.toml", folder / "diary"
        self.trainer, self.text = folder / "python", RECIPE

    def furnish(self):
        stub = Path(__file__).with_name("stub_tools.py").read_text()
        self.trainer.write_text(stub.replace("/usr/bin/env python3", f"{sys.executable} -S"))
        self.trainer.chmod(0o755)
        for name in ("photographed", "val"):
            (self.folder / name).mkdir()
            (self.folder / name / "annotations.json").write_text("{}")
        (self.folder / "terms.txt").write_text("Free.")
        return self

    def change(self, old, new):
        assert old in self.text
        self.text = self.text.replace(old, new)

    def recipe(self):
        self.file.write_text(self.text)
        return read_recipe(self.file)

    def check(self):
        check_recipe(self.recipe(), str(self.file))

    def run(self, until=None, dies_in=""):
        """Run the recipe; returns the names of the steps that ran and the words of their commands."""
        self.diary.write_text("")
        recipe = self.recipe()
        with pytest.MonkeyPatch.context() as patched:
            patched.chdir(self.folder)
            patched.setattr(sys, "executable", str(self.trainer))
            patched.setenv("STUB_DIARY", str(self.diary))
            patched.setenv("STUB_DIE", dies_in)
            run_recipe(recipe, until, str(self.trainer), Console(quiet=True))
        return self.ran()

    def ran(self):
        by_words = {step.command: step.name for step in steps(self.recipe())}
        commands = [json.loads(line) for line in self.diary.read_text().splitlines()]
        names = []
        for words in commands:
            own = next(command for command in by_words if tuple(words[: len(command)]) == command)
            names.append(by_words[own] + (" --resume" if "--resume" in words else ""))
        return names


@pytest.fixture
def kitchen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Kitchen(tmp_path).furnish()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a chain that ran from beginning to end."""
    kitchen = Kitchen(tmp_path_factory.mktemp("finished")).furnish()
    assert kitchen.run() == CHAIN
    return kitchen.folder


@pytest.fixture
def cooked(finished, tmp_path, monkeypatch):
    """A copy of it that a test may go on with."""
    monkeypatch.chdir(tmp_path)
    return Kitchen(Path(shutil.copytree(finished, tmp_path, dirs_exist_ok=True)))


def test_a_finished_chain_does_nothing_again(cooked):
    assert cooked.run() == []
    assert (cooked.folder / "bundles" / "tiny" / "1" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("old", "new", "first"),
    [
        ("count = 4", "count = 5", "synthesize-painted"),
        ("steps = 10", "steps = 11", "train"),
        ("[8, 16, 16]", "[8, 16, 24]", "train"),
        ("share = 0.5", "share = 0.5000000001", "train"),
    ],
)
def test_a_change_at_the_beginning_runs_all_that_follows(cooked, old, new, first):
    cooked.change(old, new)
    cooked.change('version = "1"', 'version = "2"')
    assert cooked.run() == CHAIN[CHAIN.index(first) :]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("macs = 0.6", "macs = 0.5", [n for n in CHAIN[2:] if n != "stage-unpruned"]),
        ("{ steps = 5 }", "{ steps = 4 }", [n for n in CHAIN[3:] if n != "stage-unpruned"]),
        ("steps = 6", "steps = 7", [n for n in CHAIN[4:] if n not in ("stage-unpruned", "stage-pruned")]),
        ("tiles = 8", "tiles = 9", ["tiles", "quantize", "compare", "pack"]),
        ("tiles = 8", "tolerance = 0.1", ["tiles", "quantize", "compare", "pack"]),
        ('"x86", "arm"', '"x86"', ["pack"]),
        ('label = "val"', 'label = "value"', ["compare", "pack"]),
    ],
)
def test_a_change_runs_exactly_what_lies_behind_it(cooked, old, new, expected):
    cooked.change(old, new)
    cooked.change('version = "1"', 'version = "2"')
    assert cooked.run() == expected
    assert cooked.run() == []
    assert {path.name for path in (cooked.folder / "bundles" / "tiny").iterdir()} == {"1", "2"}


def test_changed_files_count_like_changed_settings(cooked):
    cooked.change('version = "1"', 'version = "2"')
    (cooked.folder / "terms.txt").write_text("Not free.")
    assert cooked.run() == ["stage-unpruned", "stage-pruned", "stage-distilled", "compare", "pack"]
    cooked.change('version = "2"', 'version = "3"')
    (cooked.folder / "photographed" / "new.png").write_text("a picture")
    assert cooked.run() == CHAIN[1:]


def test_a_lost_output_is_made_again(cooked):
    shutil.rmtree(cooked.folder / "work" / "tiles")
    shutil.rmtree(cooked.folder / "bundles")
    assert cooked.run() == ["tiles", "pack"]


def test_a_version_that_exists_is_never_replaced(cooked):
    bundle = cooked.folder / "bundles" / "tiny" / "1" / "manifest.json"
    before = bundle.read_bytes()
    cooked.change("steps = 6", "steps = 7")
    with pytest.raises(ToolError, match="tiny/1: this version exists and a version never changes"):
        cooked.run()
    assert cooked.ran() == []
    assert bundle.read_bytes() == before
    assert cooked.run(until="distill") == ["distill"]


def test_a_training_that_was_cut_off_goes_on(kitchen):
    with pytest.raises(ToolError, match="step train ended with exit code 137"):
        kitchen.run(dies_in="train")
    assert kitchen.ran() == CHAIN[:2]
    assert kitchen.run() == ["train --resume", *CHAIN[2:]]
    assert kitchen.run() == []


@pytest.mark.parametrize(
    ("old", "new"),
    [("steps = 10", "steps = 11"), ("[8, 16, 16]", "[8, 16, 24]"), ("share = 0.5", "share = 0.50000001")],
)
def test_another_training_does_not_go_on_from_the_checkpoint(kitchen, old, new):
    with pytest.raises(ToolError):
        kitchen.run(dies_in="train")
    kitchen.change(old, new)
    assert kitchen.run(until="train") == ["train"]


def test_training_from_another_network_starts_anew(kitchen):
    with pytest.raises(ToolError):
        kitchen.run(dies_in="distill")
    kitchen.change("macs = 0.6", "macs = 0.5")
    assert kitchen.run(until="distill") == ["prune1", "finetune1", "distill"]


def test_a_training_begun_by_hand_goes_on_if_it_is_the_same(kitchen):
    kitchen.run(until="synthesize-painted")
    run = kitchen.folder / "work" / "train"
    data = [{"folder": name, "share": 0.5} for name in ("painted", "photographed")]
    save_settings(run, parse_settings({"data": data, "steps": 10}, "test"))
    (run / "checkpoint.npz").write_text("half")
    assert kitchen.run(until="train") == ["train --resume"]


def test_a_training_begun_by_hand_is_not_thrown_away(kitchen):
    kitchen.run(until="synthesize-painted")
    run = kitchen.folder / "work" / "train"
    save_settings(run, parse_settings({"data": [{"folder": "a", "share": 1.0}]}, "test"))
    (run / "checkpoint.npz").write_text("hours of work")
    with pytest.raises(ToolError, match=r"work/train: holds a training with other settings .* move it"):
        kitchen.run()
    assert (run / "checkpoint.npz").read_text() == "hours of work"


def test_nothing_that_the_recipe_did_not_make_is_removed(kitchen):
    painted = kitchen.folder / "painted"
    painted.mkdir()
    (painted / "photograph.png").write_text("precious")
    with pytest.raises(ToolError, match="step synthesize-painted ended with exit code 1"):
        kitchen.run()
    assert (painted / "photograph.png").read_text() == "precious"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps = 10", "stpes = 10", r"recipe\.toml: train: stpes: unknown key; allowed: data, template"),
        ("{ steps = 5 }", "{ stpes = 5 }", r"recipe\.toml: prune\[0\]\.train: stpes: unknown key"),
        ("steps = 6", "stpes = 6", r"recipe\.toml: distill: stpes: unknown key"),
        ("steps = 10", "steps = 10\ncrop_px = 36", r"train: crop 36 px must be a multiple of 8"),
        ("steps = 10", "frozen = ['nothing']", r"frozen: no node is called 'nothing'"),
        ("widths", "width", r"recipe\.toml: network: width: unknown key"),
        ("macs", "mcas", r"recipe\.toml: prune\[0\]: unknown key 'mcas'; did you mean 'macs'"),
        ("macs = 0.6", "macs = 0.6\nratio = 0.2", r"prune\[0\]: give exactly one of macs, parameters, ratio"),
        ("macs = 0.6", "macs = -1", r"prune\[0\]\.macs: must be greater than 0"),
        ("tiles = 8", "tiles = 2", r"quantize\.tiles: must be greater than or equal to 8"),
        ('name = "tiny"', 'name = "Tiny Net"', r"recipe\.toml: name: "),
        ('version = "1"', 'version = "../1"', r"recipe\.toml: version: "),
        ('"x86", "arm"', '"arm"', r"pack: targets must name x86"),
        ('"x86", "arm"', '"x86", "riscv"', r"pack\.targets\[1\]: "),
        ("[[validation]]", "[[valid]]", r"unknown key 'valid'; did you mean 'validation'"),
        ("[[data]]", "[[data]]\nweight = 3", r"data\[0\]: unknown key 'weight'"),
        ("name =", "name = =", r"recipe\.toml: not TOML"),
        ("terms.txt", "gone.txt", r"recipe\.toml: terms: gone\.txt is no file"),
        ("photographed", "gone", r"data\[1\]\.folder: gone holds no annotations\.json"),
        ('"val"\n[network]', '"gone"\n[network]', r"validation\[0\]\.folder: gone holds no annotations\.json"),
    ],
)
def test_what_is_wrong_in_the_file_is_told_before_the_first_step(kitchen, old, new, message):
    kitchen.check()
    kitchen.change(old, new)
    with pytest.raises(ToolError, match=message):
        kitchen.check()


def test_no_recipe_is_told(tmp_path):
    with pytest.raises(ToolError, match=r"gone\.toml: No such file or directory; give a recipe"):
        read_recipe(tmp_path / "gone.toml")


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "opt_models" / "recipes").glob("*.toml")), ids=str)
def test_the_shipped_recipes_are_sound(path):
    recipe = read_recipe(path)
    assert recipe.terms == Path("tools/terms") / recipe.terms.name
    settings = {"data": [{"folder": "a", "share": 1.0}]}
    for table in (recipe.train, *(prune.train for prune in recipe.prune), recipe.distill or {}):
        parse_settings({**settings, **recipe.train, **table}, str(path))
