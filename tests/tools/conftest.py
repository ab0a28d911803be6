"""Small pictures, small networks, and one exported model for the tests of the workstation tools."""

from dataclasses import replace

import pytest

from edge_runtime.vision.boards import CAMERA
from tools.export import export_network
from tools.networks import HalfUnet, NetworkShape
from tools.runs import DataShare, TrainSettings
from tools.synthesize import write_boards

TINY = NetworkShape(widths=(8, 8, 16), block_count=1)


@pytest.fixture(scope="session")
def boards_folder(tmp_path_factory):
    """Four made-up boards of 160 px with defects."""
    folder = tmp_path_factory.mktemp("boards")
    write_boards(folder, seed=5, count=4, side_px=160, style=replace(CAMERA, defects_mean=4.0, clean_share=0.0))
    return folder


@pytest.fixture
def tiny_settings(boards_folder):
    """Four steps of a tiny network, a checkpoint after the second."""
    return TrainSettings(
        data=(DataShare(str(boards_folder), 1.0),),
        shape=TINY,
        steps=4,
        batch=2,
        crop_px=64,
        replicas=1,
        warmup_steps=2,
        holdout_every=2,
        checkpoint_every=2,
        validate_every=4,
    )


@pytest.fixture
def tiny_network():
    """A tiny network with random weights, in evaluation mode."""
    network = HalfUnet(TINY)
    network.eval()
    return network


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """The .pdmodel of a tiny network for tiles of 64 px, its .pdiparams beside it."""
    network = HalfUnet(TINY)
    network.eval()
    return export_network(network, tmp_path_factory.mktemp("exported") / "tiny", 64)
