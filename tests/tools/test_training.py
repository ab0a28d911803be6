import os
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tools.errors import ToolError
from tools.learner import learning_rate
from tools.replicas import training_steps
from tools.runs import DataShare, data_shares, load_checkpoint, load_settings, only_trainer, save_settings
from tools.train import resume_run, run_training, start_run

ROOT = Path(__file__).parents[2]


def assert_same_state(a, b):
    assert [np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a)] == [True] * len(fields(a))


def test_a_resumed_run_ends_like_an_unbroken_one(tiny_settings, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run_training(whole, start_run(whole, tiny_settings), False, Console(quiet=True))
    start_run(broken, tiny_settings)
    steps = training_steps(tiny_settings, broken, 0, False, None)
    assert [next(steps).step for _ in range(3)] == [1, 2, 3]
    steps.close()
    assert load_checkpoint(broken).step == 2
    run_training(broken, resume_run(broken), True, Console(quiet=True))
    assert_same_state(load_checkpoint(whole), load_checkpoint(broken))


def test_two_replicas_train_and_log(tiny_settings, tmp_path):
    settings = replace(tiny_settings, replicas=2, steps=2, validate_every=2)
    run_training(tmp_path / "run", start_run(tmp_path / "run", settings), False, Console(quiet=True))
    assert load_checkpoint(tmp_path / "run").step == 2
    rows = (tmp_path / "run" / "log.csv").read_text().splitlines()
    assert rows[0].startswith("step,loss")
    assert [row.split(",")[0] for row in rows[1:]] == ["2"]


def test_a_replica_that_dies_is_reported(tiny_settings, tmp_path, capfd):
    settings = replace(tiny_settings, replicas=2, data=(DataShare(str(tmp_path / "gone"), 1.0),))
    save_settings(tmp_path / "run", settings)
    with pytest.raises(ToolError, match="exit codes"):
        run_training(tmp_path / "run", settings, False, Console(quiet=True))
    assert "gone" in capfd.readouterr().err


def test_a_folder_that_holds_a_run_is_not_overwritten(tiny_settings, tmp_path):
    start_run(tmp_path / "run", tiny_settings)
    with pytest.raises(ToolError, match="--resume"):
        start_run(tmp_path / "run", tiny_settings)


def test_settings_come_back_as_they_were(tiny_settings, tmp_path):
    save_settings(tmp_path, tiny_settings)
    assert load_settings(tmp_path) == tiny_settings


def test_a_damaged_checkpoint_is_refused(tmp_path):
    (tmp_path / "checkpoint.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(ToolError, match="no readable checkpoint"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "change", [{"batch": 3, "replicas": 2}, {"crop_px": 60}, {"data": ()}, {"holdout_every": 1}, {"steps": 0}]
)
def test_impossible_settings_are_refused(tiny_settings, change):
    with pytest.raises(ToolError):
        replace(tiny_settings, **change)


def test_shares_pair_up_with_folders(tmp_path):
    assert [s.share for s in data_shares([tmp_path, tmp_path], None)] == [0.5, 0.5]
    with pytest.raises(ToolError, match="2 data sets but 1 shares"):
        data_shares([tmp_path, tmp_path], [1.0])


def test_the_learning_rate_rises_then_falls_to_a_hundredth(tiny_settings):
    settings = replace(tiny_settings, steps=100, warmup_steps=10)
    rates = [learning_rate(settings, step) for step in range(101)]
    assert rates[9] == rates[10] == settings.peak_rate
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(settings.peak_rate / 100)


def test_ctrl_c_leaves_a_run_that_can_go_on(tiny_settings, tmp_path):
    run = tmp_path / "run"
    save_settings(run, replace(tiny_settings, replicas=2, steps=10_000, checkpoint_every=1, validate_every=10_000))
    code = (
        "from pathlib import Path; from rich.console import Console; from tools.runs import load_settings; "
        f"from tools.train import run_training; run = Path({str(run)!r}); "
        "run_training(run, load_settings(run), False, Console(quiet=True))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline_s = time.monotonic() + 60
    while not (run / "checkpoint.npz").exists() and time.monotonic() < deadline_s:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert "stopped; go on from its last checkpoint with --resume" in stderr
    assert "BrokenBarrier" not in stderr
    assert load_checkpoint(run).step >= 1


def test_two_trainers_cannot_share_a_run(tiny_settings, tmp_path):
    start_run(tmp_path / "run", tiny_settings)
    with only_trainer(tmp_path / "run"), pytest.raises(ToolError, match="another process is training"):
        run_training(tmp_path / "run", tiny_settings, False, Console(quiet=True))
