"""What gives the gradients: losses as they are defined, and Paddle against PyTorch."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tools.architectures.regnet import RegnetSettings, build_regnet
from tools.engines import Teacher, feature_nodes, is_frozen, open_engine
from tools.graph import initial_weights
from tools.network_file import save_network
from tools.runs import Distillation

SCRIPT = Path(__file__).with_name("engine_answers.py")
ROOT = Path(__file__).parents[2]
TORCH_SETTINGS = """
engine = "torch"
precision = "float32"
steps = 4
checkpoint_every = 2
batch = 2
crop_px = 32
replicas = 1
loaders = 0
holdout_every = 4
[network]
widths = [8, 8]
depths = [0, 0]
"""
AGAIN_FROM_STEP_2 = """
import sys
from pathlib import Path
from tools.replicas import training_steps
from tools.runs import load_settings
from tools.train import resume_run
run = Path(sys.argv[1])
settings = load_settings(run)
steps = training_steps(settings, run, 0, False, None)
assert [next(steps).step for _ in range(3)] == [1, 2, 3]
steps.close()
settings = resume_run(run)
assert [report.step for report in training_steps(settings, run, 0, True, None)] == [3, 4]
"""


def regnet(**changes):
    settings = {"w_0": 16, "w_a": 12.0, "w_m": 2.0, "depth": 4, "group_width": 8, "stem_width": 16, "fpn_width": 16}
    return build_regnet(RegnetSettings(**{**settings, **changes}), 1, 3)


def batch(graph, count=2, side_px=32, seed=3):
    rng, cells = np.random.default_rng(seed), side_px // graph.output_stride_px
    images = rng.standard_normal((count, graph.input_channels, side_px, side_px), np.float32)
    return images, rng.integers(0, graph.class_count, (count, cells, cells))


def engine_for(settings, graph, weights, teacher=None):
    engine = open_engine(settings, graph, teacher)
    engine.set_weights(weights)
    return engine


def softmax(logits):
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def expected_loss(logits, classes, weights, dice_weight):
    """Cross-entropy of the weighted mean over all cells, and Dice of each defect class over the batch."""
    shares = softmax(logits.astype(np.float64))
    wanted = np.moveaxis(np.eye(logits.shape[1])[classes], -1, 1)
    each = -np.log((shares * wanted).sum(axis=1))
    cross = (each * weights[classes]).sum() / weights[classes].sum()
    shared, total = (shares * wanted).sum(axis=(0, 2, 3))[1:], (shares + wanted).sum(axis=(0, 2, 3))[1:]
    return cross + dice_weight * (1 - (2 * shared + 1) / (total + 1)).mean()


def frozen_statistics(settings):
    """With all batch norms frozen the training network computes what the evaluating one does."""
    return replace(settings, frozen=("*.bn",))


@pytest.mark.parametrize("class_weights", [(), (1.0, 0.0, 5.0, 1.0, 1.0, 2.0, 1.0)])
@pytest.mark.parametrize("dice_weight", [0.0, 1.5])
def test_the_loss_is_weighted_cross_entropy_and_dice(tiny_settings, tiny, class_weights, dice_weight):
    from tools.paddle_network import evaluating, predict_logits

    graph, weights = tiny
    settings = replace(frozen_statistics(tiny_settings), class_weights=class_weights, dice_weight=dice_weight)
    images, classes = batch(graph)
    _, loss = engine_for(settings, graph, weights).gradient(images, classes)
    logits = predict_logits(evaluating(graph, weights), images)
    counted = np.array(class_weights or [1.0] + [settings.defect_weight] * 6)
    assert loss == pytest.approx(expected_loss(logits, classes, counted, dice_weight), rel=1e-4)


def test_the_gradient_points_where_the_loss_rises(tiny_settings, tiny):
    graph, weights = tiny
    engine = engine_for(frozen_statistics(tiny_settings), graph, weights)
    images, classes = batch(graph)
    gradients, _ = engine.gradient(images, classes)
    step = 1e-3 / np.sqrt(sum(float((g**2).sum()) for g in gradients.values()))
    losses = []
    for sign in (1, -1):
        engine.set_weights({name: weights[name] + np.float32(sign * step) * g for name, g in gradients.items()})
        losses.append(engine.gradient(images, classes)[1])
    slope = (losses[0] - losses[1]) / (2 * step)
    assert slope == pytest.approx(sum(float((g**2).sum()) for g in gradients.values()), rel=0.05)


def test_a_student_equal_to_its_teacher_has_only_the_labels_part(tiny_settings, tiny):
    graph, weights = tiny
    images, classes = batch(graph)
    settings = frozen_statistics(tiny_settings)
    nodes = feature_nodes(graph)
    assert len(nodes) >= 2
    _, labelled = engine_for(settings, graph, weights).gradient(images, classes)

    def loss_with(teacher_weights, **parts):
        taught = replace(settings, distillation=Distillation(**parts))
        return engine_for(taught, graph, weights, Teacher(graph, teacher_weights, nodes)).gradient(images, classes)[1]

    other = initial_weights(graph, 99)
    assert loss_with(weights) == pytest.approx(0.5 * labelled, rel=1e-5)
    assert loss_with(weights, outputs=1.0) == pytest.approx(0.0, abs=1e-5)
    assert loss_with(other, outputs=1.0, features=0.0) > 1e-3
    assert loss_with(other, outputs=0.0, features=1.0) > labelled + 1e-3
    assert loss_with(other, outputs=0.0, features=0.0) == pytest.approx(labelled, rel=1e-5)


def test_frozen_batch_norms_keep_their_statistics(tiny_settings, tiny):
    graph, weights = tiny
    engine = engine_for(replace(tiny_settings, frozen=("stem.*", "level?.*")), graph, weights)
    engine.gradient(*batch(graph))
    after = engine.weights()
    for name in graph.statistic_shapes():
        frozen = is_frozen(name.rpartition(".")[0], ("stem.*", "level?.*"))
        assert np.array_equal(after[name], weights[name]) == frozen, name


def cases(make_unet):
    yield "add", make_unet(2), None
    yield "concat", make_unet(skip="concat", block="plain"), None
    yield "separable", make_unet(block="separable"), None
    yield "resize", make_unet(upsampling="resize"), make_unet(upsampling="resize", widths=(16, 16, 24))
    yield "regnety", regnet(se_ratio=0.25), None
    yield "fpn", regnet(decoder="fpn", upsampling="resize"), None


def test_paddle_and_pytorch_compute_the_same(make_unet, torch_python, tmp_path):
    names = []
    for index, (name, graph, teacher) in enumerate(cases(make_unet)):
        names.append(name)
        save_network(tmp_path / f"{name}.network.npz", graph, initial_weights(graph, index))
        images, classes = batch(graph, side_px=2 * graph.total_stride_px)
        np.savez(tmp_path / f"{name}.npz", images=images, classes=classes)
        if teacher:
            save_network(tmp_path / f"{name}.teacher.npz", teacher, initial_weights(teacher, 50))
    torch_python(SCRIPT, "torch", tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, SCRIPT, "paddle", tmp_path], env=environment, capture_output=True, check=True)
    for name in names:
        with np.load(tmp_path / f"{name}.torch.npz") as by_torch, np.load(tmp_path / f"{name}.paddle.npz") as by_paddle:
            assert by_torch.files == by_paddle.files
            assert float(by_paddle["loss"]) > 0.1
            for key in by_torch.files:
                scale = max(1e-3, float(np.abs(by_paddle[key]).max()))
                difference = float(np.abs(by_torch[key] - by_paddle[key]).max())
                assert difference < 2e-3 * scale, f"{name}: {key} differs by {difference} of {scale}"


def test_pytorch_trains_from_the_command_line_and_goes_on_exactly(boards_folder, torch_python, tmp_path):
    (tmp_path / "my.toml").write_text(TORCH_SETTINGS)
    runs = [tmp_path / name for name in ("whole", "broken")]
    options = ("--data", boards_folder, "--settings", tmp_path / "my.toml")
    for run in runs:
        torch_python("-m", "tools", "train", "--out", run, *options)
    whole = (runs[0] / "network.npz").read_bytes()
    assert (runs[1] / "network.npz").read_bytes() == whole
    (runs[1] / "network.npz").unlink()
    torch_python("-c", AGAIN_FROM_STEP_2, runs[1])
    assert (runs[1] / "network.npz").read_bytes() == whole
