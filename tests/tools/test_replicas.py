"""Replicas of a training: when one is lost, the others are not waited for."""

import multiprocessing
from dataclasses import replace

import pytest

from tools.errors import ToolError
from tools.replicas import train
from tools.train import start_run


def test_a_replica_that_is_killed_ends_the_training_at_once(tiny_settings, tiny, tmp_path):
    settings = replace(tiny_settings, replicas=2, steps=10_000, validate_every=10_000)
    start_run(tmp_path / "run", settings, tiny)
    reports = train(settings, tmp_path / "run", resume=False)
    next(reports)
    multiprocessing.active_children()[0].kill()
    with pytest.raises(ToolError, match=r"a replica ended with exit codes \[.*-9"):
        list(reports)
    assert multiprocessing.active_children() == []
