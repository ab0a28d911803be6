"""The workers of a set-up: real engines keep to the processors they are given, with every thread of theirs."""

from __future__ import annotations

import os
import re
from pathlib import Path

import psutil
import pytest

from edge_runtime.commands.inspect import pool_settings
from edge_runtime.config_recipe import RecipeSettings
from edge_runtime.processors import parse_cpu_list
from edge_runtime.tuning.material import made_up
from edge_runtime.tuning.setups import Engine, Setup
from edge_runtime.tuning.stand import OpenWorkers, Stand, with_setup

BUNDLE = Path(__file__).parents[2] / "opt_models" / "board-unet" / "3"
SETTINGS = pool_settings(BUNDLE, RecipeSettings(), 1)
SCRIPTED = Engine("scripted", None)
ONE, *OTHERS = sorted(os.sched_getaffinity(0))


def processors_of_threads(pid: int) -> set[int]:
    texts = [(task / "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    lists = [re.search(r"^Cpus_allowed_list:\s*(\S+)", text, re.MULTILINE) for text in texts]
    return {number for found in lists if found for number in parse_cpu_list(found[1])}


@pytest.mark.skipif(not OTHERS, reason="needs two processors")
@pytest.mark.parametrize(
    ("engine", "module", "threads"),
    [
        (Engine("paddle_lite", None), "paddlelite", 1),
        (Engine("onnxruntime", "onnx"), "onnxruntime", 2),
        (Engine("openvino", "onnx"), "openvino", 2),
    ],
)
def test_every_thread_of_an_engine_keeps_to_its_workers_processors(engine: Engine, module: str, threads: int) -> None:
    pytest.importorskip(module)
    setup = Setup(engine, 2, threads, (str(OTHERS[0]), str(ONE)))
    workers = OpenWorkers(with_setup(SETTINGS, setup), 2, made_up((512, 900), False))
    try:
        workers.inspect()
        children = [child for child in psutil.Process().children() if "inspection" in child.cmdline()]
        assert [processors_of_threads(child.pid) for child in children] == [{OTHERS[0]}, {ONE}]
        assert workers.cpu_seconds() > 0
        assert workers.memory_bytes() > 10e6
    finally:
        workers.close()


def test_workers_end_and_shared_memory_is_given_back() -> None:
    fds, before = len(os.listdir("/proc/self/fd")), psutil.Process().children()
    with Stand(SETTINGS, 2, made_up((512, 512), False)) as stand:
        for count in (1, 2):
            assert len(stand.frames_ms(Setup(SCRIPTED, count, 1), 0) or ()) >= 3
            assert len(stand.pace_ms(Setup(SCRIPTED, count, 1), 0) or ()) == 1
        assert len(psutil.Process().children()) == len(before) + 3
    assert len(psutil.Process().children()) == len(before)
    assert len(os.listdir("/proc/self/fd")) == fds


def test_a_set_up_that_cannot_run_is_unusable_and_told_why() -> None:
    with Stand(SETTINGS, 2, made_up((512, 512), False)) as stand:
        absent = Setup(SCRIPTED, 1, 1, ("1000",))
        assert stand.frames_ms(absent, 0) is None
        assert "inspection.cpu_affinity '1000': this process may not use any of them" in stand.problems[absent]
        slow = Setup(Engine("paddle_lite", None), 1, 4)
        assert stand.frames_ms(slow, 0) is None
        assert stand.problems[slow]
