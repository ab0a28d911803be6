"""A network becomes a bundle that the device accepts, measures true, and never replaces another."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge_runtime.inference.bundle import load_bundle
from tools.dataset import load_dataset
from tools.errors import ToolError
from tools.graph import initial_weights, receptive_radius_px
from tools.network_file import load_network, save_network

ROOT = Path(__file__).parents[2]


def request_of(run, folder, boards, **changes):
    from tools.pack import PackRequest, held_out

    request = PackRequest(
        network=run,
        out=folder / "tiny" / "3",
        name="tiny",
        version="3",
        terms="Made-up boards.",
        thresholds_on=held_out(run, None, 16),
        evaluation=(("boards", boards),),
        targets=("x86", "arm", "onnx"),
        tile_px=128,
        notes="Notes of the test.",
    )
    return replace(request, **changes)


@pytest.fixture(scope="module", params=["plain", "template"])
def packed(request, make_unet, boards_folder, scans_folder, train_run, tmp_path_factory):
    """A tiny network after two steps, packed: the run's folder, the data's and the bundle's."""
    from tools.pack import pack_network
    from tools.runs import DataShare, TrainSettings

    template = request.param == "template"
    folder, boards = tmp_path_factory.mktemp(request.param), scans_folder if template else boards_folder
    graph = make_unet(2 if template else 1)
    settings = TrainSettings(
        data=(DataShare(str(boards), 1.0),),
        template=template,
        steps=2,
        batch=2,
        crop_px=32,
        replicas=1,
        loaders=0,
        holdout_every=4,
    )
    run = train_run(folder / "run", settings, (graph, initial_weights(graph, 1)))
    asked = request_of(run, folder, boards, motif="scans" if template else "boards")
    return run, boards, pack_network(asked)


def edge_runtime(*words):
    command = [sys.executable, "-m", "edge_runtime", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_device_accepts_the_bundle(packed):
    done = edge_runtime("bundle", "verify", packed[2].folder)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_the_manifest_says_what_was_packed(packed):
    run, boards, bundle = packed
    manifest, graph = load_bundle(bundle.folder).manifest, load_network(run)[0]
    assert manifest.input.template == (graph.input_channels == 2)
    assert [artefact.file for artefact in manifest.artefacts] == ["model.x86.nb", "model.arm.nb", "model.onnx"]
    assert [entry.name for entry in manifest.classes] == list(load_dataset(boards).class_names)
    assert (manifest.terms, manifest.output.mask_stride_px, len(manifest.golden)) == ("Made-up boards.", 2, 4)
    assert manifest.figures.accuracy[0].data_set == "boards"
    assert manifest.input.margin_px >= receptive_radius_px(graph)
    assert "Notes of the test." in (bundle.folder / "README.md").read_text()


def test_the_artefact_computes_what_the_float_network_does(packed):
    parity = {entry.reference: entry.values for entry in packed[2].manifest.figures.parity}
    measured = parity["float network in Paddle"]
    assert measured["max_probability_difference"] < 1e-4
    assert measured["max_score_difference_of_255"] <= 1
    assert measured["equal_class_share_of_defect_cells"] > 0.999
    radius = parity["float network"]
    assert 0 < radius["effective_px"] <= radius["theoretical_px"]


def verify(packed, out, network, *words):
    from tools.__main__ import build_app

    _, boards, bundle = packed
    options = ["verify", str(bundle.folder), "--network", str(network), "--data", str(boards), "--out", str(out)]
    return CliRunner().invoke(build_app("verify"), [*options, *words], catch_exceptions=True)


def test_verify_passes_the_network_it_was_packed_from(packed, tmp_path):
    done = verify(packed, tmp_path / "report", packed[0])
    assert (done.exit_code, done.exception) == (0, None), done.output
    assert "Everything that must agree does" in (tmp_path / "report" / "report.md").read_text()


def test_verify_fails_another_network_of_the_same_shape(packed, tmp_path):
    graph = load_network(packed[0])[0]
    save_network(tmp_path / "network.npz", graph, initial_weights(graph, 77))
    done = verify(packed, tmp_path / "report", tmp_path)
    assert done.exit_code == 1, done.output
    assert "Do not use it" in (tmp_path / "report" / "report.md").read_text()


def test_verify_fails_another_prior(packed, tmp_path):
    assert verify(packed, tmp_path / "report", packed[0], "--prior-shift", "1").exit_code == 1


def test_verify_refuses_a_network_of_another_shape(packed, make_unet, tmp_path):
    graph = make_unet(load_network(packed[0])[0].input_channels, class_count=3)
    save_network(tmp_path / "network.npz", graph, initial_weights(graph, 1))
    done = verify(packed, tmp_path / "report", tmp_path)
    assert isinstance(done.exception, ToolError)
    assert "give the network it was packed from" in str(done.exception)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_verify_and_evaluate_run_the_onnx_network_too(packed, tmp_path, backend):
    pytest.importorskip(backend)
    done = verify(packed, tmp_path / "report", packed[0], "--backend", backend, "--backend", "paddle_lite")
    assert (done.exit_code, done.exception) == (0, None), done.output
    told = json.loads((tmp_path / "report" / "verify.json").read_text())["subjects"]
    assert [(one["subject"], one["exact"]) for one in told] == [
        (f"model.onnx by {backend}", True),
        ("model.x86.nb", True),
    ]
    figures = [
        evaluate(packed, tmp_path / f"{number}", *words) for number, words in enumerate(((), ("--backend", backend)))
    ]
    assert [one.pop("run") for one in figures] == ["model.x86.nb", f"model.onnx by {backend}"]
    assert figures[0]["by_picture"] == figures[1]["by_picture"]


def evaluate(packed, out, *words):
    from tools.__main__ import build_app

    _, boards, bundle = packed
    options = ["evaluate", str(bundle.folder), "--data", str(boards), "--out", str(out), "--workers", "1", *words]
    done = CliRunner().invoke(build_app("evaluate"), [*options, "--allow-absent", "--overlays", "0"])
    assert done.exit_code == 0, done.output
    return json.loads((out / "figures.json").read_text())


# -- repack -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def calibration(packed, tmp_path_factory):
    from tools.calibration_tiles import write_tiles

    run, boards, _ = packed
    return write_tiles(tmp_path_factory.mktemp("tiles"), [boards] * 2, run, 8, 128)


def repack(bundle, run, out, *words):
    from tools.__main__ import build_app

    options = ["repack", str(bundle.folder), "--network", str(run), "--out", str(out)]
    return CliRunner().invoke(build_app("repack"), [*options, *words])


def test_repack_adds_networks_and_changes_nothing_else(packed, tmp_path):
    run, _, bundle = packed
    plain = write_without_onnx(bundle, tmp_path / "tiny" / "3")
    done = repack(plain, run, tmp_path / "tiny" / "4")
    assert done.exit_code == 0, done.output
    made = load_bundle(tmp_path / "tiny" / "4")
    old, new = bundle.manifest, made.manifest
    assert new == old.model_copy(update={"version": "4"})
    readme = (made.folder / "README.md").read_text()
    assert readme.startswith("# tiny, version 4\n\nVersion 3 with networks for onnx; nothing else changed.\n\nSegments")


def test_int8_that_moves_too_much_is_refused(packed, calibration, tmp_path):
    """As that of a network after two steps does: all its answers lie close together."""
    run, _, bundle = packed
    words = ["--target", "onnx+int8", "--calibration", str(calibration)]
    done = repack(bundle, run, tmp_path / "tiny" / "4", *words)
    assert isinstance(done.exception, ToolError)
    assert "of a golden tile's cells; twice that is more than a bundle may allow (5%)" in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_int8_gets_what_it_may_move_and_passes_with_it(packed, calibration, tmp_path):
    from tools.pack import pack_network

    run, boards, _ = packed
    sure_of_nothing = request_of(
        run, tmp_path, boards, targets=("x86", "onnx", "onnx+int8"), calibration=calibration, prior_shift=40.0
    )
    made = pack_network(replace(sure_of_nothing, motif="scans" if made_template(packed) else "boards"))
    assert {one.target: one.allowed_shares for one in made.manifest.artefacts} == {
        "x86": {},
        "onnx": {},
        "onnx+int8": {"int8": 0.0005},
    }
    for backend in ("onnxruntime", "openvino"):
        done = edge_runtime("bundle", "verify", made.folder, "--backend", backend, "--target", "onnx+int8")
        assert (done.returncode, done.stderr) == (0, ""), done.stdout


def made_template(packed):
    return packed[2].input_contract.template


def test_repack_refuses_what_would_not_be_the_same_model(packed, tmp_path):
    run, _, bundle = packed
    graph = load_network(run)[0]
    out = tmp_path / "tiny" / "4"
    assert "has a network for onnx already; --replace makes it anew" in str(repack(bundle, run, out).exception)
    assert "needs calibration tiles" in str(repack(bundle, run, out, "--target", "onnx+int8").exception)
    plain = write_without_onnx(bundle, tmp_path / "plain" / "1")
    save_network(tmp_path / "network.npz", graph, initial_weights(graph, 77))
    assert "golden tiles came out differently" in str(repack(plain, tmp_path, out).exception)
    assert not out.exists()


def write_without_onnx(bundle, folder):
    from edge_runtime.inference.bundle_writer import write_bundle
    from edge_runtime.inference.manifest import Draft
    from tools.artefacts import kept_artefacts

    draft = Draft(**bundle.manifest.model_dump(exclude={"artefacts", "golden", "signature"}))
    golden = [bundle.read_golden(entry) for entry in bundle.manifest.golden]
    kept = [one for one in kept_artefacts(bundle) if one.target != "onnx"]
    return write_bundle(folder, draft, kept, golden, (bundle.folder / "README.md").read_text())


def refused(request, message):
    from tools.pack import pack_network

    with pytest.raises(ToolError, match=message):
        pack_network(request)


def test_wrong_requests_are_told_before_anything_is_converted(packed, make_unet, tmp_path, boards_folder):
    run, boards, bundle = packed
    request = request_of(run, tmp_path, boards)
    refused(replace(request, out=bundle.folder), "a version never changes; choose the next one")
    refused(replace(request, targets=("arm",)), "targets must name x86")
    refused(replace(request, network=tmp_path / "nothing"), r"nothing: No such file")
    refused(replace(request, evaluation=(("gone", tmp_path / "gone"),)), r"gone: no annotations\.json")
    spoilt = shutil.copytree(boards, tmp_path / "spoilt")
    (spoilt / "mask" / "board_0002.png").unlink()
    refused(replace(request, evaluation=(("spoilt", spoilt),)), r"board_0002\.png: missing")
    graph = make_unet(class_count=3)
    save_network(tmp_path / "three" / "network.npz", graph, initial_weights(graph, 1))
    refused(replace(request, network=tmp_path / "three"), "the network has 2 defect classes, the data 6")
    assert not request.out.exists()
