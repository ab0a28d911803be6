"""A network for the NPU: its graph, its child process with all that can go wrong there, and the files for a bundle."""

import stat
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.inference.bundle import load_bundle
from edge_runtime.inference.margins import class_and_score
from edge_runtime.inference.rknn_file import read_rknn
from edge_runtime.values import InputContract
from edge_runtime.vision.preprocess import TilePreprocessor
from tools.errors import CalibrationError, ConversionError, ToolError

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
ROOT = Path(__file__).parents[3]
TOOLKIT = ROOT / ".venv-rknn" / "bin" / "python"
CONTRACT = InputContract("GRAY", (0.5,), (0.25,), 64, 8, 8, template=False)


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(sorted((ROOT / "opt_models" / "board-unet").iterdir())[-1])


@pytest.fixture(scope="module")
def network(bundle):
    from tools.rknn.conversion import float_network

    return float_network(bundle)


def test_margins_say_what_the_full_network_says(network):
    from tools.onnx_file import onnx_bytes
    from tools.rknn.margins import margins_onnx

    tile = np.random.default_rng(0).standard_normal((1, 1, 64, 64), np.float32)
    whole, short = (onnxruntime.InferenceSession(make(*network, 64)) for make in (onnx_bytes, margins_onnx))
    (ids,), (scores,) = whole.run(["class_ids", "scores"], {"tile": tile})
    (margins,) = short.run(["margins"], {"tile": tile})
    found_ids, found_scores = class_and_score(margins[0])
    assert np.abs(found_scores.astype(int) - scores).max() <= 1
    assert np.array_equal(found_ids, ids)


def interpreter(folder, text):
    """A program in the place of the one that has the toolkit."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def built_by(python, scratch):
    from tools.rknn.simulator import Simulator

    simulator = Simulator(python, b"no network", CONTRACT, 2, 32, scratch)
    try:
        return simulator.build(None)
    finally:
        simulator.close()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "echo 'E RKNN: Not Support Dtype: 2.'; kill -ABRT $$",
            r"died at the build \(exit code -6\): E RKNN: Not Support",
        ),
        ("echo \"ModuleNotFoundError: No module named 'rknn'\"; exit 1", "make rknn-tools"),
        ("exit 0", r"exit code 0\): no message"),
        ('echo \'{"problem": "load_onnx answered -1"}\' >/proc/self/fd/$3', "load_onnx answered -1"),
    ],
)
def test_what_becomes_of_the_child_is_told_in_words(tmp_path, text, problem):
    with pytest.raises(ConversionError, match=problem):
        built_by(interpreter(tmp_path, text), tmp_path)


def test_a_child_that_hangs_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("tools.rknn.simulator.BUILD_LIMIT_S", 0.5)
    with pytest.raises(ConversionError, match=r"exit code -9, killed after 0\.5 s"):
        built_by(interpreter(tmp_path, "exec sleep 60"), tmp_path)


def test_an_interpreter_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ConversionError, match=r"No such file or directory.*make rknn-tools"):
        built_by(tmp_path / "python", tmp_path)


def test_calibration_tiles_become_the_pixels_they_were():
    from tools.rknn.conversion import calibration_pixels

    pictures = np.random.default_rng(1).integers(0, 256, (8, 64, 64), np.uint8)
    preprocessor = TilePreprocessor(CONTRACT)
    tiles = np.concatenate([preprocessor.tile(np.dstack([grey] * 3), (0, 0)) for grey in pictures])
    assert np.array_equal(calibration_pixels(tiles, CONTRACT)[..., 0], pictures)
    for wrong in (tiles + 0.001, tiles * 2):
        with pytest.raises(CalibrationError, match="no pixels give these values"):
            calibration_pixels(wrong, CONTRACT)


def test_what_a_target_needs_is_said_first(bundle, network):
    from tools.rknn.conversion import Request

    with pytest.raises(ToolError, match="needs calibration tiles"):
        Request(("rknn+int8",), TOOLKIT).check()
    with pytest.raises(ToolError, match="target onnx: allowed are"):
        Request(("onnx",), TOOLKIT).check()


@pytest.mark.skipif(not TOOLKIT.exists(), reason="needs Rockchip's toolkit: make rknn-tools")
def test_repack_puts_networks_into_the_next_version_that_the_simulator_has_proved(bundle, tmp_path):
    from tools.artefacts import Wanted
    from tools.repack import RepackRequest, repack
    from tools.rknn.conversion import Request

    pictures = [bundle.read_golden(entry) for entry in bundle.manifest.golden_for(512)]
    tiles = [TilePreprocessor(bundle.input_contract).tile(each.picture, (0, 0), each.template) for each in pictures]
    asked = Request(("rknn", "rknn+int8"), TOOLKIT, np.concatenate(tiles * 2))
    made = repack(RepackRequest(bundle.folder, tmp_path / "board-unet" / "99", Wanted(()), rknn=asked))
    for target, kind in (("rknn", "f16"), ("rknn+int8", "int8")):
        artefact = made.artefact_for(target)
        assert 0.0005 <= artefact.allowed_shares[kind] <= 0.05
        assert read_rknn(made.read(artefact), "").outputs == ((1, 6, 256, 256),)
