"""A training as processes: lost ones are not waited for, and one that is done is only judged again."""

import multiprocessing
from dataclasses import replace

import pytest
from rich.console import Console

from tools.errors import ToolError
from tools.network_file import load_network
from tools.replicas import train
from tools.train import resume_run, run_training, start_run


def test_a_replica_that_is_killed_ends_the_training_at_once(tiny_settings, tiny, tmp_path):
    settings = replace(tiny_settings, replicas=2, steps=10_000, validate_every=10_000)
    start_run(tmp_path / "run", settings, tiny)
    reports = train(settings, tmp_path / "run", resume=False)
    next(reports)
    multiprocessing.active_children()[0].kill()
    with pytest.raises(ToolError, match=r"a replica ended with exit codes \[.*-9"):
        list(reports)
    assert multiprocessing.active_children() == []


def test_resuming_a_training_that_is_done_changes_nothing(tiny_settings, tiny, tmp_path):
    run, console = tmp_path / "run", Console(quiet=True)
    start_run(run, tiny_settings, tiny)
    final = run_training(run, tiny_settings, False, console)
    _, weights = load_network(run)
    assert run_training(run, resume_run(run), True, console) == final > 0
    for name, values in load_network(run)[1].items():
        assert (values == weights[name]).all()
