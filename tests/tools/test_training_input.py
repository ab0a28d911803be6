"""Bad input to `train` and `distill` is told before anything is computed, in one line and with exit code 2."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from tools.commands_train import distill, train
from tools.errors import ToolError
from tools.graph import initial_weights
from tools.network_file import save_network
from tools.runs import DataShare, Distillation, parse_settings
from tools.train import start_run

ROOT = Path(__file__).parents[2]
FILE = (
    "steps = 2\nbatch = 2\ncrop_px = 32\nreplicas = 1\nholdout_every = 4\n[network]\nwidths = [8, 8]\ndepths = [0, 0]\n"
)


@pytest.fixture
def settings_file(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(FILE)
    return path


def refuse(run, message, call=train, **options):
    with pytest.raises(ToolError, match=message):
        call(run, **options)
    assert not (run / "settings.json").exists()
    assert not (run / "checkpoint.npz").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps = 2", "stpes = 2", r"my\.toml: stpes: unknown key; allowed: data, template"),
        ("steps = 2", "steps = 'two'", r"my\.toml: steps: must be a valid integer"),
        ("steps = 2", "steps = 0", r"my\.toml: steps 0: must be at least 1"),
        ("batch = 2", "checkpoint_every = 0", r"my\.toml: checkpoint_every 0: must be at least 1"),
        ("batch = 2", "peak_rate = nan", r"my\.toml: peak_rate nan must lie in"),
        ("batch = 2", "class_weights = [1.0, -1.0]", r"my\.toml: .*must not be negative"),
        ("batch = 2", "augmentation = {lite = 1}", r"my\.toml: augmentation\.lite: unknown key"),
        ("batch = 2", "engine = 'jax'", r"my\.toml: engine: must be 'paddle' or 'torch'"),
        ("widths", "width", r"my\.toml: network: width: unknown key; allowed: widths"),
        ("[8, 8]", "[8, 9]", r"my\.toml: network: widths"),
        ("[network]", "network = 3\n[other]", r"my\.toml: network must be a table"),
        ("steps = 2", "steps = = 2", r"my\.toml: not TOML"),
    ],
)
def test_the_settings_file(settings_file, boards_folder, tmp_path, old, new, message):
    settings_file.write_text(FILE.replace(old, new))
    refuse(tmp_path / "run", message, data=[boards_folder], settings=settings_file)


def test_no_settings_file_and_no_data(settings_file, boards_folder, tmp_path):
    refuse(tmp_path / "run", r"gone\.toml: No such file", data=[boards_folder], settings=tmp_path / "gone.toml")
    refuse(tmp_path / "run", "give at least one --data", settings=settings_file)
    refuse(tmp_path / "run", "1 data sets but 2 shares", data=[boards_folder], share=[0.5, 0.5], settings=settings_file)
    refuse(tmp_path / "run", "shares must add up to 1", data=[boards_folder], share=[0.5], settings=settings_file)
    refuse(tmp_path / "run", "no network is called 'vgg'", data=[boards_folder], settings=settings_file, network="vgg")


def drop_pictures(folder, keep):
    path = folder / "annotations.json"
    labels = json.loads(path.read_text())
    labels["images"] = labels["images"][:keep]
    labels["annotations"] = [entry for entry in labels["annotations"] if entry["image_id"] < keep]
    path.write_text(json.dumps(labels))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: shutil.rmtree(folder) or folder.mkdir(), r"no annotations\.json"),
        (lambda folder: drop_pictures(folder, 1), "one picture; at least two are needed"),
        (lambda folder: drop_pictures(folder, 2), "no example of .* to train on"),
        (lambda folder: (folder / "mask" / "board_0003.png").unlink(), r"board_0003\.png: missing"),
        (lambda folder: (folder / "image" / "board_0000.png").write_bytes(b"PNG"), "not a readable picture"),
    ],
)
def test_the_data(data_copy, settings_file, tmp_path, spoil, message):
    spoil(data_copy)
    refuse(tmp_path / "run", message, data=[data_copy], settings=settings_file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"template": True}, "takes 1 input channels, the settings give 2"),
        ({"crop_px": 40, "batch": 2}, "crop 40 px must be a multiple of the total stride 16 px"),
        ({"frozen": ("stm.*",)}, r"frozen: no node is called 'stm\.\*'; nodes are stem\.conv"),
        ({"class_weights": (1.0, 2.0)}, "class_weights has 2 entries; background and classes need 7"),
        ({"distillation": Distillation()}, "distillation needs a teacher"),
    ],
)
def test_settings_that_do_not_fit_the_network(tiny_settings, make_unet, tmp_path, change, message):
    graph = make_unet(widths=(8, 8, 8, 8), depths=(0, 0, 0, 0))
    with pytest.raises(ToolError, match=message):
        start_run(tmp_path / "run", replace(tiny_settings, **change), (graph, initial_weights(graph, 0)))
    assert not (tmp_path / "run").exists()


def test_a_network_of_other_classes(make_unet, settings_file, boards_folder, tmp_path):
    graph = make_unet(class_count=3)
    save_network(tmp_path / "other" / "network.npz", graph, initial_weights(graph, 0))
    options = {"data": [boards_folder], "settings": settings_file, "network": str(tmp_path / "other")}
    refuse(tmp_path / "run", "the network has 2 defect classes, the data 6", **options)


def test_a_teacher_that_answers_something_else(make_unet, settings_file, boards_folder, tmp_path):
    student, teacher = make_unet(), make_unet(stem_stride=1)
    save_network(tmp_path / "student" / "network.npz", student, initial_weights(student, 0))
    save_network(tmp_path / "teacher" / "network.npz", teacher, initial_weights(teacher, 0))
    options = {"call": distill, "data": [boards_folder], "settings": settings_file, "student": tmp_path / "student"}
    message = "the teacher answers 7 classes at stride 1, the network 7 at stride 2"
    refuse(tmp_path / "run", message, teacher=tmp_path / "teacher", **options)
    refuse(tmp_path / "run", "distill needs --student and --teacher", **options)
    refuse(tmp_path / "run", r"nobody/network\.npz|nobody: No such file", teacher=tmp_path / "nobody", **options)


@pytest.mark.skipif(bool(find_spec("torch")), reason="PyTorch is installed here")
def test_an_engine_that_is_not_installed(boards_folder, settings_file, tmp_path):
    message = r"engine 'torch' is not installed; pip install '\.\[torch\]'"
    refuse(tmp_path / "run", message, data=[boards_folder], settings=settings_file, engine="torch")


@pytest.mark.parametrize(
    "change",
    [
        {"batch": 3, "replicas": 2},
        {"crop_px": 60},
        {"data": ()},
        {"data": (DataShare("a", 1.5), DataShare("b", -0.5))},
        {"data": (DataShare("a", float("nan")),)},
        {"holdout_every": 1},
        {"steps": 0},
        {"loaders": -1},
        {"seed": -1},
        {"ema_decay": 1.0},
        {"class_weights": (0.0, 0.0)},
        {"dice_weight": float("nan")},
    ],
)
def test_impossible_settings_are_refused(tiny_settings, change):
    with pytest.raises(ToolError):
        replace(tiny_settings, **change)


def test_a_misspelt_key_of_any_table_is_told():
    data = {"data": [{"folder": "a", "share": 1.0}]}
    for values, message in (
        ({"data": [{"folder": "a", "share": 1.0, "weight": 2}]}, r"here: data\[0\]\.weight: unknown key"),
        ({**data, "distillation": {"temprature": 3}}, r"here: distillation\.temprature: unknown key"),
        ({**data, "distillation": {"temperature": 0}}, "here: distillation: .* temperature above 0"),
    ):
        with pytest.raises(ToolError, match=message):
            parse_settings(values, "here")


def test_the_command_says_it_in_one_line(boards_folder, settings_file, tmp_path):
    settings_file.write_text(FILE.replace("steps", "stesp"))
    command = [sys.executable, "-m", "tools", "train", "--out", tmp_path / "run", "--data", boards_folder]
    done = subprocess.run([*command, "--settings", settings_file], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"error: {settings_file}: stesp: unknown key" in done.stderr
