"""`qat`: from a float network to an INT8 program that Paddle runs and opt reads; bad input and Ctrl-C leave nothing."""

import math
import re
import shutil
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

import tools.qat_training
from edge_runtime.values import InputContract
from edge_runtime.vision.preprocess import TilePreprocessor
from tools.batches import BatchMaker
from tools.commands_qat import qat
from tools.convert import convert_model
from tools.crops import MEAN, STD
from tools.errors import ToolError
from tools.export import Exported
from tools.graph import initial_weights
from tools.model_files import find_model
from tools.network_file import save_network
from tools.paddle_first import paddle
from tools.paddle_network import evaluating, predict_logits
from tools.paddle_segmenter import ProgramSegmenter
from tools.qat import quantized_layer_names
from tools.qat_training import QatRequest, fine_tune, run_qat, write_program
from tools.runs import DataShare, Distillation, TrainSettings

# Paddle warns in train mode of batch norm and on export; neither can be helped from outside.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
CONTRACT = InputContract("GRAY", (MEAN,), (STD,), tile_px=512, stride_px=8, margin_px=0)
SHIFT = 2.0
FILE = "batch = 2\ncrop_px = 32\nloaders = 0\nholdout_every = 4\n"
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def request_(tiny, boards_folder):
    """Twelve steps of the tiny network, its head in float, its first layers frozen."""
    settings = TrainSettings(
        data=(DataShare(str(boards_folder), 1.0),),
        steps=12,
        batch=2,
        crop_px=64,
        replicas=1,
        loaders=0,
        peak_rate=1e-3,
        warmup_steps=2,
        holdout_every=4,
        frozen=("stem.*",),
        distillation=Distillation(),
    )
    return QatRequest(tiny, settings, None, ("head",), SHIFT)


@pytest.fixture(scope="module")
def trained(request_, tmp_path_factory):
    """The wrapped network, its weights before the prior was raised, and its program."""
    network = fine_tune(request_, QUIET)
    weights = network.weights()
    return network, weights, write_program(network, SHIFT, tmp_path_factory.mktemp("qat") / "int8")


@pytest.fixture(scope="module")
def tile():
    return np.random.default_rng(3).integers(0, 256, (512, 512, 3), np.uint8)


def test_the_program_answers_as_the_wrapped_network(trained, tile):
    network, _, program = trained
    ids, scores = ProgramSegmenter(find_model(program), CONTRACT, 2).predict(tile)
    wrapped = Exported(network, "float32", "class_and_score")
    with paddle.no_grad():
        wanted_ids, wanted_scores = (
            plane.numpy()[0] for plane in wrapped(paddle.to_tensor(TilePreprocessor(CONTRACT).tile(tile, (0, 0))))
        )
    assert scores.shape == (256, 256)
    assert np.abs(scores.astype(int) - wanted_scores).max() <= 1
    assert np.mean(ids == wanted_ids) > 0.999


def test_only_the_background_was_made_likelier(trained):
    network, before, _ = trained
    moved = {name for name, values in network.weights().items() if not np.array_equal(values, before[name])}
    assert moved == {"head.bias"}
    assert (network.weights()["head.bias"] - before["head.bias"]).round(4).tolist() == [SHIFT, 0, 0, 0, 0, 0, 0]


def test_int8_costs_little_where_no_weight_may_move(request_):
    settings = replace(request_.settings, frozen=("*",))
    images = BatchMaker(settings, 2, 0).batch(0)[0]
    in_float = predict_logits(evaluating(*request_.network), images)
    in_int8 = predict_logits(fine_tune(replace(request_, settings=settings), QUIET), images)
    error = np.sqrt(np.mean((in_int8 - in_float) ** 2)) / in_float.std()
    assert 0 < error < 0.1


def test_opt_reads_the_program(trained, tmp_path):
    (made,) = convert_model(trained[2].parent, tmp_path, ["arm+int8"])
    assert (made.path.name, made.precision) == ("model.arm-int8.nb", "int8")


def test_what_is_frozen_keeps_its_bits_and_the_head_stays_float(trained, tiny):
    network, after, _ = trained
    quantized = quantized_layer_names(network)
    assert quantized == tuple(node.name.replace(".", "_") for node in tiny[0] if node.op == "conv")[:-1]
    assert {name for name, values in tiny[1].items() if np.array_equal(after[name], values)} == {
        name for name in tiny[1] if name.startswith("stem.")
    }


@pytest.fixture
def settings_file(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(FILE)
    return path


@pytest.fixture
def network_folder(tiny, tmp_path):
    save_network(tmp_path / "float" / "network.npz", *tiny)
    return tmp_path / "float"


def test_the_command_writes_a_whole_program_and_shows_a_finite_loss(
    network_folder, boards_folder, settings_file, tmp_path, capsys
):
    out = tmp_path / "made" / "int8"
    qat(network_folder, out, data=[boards_folder], settings=settings_file, steps=2, teacher=network_folder)
    said = capsys.readouterr().out
    assert math.isfinite(float(re.search(r"2/2 .*loss (\S+)", said)[1]))
    assert re.search(r"mean IoU on the held-out pictures: float 0\.\d+, INT8 0\.\d+", said)
    assert find_model(out).program.is_quantized()
    assert [path.name for path in out.parent.iterdir()] == ["int8"]


def refuse(network, out, message, **options):
    before = sorted(out.parent.rglob("*"))
    with pytest.raises(ToolError, match=message):
        qat(network, out, **options)
    assert sorted(out.parent.rglob("*")) == before


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("engine = 'torch'", "engine 'torch': quantisation-aware training is Paddle's alone"),
        ("stpes = 3", r"my\.toml: stpes: unknown key"),
        ("template = true", "takes 1 input channels, the settings give 2"),
        ("class_weights = [1.0, 2.0]", "class_weights has 2 entries; background and classes need 7"),
    ],
)
def test_wrong_settings(network_folder, boards_folder, settings_file, tmp_path, line, message):
    settings_file.write_text(f"{FILE}{line}\n")
    refuse(network_folder, tmp_path / "out", message, data=[boards_folder], settings=settings_file)


def test_a_crop_that_does_not_fit(network_folder, boards_folder, settings_file, make_unet, tmp_path):
    deep = make_unet(widths=(8, 8, 8, 8), depths=(0, 0, 0, 0))
    save_network(network_folder / "network.npz", deep, initial_weights(deep, 0))
    settings_file.write_text(FILE.replace("32", "40"))
    message = "crop 40 px must be a multiple of the total stride 16 px"
    refuse(network_folder, tmp_path / "out", message, data=[boards_folder], settings=settings_file)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (["head", "haed"], r"--float-layer haed: no convolution is called so; they are stem\.conv, .*head"),
        (["*"], r"--float-layer \*: no convolution is left for INT8"),
    ],
)
def test_wrong_float_layers(network_folder, boards_folder, settings_file, tmp_path, layers, message):
    options = {"data": [boards_folder], "settings": settings_file}
    refuse(network_folder, tmp_path / "out", message, float_layer=layers, **options)


def test_wrong_data_teachers_and_folders(network_folder, data_copy, settings_file, make_unet, tmp_path):
    other = make_unet(class_count=3)
    save_network(tmp_path / "other" / "network.npz", other, initial_weights(other, 0))
    options = {"data": [data_copy], "settings": settings_file}
    refuse(network_folder, network_folder, "exists and is no empty folder; choose another --out", **options)
    refuse(tmp_path / "other", tmp_path / "out", "the network has 2 defect classes, the data 6", **options)
    message = "the teacher answers 3 classes at stride 2, the network 7"
    refuse(network_folder, tmp_path / "out", message, teacher=tmp_path / "other", **options)
    refuse(tmp_path / "gone", tmp_path / "out", "gone: No such file", **options)
    refuse(network_folder, tmp_path / "out", "give at least one --data", settings=settings_file)
    shutil.rmtree(data_copy / "mask")
    refuse(network_folder, tmp_path / "out", "missing", **options)


class CtrlC(StringIO):
    """A terminal at which the user presses Ctrl-C as soon as accuracy is shown."""

    def write(self, text):
        if "mean IoU" in text:
            raise KeyboardInterrupt
        return super().write(text)


def interrupted_export(network, prefix, tile):
    prefix.parent.mkdir()
    prefix.with_suffix(".pdiparams").write_bytes(b"half")
    raise KeyboardInterrupt


@pytest.mark.parametrize("while_writing", [False, True])
def test_ctrl_c_leaves_nothing(request_, tmp_path, monkeypatch, while_writing):
    request = replace(request_, settings=replace(request_.settings, steps=1))
    if while_writing:
        monkeypatch.setattr(tools.qat_training, "export_qat", interrupted_export)
    console = QUIET if while_writing else Console(file=CtrlC())
    with pytest.raises(ToolError, match="out: stopped; nothing was written"):
        run_qat(request, tmp_path / "out", console)
    assert list(tmp_path.iterdir()) == []


def test_a_lost_loss_ends_the_run(request_, tmp_path):
    graph, weights = request_.network
    spoilt = {**weights, "head.bias": np.full_like(weights["head.bias"], np.nan)}
    with pytest.raises(ToolError, match="the loss is nan at step 1; train with a lower peak_rate"):
        run_qat(replace(request_, network=(graph, spoilt)), tmp_path / "out", QUIET)
    assert list(tmp_path.iterdir()) == []
