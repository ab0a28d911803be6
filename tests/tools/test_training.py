"""Training: exact resumption, frozen stages, teachers, templates, and one trainer a run."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tools.engines import is_frozen
from tools.errors import ToolError
from tools.graph import initial_weights
from tools.learner import flatten, learning_rate, unflatten
from tools.network_file import load_network
from tools.runs import (
    DataShare,
    Distillation,
    data_shares,
    load_checkpoint,
    load_settings,
    only_trainer,
    save_settings,
)
from tools.train import resume_run, run_training, start_run

ROOT = Path(__file__).parents[2]
START = """
from pathlib import Path
from rich.console import Console
from tools.runs import load_settings
from tools.train import run_training
run = Path({run!r})
run_training(run, load_settings(run), False, Console(quiet=True))
"""


def begin(run):
    """A process of its own that trains the run that `start_run` made."""
    command = [sys.executable, "-c", START.format(run=str(run))]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for(path, limit_s=120):
    end_s = time.monotonic() + limit_s
    while not path.exists():
        assert time.monotonic() < end_s, f"{path} did not appear"
        time.sleep(0.02)


def log_without_times(run):
    return [row.split(",")[:-1] for row in (run / "log.csv").read_text().splitlines()]


def steps_logged(run):
    return [int(row.split(",")[0]) for row in (run / "log.csv").read_text().splitlines()[1:]]


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_killed_run_ends_like_an_unbroken_one(tiny_settings, tiny, train_run, tmp_path, replicas):
    settings = replace(
        tiny_settings, replicas=replicas, loaders=replicas - 1, steps=60, checkpoint_every=1, validate_every=20
    )
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train_run(whole, replace(settings, checkpoint_every=100), tiny)
    start_run(broken, settings, tiny)
    process = begin(broken)
    wait_for(broken / "network.npz")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert 1 <= load_checkpoint(broken).step < settings.steps
    run_training(broken, resume_run(broken), True, Console(quiet=True))
    assert (whole / "network.npz").read_bytes() == (broken / "network.npz").read_bytes()
    assert json.loads((whole / "result.json").read_text()) == json.loads((broken / "result.json").read_text())
    assert log_without_times(broken) == log_without_times(whole)


def test_training_changes_the_network_and_validates(tiny_settings, tiny, train_run, tmp_path):
    run = train_run(tmp_path / "run", replace(tiny_settings, steps=12, validate_every=5, weight_decay=0.0), tiny)
    graph, weights = load_network(run)
    assert graph == tiny[0]
    assert all(not np.array_equal(weights[name], tiny[1][name]) for name in weights)
    assert steps_logged(run) == [5, 10, 12]
    assert 0 <= json.loads((run / "result.json").read_text())["holdout_mean_iou"] <= 1


def test_frozen_stages_keep_every_bit(tiny_settings, tiny, train_run, tmp_path):
    frozen = ("stem.*", "level*", "head")
    run = train_run(tmp_path / "run", replace(tiny_settings, frozen=frozen), tiny)
    after = load_network(run)[1]
    for name, values in tiny[1].items():
        node = name.rpartition(".")[0]
        assert np.array_equal(after[name], values) == is_frozen(node, frozen), name


def losses(run, settings, start, teacher):
    from tools.replicas import training_steps

    start_run(run, settings, start, teacher)
    return [report.loss for report in training_steps(settings, run, 0, False, None)]


def test_distillation_pulls_the_student_to_its_teacher(tiny_settings, tiny, make_unet, tmp_path):
    graph = make_unet(widths=(8, 16, 16))
    settings = replace(
        tiny_settings,
        steps=40,
        peak_rate=1e-2,
        checkpoint_every=100,
        validate_every=100,
        ema_decay=0.5,
        distillation=Distillation(outputs=1.0, features=1.0),
    )
    found = losses(tmp_path / "run", settings, (graph, initial_weights(graph, 7)), tiny)
    assert np.mean(found[-8:]) < 0.6 * np.mean(found[:4])


def test_a_template_run_trains_on_two_planes(tiny_settings, make_unet, train_run, tmp_path):
    graph = make_unet(2)
    run = train_run(
        tmp_path / "run", replace(tiny_settings, template=True, steps=2), (graph, initial_weights(graph, 1))
    )
    assert load_network(run)[0].input_channels == 2
    with pytest.raises(ToolError, match="takes 2 input channels, the settings give 1"):
        start_run(tmp_path / "other", tiny_settings, load_network(run))


def test_a_replica_that_dies_is_reported(tiny_settings, tiny, tmp_path, capfd):
    settings = replace(tiny_settings, replicas=2)
    start_run(tmp_path / "run", settings, tiny)
    spoilt = replace(settings, data=(DataShare(str(tmp_path / "gone"), 1.0),))
    with pytest.raises(ToolError, match=r"a replica ended with exit codes .* Go on with --resume"):
        run_training(tmp_path / "run", spoilt, False, Console(quiet=True))
    assert "gone" in capfd.readouterr().err


def test_ctrl_c_leaves_a_run_that_can_go_on(tiny_settings, tiny, tmp_path):
    run = tmp_path / "run"
    start_run(run, replace(tiny_settings, replicas=2, steps=10_000, checkpoint_every=1, validate_every=10_000), tiny)
    process = begin(run)
    wait_for(run / "checkpoint.npz")
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert "stopped; go on from its last checkpoint with --resume" in stderr
    assert "BrokenBarrier" not in stderr
    assert load_checkpoint(run).step >= 1


def test_two_trainers_cannot_share_a_run(tiny_settings, tiny, tmp_path):
    start_run(tmp_path / "run", tiny_settings, tiny)
    with only_trainer(tmp_path / "run"), pytest.raises(ToolError, match="another process is training this run"):
        run_training(tmp_path / "run", tiny_settings, False, Console(quiet=True))


def test_a_folder_that_holds_a_run_is_not_overwritten(tiny_settings, tiny, tmp_path):
    start_run(tmp_path / "run", tiny_settings, tiny)
    with pytest.raises(ToolError, match="holds a run already; go on with --resume"):
        start_run(tmp_path / "run", tiny_settings, tiny)


def test_settings_come_back_as_they_were(tiny_settings, tmp_path):
    settings = replace(tiny_settings, frozen=("stem.*",), distillation=Distillation(temperature=3.0))
    save_settings(tmp_path, settings)
    assert load_settings(tmp_path) == settings
    with pytest.raises(ToolError, match=r"nowhere/settings\.json: no training run's settings"):
        load_settings(tmp_path / "nowhere")


def test_a_run_without_a_checkpoint_says_what_to_do(tiny_settings, tiny, tmp_path):
    start_run(tmp_path / "run", tiny_settings, tiny)
    with pytest.raises(ToolError, match=r"no checkpoint yet .* remove the folder and train anew"):
        resume_run(tmp_path / "run")
    (tmp_path / "run" / "checkpoint.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(ToolError, match="no readable checkpoint"):
        resume_run(tmp_path / "run")


def test_shares_pair_up_with_folders(tmp_path):
    assert [s.share for s in data_shares([tmp_path, tmp_path], None)] == [0.5, 0.5]
    with pytest.raises(ToolError, match="2 data sets but 1 shares"):
        data_shares([tmp_path, tmp_path], [1.0])


def test_the_learning_rate_rises_then_falls_by_a_cosine_to_a_hundredth(tiny_settings):
    settings = replace(tiny_settings, steps=110, warmup_steps=10)
    rates = [learning_rate(settings, step) for step in range(111)]
    assert rates[0] == pytest.approx(settings.peak_rate / 10)
    assert rates[9] == rates[10] == settings.peak_rate
    assert rates[60] == pytest.approx(settings.peak_rate * (0.01 + 0.99 / 2))
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[110] == pytest.approx(settings.peak_rate / 100)
    assert learning_rate(replace(settings, warmup_steps=0), 0) == settings.peak_rate


def test_flat_vectors_come_back_as_weights(tiny):
    graph, weights = tiny
    shapes = graph.weight_shapes()
    back = unflatten(flatten(weights, shapes), shapes)
    assert all(np.array_equal(back[name], weights[name]) for name in shapes)
    with pytest.raises(ValueError, match="values for tensors of"):
        unflatten(np.zeros(3, np.float32), shapes)
