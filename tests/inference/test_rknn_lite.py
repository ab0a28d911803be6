"""The driver of RK3588's NPU. Rockchip's library is stood in for by tests/inference/stand_in: no NPU was used."""

import hashlib
import json
import sys

import pytest

from edge_runtime.app import build_pool
from edge_runtime.config import LineSettings, Settings, StationSettings
from edge_runtime.config_camera import FolderCameraSettings
from edge_runtime.config_inspection import InspectionSettings
from edge_runtime.engine_race import race
from edge_runtime.engines import allowed_share, target_of
from edge_runtime.errors import BundleError, InferenceError
from edge_runtime.fastest_engine import Store, Use, candidates, settled
from edge_runtime.inference.bundle import load_bundle
from edge_runtime.inference.proof import check_golden, verify_bundle
from edge_runtime.inference.rknn_lite import open_rknn
from edge_runtime.values import Outcome, Recipe

LIMIT_S = 60.0


def inspection_for(bundle, **told):
    return InspectionSettings(bundle=bundle.folder, **{"backend": "rknn", **told})


@pytest.fixture
def starts(tmp_path, monkeypatch):
    """The lines that the stand-in wrote so far."""
    path = tmp_path / "starts"
    monkeypatch.setenv("RKNN_STAND_IN_LOG", str(path))
    return lambda: path.read_text().splitlines()


def test_it_passes_the_golden_tiles_and_lets_go_of_the_npu(rknn_bundle, starts):
    report = verify_bundle(rknn_bundle.folder, open_rknn)
    assert [tile.moved_share for tile in report.tiles] == [0.0]
    assert starts() == ["started core_mask=1", "released"]


@pytest.mark.parametrize("core", [0, 1, 2])
def test_it_runs_on_the_core_it_is_told(rknn_bundle, starts, core):
    open_rknn(rknn_bundle, core=core).close()
    assert starts()[0] == f"started core_mask={1 << core}"


def test_a_core_that_the_chip_lacks_is_refused(rknn_bundle):
    with pytest.raises(InferenceError, match="NPU core 3: RK3588 has 0, 1, 2"):
        open_rknn(rknn_bundle, core=3)


@pytest.mark.parametrize(
    ("way", "problem"),
    [
        ("no load", "load_rknn of Rockchip's runtime answered -1"),
        ("no device", r"the NPU cannot be used \(init_runtime answered -1\): no RK3588"),
    ],
)
def test_a_runtime_that_does_not_start_is_told_in_words(rknn_bundle, monkeypatch, way, problem):
    monkeypatch.setenv("RKNN_STAND_IN", way)
    with pytest.raises(InferenceError, match=problem):
        open_rknn(rknn_bundle)


@pytest.mark.parametrize(
    ("way", "problem"),
    [
        ("no answer", "the NPU gave no answer"),
        ("other type", r"the NPU answers float64 \(1, 2, 32, 32\), not float32"),
        ("not a number", "NaN or infinity"),
    ],
)
def test_a_wrong_answer_is_an_error_and_never_a_mask(rknn_bundle, stripes, monkeypatch, way, problem):
    monkeypatch.setenv("RKNN_STAND_IN", way)
    segmenter = open_rknn(rknn_bundle)
    with pytest.raises(InferenceError, match=problem):
        segmenter.predict(stripes([60, 160, 220, 10]))


def test_without_the_library_the_message_says_what_to_install(rknn_bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "rknnlite", None)
    with pytest.raises(InferenceError, match=r"edge-defect-runtime\[rknn\]"):
        open_rknn(rknn_bundle)


def test_a_network_of_another_kind_is_refused(onnx_bundle, rknnlite):
    with pytest.raises(BundleError, match="made for onnx, not an RKNN file"):
        open_rknn(onnx_bundle, "onnx")


def swapped(bundle, **changes):
    """The bundle with another `.rknn` file under a manifest that fits it."""
    data = (bundle.folder / "model.rknn").read_bytes()
    for old, new in changes.values():
        assert len(old) == len(new)
        assert old in data
        data = data.replace(old, new)
    (bundle.folder / "model.rknn").write_bytes(data)
    manifest = json.loads((bundle.folder / "manifest.json").read_text())
    manifest["artefacts"][0]["sha256"] = hashlib.sha256(data).hexdigest()
    (bundle.folder / "manifest.json").write_text(json.dumps(manifest))
    return load_bundle(bundle.folder)


@pytest.mark.parametrize(
    ("change", "problem"),
    [((b"rk3588", b"rk3576"), "made for rk3576"), ((b'"2.5.0"', b'"2.3.2"'), "made by toolkit 2.3.2")],
)
def test_the_library_never_sees_a_file_of_another_chip_or_toolkit(rknn_bundle, starts, change, problem):
    with pytest.raises(BundleError, match=problem):
        open_rknn(swapped(rknn_bundle, change=change))
    with pytest.raises(FileNotFoundError):
        starts()


# -- through the settings ---------------------------------------------------------------------------------------------


def test_the_settings_name_target_and_allowance(rknn_bundle):
    told = inspection_for(rknn_bundle)
    assert (target_of(told), allowed_share(told, rknn_bundle)) == ("rknn", 0.0005)
    with pytest.raises(ValueError, match="rknn runs RKNN networks"):
        inspection_for(rknn_bundle, target="onnx")


def test_each_worker_has_a_core_of_its_own_and_the_first_again(rknn_bundle):
    told = inspection_for(rknn_bundle, rknn_cores=(2, 0))
    assert [told.of_worker(index).rknn_cores for index in range(3)] == [(2,), (0,), (2,)]


def test_two_workers_inspect_on_two_cores(rknn_bundle, tmp_path, stripes, starts):
    settings = Settings(
        station=StationSettings(data_dir=tmp_path / "data"),
        camera=FolderCameraSettings(driver="folder", path=tmp_path, width_px=64, height_px=64),
        inspection=inspection_for(rknn_bundle, workers=2),
        line=LineSettings(ring_slots=2),
    )
    with build_pool(settings, rknn_bundle.mask_stride_px) as pool:
        result = pool.inspect(stripes([250, 250, 250, 250]), None)
    assert result.verdict.outcome is Outcome.REJECT
    assert {"started core_mask=1", "started core_mask=2"} <= set(starts())


def test_auto_takes_the_npu_where_coarse_arithmetic_is_allowed(rknn_bundle, tmp_path):
    auto = inspection_for(rknn_bundle, backend="auto")
    assert list(candidates(auto, rknn_bundle)) == []
    coarse = inspection_for(rknn_bundle, backend="auto", auto_coarse=True)
    assert [(one.backend, one.target) for one in candidates(coarse, rknn_bundle)] == [("rknn", "rknn")]
    assert settled(coarse, rknn_bundle, Use({1: Recipe("any")}, (64, 64)), Store(tmp_path, LIMIT_S)).backend == "rknn"


def test_a_library_that_aborts_is_a_problem_of_its_child(rknn_bundle, monkeypatch):
    monkeypatch.setenv("RKNN_STAND_IN", "abort")
    (trial,) = race([inspection_for(rknn_bundle)], LIMIT_S)
    assert trial.problem == "its process died (exit code -6)"


def test_the_golden_tiles_decide_as_the_bundle_allows(rknn_bundle):
    allowed = allowed_share(inspection_for(rknn_bundle), rknn_bundle)
    (report,) = check_golden(rknn_bundle, open_rknn(rknn_bundle), allowed)
    assert report.allowed_share == 0.0005
