from dataclasses import replace

import pytest
from rich.console import Console

from edge_runtime.errors import BundleError
from edge_runtime.inference.bundle import load_bundle, verify_bundle
from edge_runtime.inference.paddle_lite import PaddleLiteSegmenter
from tools.networks import receptive_radius_px
from tools.pack import PackRequest, pack_run
from tools.train import run_training, start_run
from tools.verify import verify_bundle as compare_bundle


@pytest.fixture
def request_of(tiny_settings, boards_folder, tmp_path):
    """A pack request for a tiny network after two steps."""
    run = tmp_path / "run"
    run_training(run, start_run(run, replace(tiny_settings, steps=2, validate_every=2)), False, Console(quiet=True))
    return PackRequest(run, tmp_path / "tiny" / "3", "tiny", "3", "Made-up boards.", (("boards", boards_folder),))


def test_a_run_becomes_a_bundle_that_the_device_accepts(request_of):
    made = pack_run(request_of)
    assert made.model_id.startswith("tiny/3@")
    assert verify_bundle(request_of.out, PaddleLiteSegmenter).model_id == made.model_id
    manifest = load_bundle(request_of.out).manifest
    assert [artefact.file for artefact in manifest.artefacts] == ["model.x86.nb", "model.arm.nb"]
    assert (manifest.terms, manifest.output.mask_stride_px, len(manifest.golden)) == ("Made-up boards.", 2, 4)
    assert manifest.figures.accuracy[0].data_set == "boards"
    parity, measured_px, network = compare_bundle(request_of.out, request_of.run, [])
    assert parity.max_score_difference <= 1
    assert measured_px <= receptive_radius_px(network) <= manifest.input.margin_px
    with pytest.raises(BundleError, match="a version never changes"):
        pack_run(request_of)
