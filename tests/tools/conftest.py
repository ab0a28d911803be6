"""Small pictures, small networks and short runs for the tests of the workstation tools."""

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from edge_runtime.vision.boards import BINARY, CAMERA
from tools.architectures.layers import GraphBuilder
from tools.architectures.regnet import RegnetSettings, build_regnet
from tools.architectures.unet import UnetSettings, build_unet
from tools.crops import Augmentation
from tools.graph import INPUT, Node, initial_weights
from tools.runs import DataShare, TrainSettings
from tools.synthesize import write_boards

ROOT = Path(__file__).parents[2]
CLASS_COUNT = 7


def tiny_unet(input_channels=1, class_count=CLASS_COUNT, **changes):
    settings = {"widths": (8, 8, 16), "depths": (0, 1, 1), **changes}
    return build_unet(UnetSettings(**settings), input_channels, class_count)


@pytest.fixture(scope="session")
def make_unet():
    """make_unet(input_channels=1, class_count=7, **settings) → Graph."""
    return tiny_unet


def tiny_regnet(**changes):
    settings = {"w_0": 16, "w_a": 12.0, "w_m": 2.0, "depth": 4, "group_width": 8, "stem_width": 16, "fpn_width": 16}
    return build_regnet(RegnetSettings(**{**settings, **changes}), 1, 3)


def pooling():
    builder = GraphBuilder(1)
    fine = builder.conv_bn_relu("fine", INPUT, 8, kernel=5)
    pooled = builder.add(Node("pooled", "maxpool", (fine,)))
    coarse = builder.add(Node("four", "resize", (builder.conv_bn_relu("coarse", pooled, 8, stride=2),), stride=4))
    return builder.graph(builder.head(builder.add(Node("both", "concat", (fine, coarse))), 2))


@pytest.fixture(
    params=["add", "concat", "separable", "resize", "fine stem", "regnetx", "regnety", "fpn", "pooling"], scope="module"
)
def graph(request, make_unet):
    """Networks with every kind of node between them."""
    return {
        "add": make_unet,
        "concat": lambda: make_unet(skip="concat", block="plain"),
        "separable": lambda: make_unet(block="separable"),
        "resize": lambda: make_unet(upsampling="resize", class_count=3),
        "fine stem": lambda: make_unet(stem_stride=1),
        "regnetx": tiny_regnet,
        "regnety": lambda: tiny_regnet(se_ratio=0.25, upsampling="resize"),
        "fpn": lambda: tiny_regnet(decoder="fpn", group_width=16),
        "pooling": pooling,
    }[request.param]()


@pytest.fixture(scope="session")
def tiny():
    """A tiny network of six classes: graph and weights that are not those it starts with."""
    graph = tiny_unet()
    rng = np.random.default_rng(4)
    weights = initial_weights(graph, 4)
    for name, values in weights.items():
        if name.endswith((".scale", ".variance")):
            weights[name] = rng.uniform(0.6, 1.5, values.shape).astype(np.float32)
        elif not name.endswith(".weight"):
            weights[name] = rng.normal(0, 0.2, values.shape).astype(np.float32)
    weights["head.weight"] *= np.float32(0.2)
    return graph, weights


@pytest.fixture(scope="session")
def boards_folder(tmp_path_factory):
    """Four made-up camera boards of 160 px with defects of every class, masks and templates."""
    folder = tmp_path_factory.mktemp("boards")
    write_boards(folder, seed=6, count=4, side_px=160, style=replace(CAMERA, defects_mean=8.0, clean_share=0.0))
    return folder


@pytest.fixture(scope="session")
def scans_folder(tmp_path_factory):
    """The same as two-level scans."""
    folder = tmp_path_factory.mktemp("scans")
    write_boards(folder, seed=6, count=4, side_px=160, style=replace(BINARY, defects_mean=8.0, clean_share=0.0))
    return folder


@pytest.fixture
def data_copy(boards_folder, tmp_path):
    """A data set that a test may spoil."""
    return Path(shutil.copytree(boards_folder, tmp_path / "data"))


@pytest.fixture
def tiny_settings(boards_folder):
    """Four steps of a tiny network, a checkpoint after the second."""
    return TrainSettings(
        data=(DataShare(str(boards_folder), 1.0),),
        steps=4,
        batch=2,
        crop_px=32,
        replicas=1,
        loaders=0,
        warmup_steps=2,
        holdout_every=4,
        checkpoint_every=2,
        validate_every=4,
        augmentation=Augmentation(camera_share=0.4),
    )


@pytest.fixture(scope="session")
def train_run():
    """train_run(folder, settings, (graph, weights), teacher=None) → the folder, trained to the end."""

    def train(run, settings, start, teacher=None):
        from tools.train import run_training, start_run

        run_training(run, start_run(run, settings, start, teacher), False, Console(quiet=True))
        return run

    return train


@pytest.fixture(scope="session")
def torch_python():
    """An interpreter with PyTorch, which the project's own environment lacks; named by EDGE_TORCH_PYTHON."""
    found = os.environ.get("EDGE_TORCH_PYTHON")
    if not found or not Path(found).exists():
        pytest.skip("EDGE_TORCH_PYTHON names no interpreter with PyTorch")

    def run(*arguments):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [found, "-B", *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr

    return run
