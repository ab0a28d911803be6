"""The backend `auto`: the fastest engine that passes, measured once, again when anything changes."""

import json
import logging
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

from edge_runtime import fastest_engine
from edge_runtime.app import build_pool
from edge_runtime.config import LineSettings, Settings, StationSettings
from edge_runtime.config_camera import FolderCameraSettings
from edge_runtime.config_inspection import InspectionSettings
from edge_runtime.engine_race import race
from edge_runtime.engines import engine_name
from edge_runtime.errors import BundleError, InferenceError
from edge_runtime.fastest_engine import Store, Use, candidates, open_proved, settled, told_engine
from edge_runtime.inference.bundle import load_bundle
from edge_runtime.inference.bundle_writer import NewArtefact, write_bundle
from edge_runtime.inference.engine_choice import Choice, Trial, keep_choice, read_choice
from edge_runtime.inference.golden import GoldenTile
from edge_runtime.values import Mask, Outcome, Recipe

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")
LIMIT_S = 60.0
USE = Use({1: Recipe("any")}, (64, 64))


def auto(bundle, **told):
    return InspectionSettings(bundle=bundle.folder, backend="auto", **told)


def kept(folder):
    (path,) = (folder / "engines").glob("*.json")
    return path


def no_process(*arguments, **options):
    raise AssertionError("a process was started")


# -- the file -------------------------------------------------------------------------------------------------------

TRIALS = (
    Trial(backend="paddle_lite", target="x86", precision="f32", tile_ms=30.0),
    Trial(backend="onnxruntime", target="onnx", precision="f32", problem="broken"),
    Trial(backend="openvino", target="onnx+int8", precision="f32", tile_ms=5.5),
    Trial(backend="openvino", target="onnx", precision="bf16", tile_ms=7.0),
)
KEY = {"bundle": "ab", "cpu": "cd"}
CHOICE = Choice(key=KEY, measured_at=datetime(2026, 1, 31, 12, tzinfo=timezone.utc), trials=TRIALS)


def test_the_fastest_that_passed_is_best_and_all_are_told():
    assert CHOICE.best == TRIALS[2]
    assert str(CHOICE) == (
        "openvino onnx+int8 5.5 ms (paddle_lite 30.0 ms; onnxruntime: broken; openvino bf16 7.0 ms), "
        "measured 2026-01-31 12:00 UTC"
    )


def test_a_choice_is_read_as_it_was_kept_and_for_the_same_key_only(tmp_path):
    path = tmp_path / "engines" / "tiny.json"
    assert read_choice(path, KEY) is None
    keep_choice(path, CHOICE)
    assert read_choice(path, KEY) == CHOICE
    for other in ({**KEY, "cpu": "ce"}, {**KEY, "numpy": "2"}, {"bundle": "ab"}, {}):
        assert read_choice(path, other) is None
    assert [each.name for each in path.parent.iterdir()] == ["tiny.json"]


@pytest.mark.parametrize("length", [0, 1, 100, -3])
def test_a_cut_file_is_no_choice(tmp_path, length):
    keep_choice(tmp_path / "tiny.json", CHOICE)
    data = (tmp_path / "tiny.json").read_bytes()
    (tmp_path / "tiny.json").write_bytes(data[:length])
    assert read_choice(tmp_path / "tiny.json", KEY) is None


def test_a_choice_of_nothing_is_no_choice(tmp_path):
    keep_choice(tmp_path / "tiny.json", CHOICE.model_copy(update={"trials": TRIALS[1:2]}))
    assert read_choice(tmp_path / "tiny.json", KEY) is None


# -- what is tried --------------------------------------------------------------------------------------------------


def with_artefacts(bundle, **shares):
    (artefact,) = bundle.manifest.artefacts
    artefacts = tuple(artefact.model_copy(update={"target": name, "allowed_shares": of}) for name, of in shares.items())
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"artefacts": artefacts}))


def tried(bundle, **told):
    return [(one.backend, one.target, one.openvino_precision) for one in candidates(auto(bundle, **told), bundle)]


def test_exact_engines_are_tried_and_coarse_ones_where_both_sides_allow_it(onnx_bundle):
    exact = [("onnxruntime", "onnx", "f32"), ("openvino", "onnx", "f32")]
    assert tried(onnx_bundle) == exact
    bundle = with_artefacts(onnx_bundle, **{"onnx": {"bf16": 0.01}, "onnx+int8": {"int8": 0.01}})
    small = [("onnxruntime", "onnx+int8", "f32"), ("openvino", "onnx+int8", "f32")]
    assert tried(bundle) == exact
    assert tried(bundle, auto_coarse=True) == [*exact, ("openvino", "onnx", "bf16"), *small]
    assert tried(bundle, target="onnx+int8") == small
    assert tried(with_artefacts(onnx_bundle, onnx={}), auto_coarse=True) == exact


def test_a_network_that_does_not_run_the_tiles_that_are_set_is_left_out(onnx_bundle, tmp_path):
    for told in ({"tile_px": 72}, {"tile_px_max": 56}):
        with pytest.raises(BundleError, match=r"72 px: its network for onnx runs|smallest tiles have 64 px"):
            settled(auto(onnx_bundle, **told), onnx_bundle, USE, Store(tmp_path, LIMIT_S))


def test_a_process_that_dies_or_hangs_is_a_problem_not_an_end(tmp_path, scripted_bundle, scripted_golden):
    told = {"backend": "scripted"}
    for grey, limit_s, problem in ((241, 60, "its process died (exit code -11)"), (243, 2.4, "not ready within ")):
        picture = np.full_like(scripted_golden.picture, grey)
        bundle = write_bundle(
            tmp_path / f"{grey}" / "1",
            scripted_bundle.manifest,
            [NewArtefact("model.x86.bin", b"none", "x86", "fp32", "none")],
            [GoldenTile(picture, scripted_golden.mask)],
        )
        (trial,) = race([InspectionSettings(bundle=bundle.folder, **told)], limit_s)
        assert trial.tile_ms is None
        assert problem in trial.problem


def hanging(folder, scripted_bundle, scripted_golden):
    """A bundle whose golden tile makes the scripted engine hang."""
    picture = np.full_like(scripted_golden.picture, 243)
    artefact = NewArtefact("model.x86.bin", b"none", "x86", "fp32", "none")
    return write_bundle(folder, scripted_bundle.manifest, [artefact], [GoldenTile(picture, scripted_golden.mask)])


def test_one_that_hangs_takes_no_others_time_and_the_order_is_kept(
    onnx_bundle, tmp_path, scripted_bundle, scripted_golden
):
    stuck = InspectionSettings(
        bundle=hanging(tmp_path / "hangs" / "1", scripted_bundle, scripted_golden).folder, backend="scripted"
    )
    well = InspectionSettings(bundle=onnx_bundle.folder, backend="onnxruntime")
    late, passed = race([stuck, well], 12.0)
    assert (late.backend, late.out_of_time, late.tile_ms) == ("scripted", True, None)
    assert (passed.backend, passed.out_of_time, passed.problem) == ("onnxruntime", False, None)
    assert 0 < passed.tile_ms <= passed.wall_ms


def test_a_process_that_cannot_be_ended_does_not_hold_the_others_up(
    tmp_path, scripted_bundle, scripted_golden, monkeypatch
):
    """A process of its own that holds the pipe stands for one that is stuck in a driver."""
    stuck = tmp_path / "python"
    stuck.write_text(f'#!/bin/sh\nsleep 20 &\nexec {sys.executable} "$@"\n')
    stuck.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stuck))
    bundle = hanging(tmp_path / "hangs" / "1", scripted_bundle, scripted_golden)
    began_s = time.monotonic()
    (trial,) = race([InspectionSettings(bundle=bundle.folder, backend="scripted")], 0.5)
    assert trial.out_of_time
    assert time.monotonic() - began_s < 15


def test_of_engines_as_fast_as_each_other_the_more_exact_one_is_taken():
    bf16, int8 = TRIALS[3], TRIALS[2].model_copy(update={"tile_ms": 6.8})
    assert CHOICE.model_copy(update={"trials": (bf16, int8)}).best == bf16
    assert CHOICE.model_copy(update={"trials": (bf16, int8.model_copy(update={"tile_ms": 6.6}))}).best.tile_ms == 6.6


def test_engines_with_other_tiles_are_compared_by_what_a_worker_computes_of_a_picture():
    """25 tiles of 512 px, shared by two, take longer than 4 of 1088 px, though one of them takes less."""
    small = TRIALS[0].model_copy(update={"tile_px": 512, "tiles": 13, "tile_ms": 10.0})
    large = TRIALS[2].model_copy(update={"tile_px": 1088, "tiles": 2, "tile_ms": 40.0})
    choice = CHOICE.model_copy(update={"trials": (small, large)})
    assert choice.best == large
    assert "10.0 ms), tiles of 512 or 1088 px, measured" in str(choice)


def test_where_time_was_too_short_for_all_the_first_that_lacked_nothing_else_is_used_for_now():
    late = [trial.model_copy(update={"tile_ms": None, "problem": "not ready", "out_of_time": True}) for trial in TRIALS]
    choice = CHOICE.model_copy(update={"trials": (TRIALS[1], *late[2:]), "attempts": 9})
    assert choice.best == late[2]
    assert str(choice).startswith("openvino onnx+int8, as none was measured in time (onnxruntime: broken; ")
    assert "measured again at a later start" in str(choice)
    assert not choice.stands_at(choice.measured_at + timedelta(days=1))


def test_a_choice_made_on_a_busy_machine_is_told_and_measured_again_later_but_not_for_ever():
    busy = CHOICE.model_copy(update={"loaded": True})
    assert str(busy).endswith("; the machine was busy with other work meanwhile: measured again at a later start")
    assert busy.stands_at(busy.measured_at + timedelta(seconds=599))
    assert not busy.stands_at(busy.measured_at + timedelta(seconds=600))
    last = busy.model_copy(update={"attempts": 3})
    assert last.stands_at(busy.measured_at + timedelta(days=9))
    assert str(last).endswith("busy with other work meanwhile")
    assert TRIALS[0].model_copy(update={"wall_ms": 38.0}).waited
    assert not TRIALS[0].model_copy(update={"wall_ms": 37.0}).waited


def test_each_engines_best_time_counts_whenever_it_was_measured():
    again = tuple(trial.model_copy(update={"tile_ms": ms}) for trial, ms in zip(TRIALS[2:], (9.0, 6.0), strict=True))
    joined = CHOICE.model_copy(update={"trials": (LATE, *again)}).joined(CHOICE)
    assert [trial.tile_ms for trial in joined.trials] == [None, 5.5, 6.0]
    assert (joined.attempts, joined.best) == (2, joined.trials[1])


LATE = Trial(backend="onnxruntime", target="onnx", precision="f32", problem="not ready", out_of_time=True)


def test_a_partial_choice_is_used_and_measured_again_later_but_not_for_ever():
    partial = CHOICE.model_copy(update={"trials": (TRIALS[0], LATE)})
    assert partial.best == TRIALS[0]
    assert "measured again at a later start" in str(partial)
    now = partial.measured_at
    assert [partial.stands_at(now + timedelta(seconds=age_s)) for age_s in (0, 599, 600, -1)] == [
        True,
        True,
        False,
        False,
    ]
    assert partial.model_copy(update={"attempts": 3}).stands_at(now + timedelta(days=9))
    assert CHOICE.stands_at(now + timedelta(days=9))
    assert "later start" not in str(CHOICE)


def test_a_start_after_a_partial_measurement_measures_all_again_but_not_a_worker_that_joins_others(
    onnx_bundle, tmp_path, monkeypatch
):
    settled(auto(onnx_bundle), onnx_bundle, USE, Store(tmp_path, LIMIT_S))
    raw = json.loads(kept(tmp_path).read_text())
    first, second = raw["trials"]
    partial = {**first, "tile_ms": None, "wall_ms": None, "problem": "not ready within 1.0 s", "out_of_time": True}
    old = {"measured_at": "2020-01-01T00:00:00Z", "loaded": False, "trials": [partial, second]}
    kept(tmp_path).write_text(json.dumps({**raw, **old}))
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", no_process)
        settled(auto(onnx_bundle), onnx_bundle, USE, Store(tmp_path, LIMIT_S, may_repeat=False))
    settled(auto(onnx_bundle), onnx_bundle, USE, Store(tmp_path, LIMIT_S))
    again = json.loads(kept(tmp_path).read_text())
    assert again["attempts"] == 2
    assert all(trial["tile_ms"] for trial in again["trials"])
    kept(tmp_path).write_text(json.dumps({**raw, **old, "attempts": 3}))
    assert settled(auto(onnx_bundle), onnx_bundle, USE, Store(tmp_path, LIMIT_S)).backend == second["backend"]
    assert "2020-01-01" in kept(tmp_path).read_text()


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ({"backend": "paddle_lite"}, "paddle_lite"),
        ({"backend": "paddle_lite", "target": "arm"}, "paddle_lite"),
        ({"backend": "paddle_lite", "target": "arm+fp16"}, "paddle_lite:arm+fp16"),
        ({"backend": "onnxruntime", "target": "onnx+int8"}, "onnxruntime:onnx+int8"),
        ({"backend": "onnxruntime", "onnxruntime_providers": ("cuda", "cpu")}, "onnxruntime:cuda"),
        ({"backend": "openvino", "openvino_precision": "bf16", "target": "onnx"}, "openvino:bf16"),
        ({"backend": "rknn", "openvino_precision": "bf16"}, "rknn"),
        ({"backend": "scripted", "onnxruntime_providers": ("cuda",)}, "scripted"),
    ],
)
def test_records_name_the_arithmetic_behind_a_verdict(told, name):
    assert engine_name(InspectionSettings(bundle="any", **told)) == name


# -- the choice -----------------------------------------------------------------------------------------------------


def test_it_measures_once_and_then_starts_no_process(onnx_bundle, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    assert told_engine(auto(onnx_bundle), onnx_bundle, USE, tmp_path) == "auto: measured at the next start"
    chosen = settled(auto(onnx_bundle), onnx_bundle, USE, Store(tmp_path, LIMIT_S))
    choice = json.loads(kept(tmp_path).read_text())
    times = {trial["backend"]: trial["tile_ms"] for trial in choice["trials"]}
    assert set(times) == {"onnxruntime", "openvino"}
    assert chosen.backend == Choice.model_validate(choice).best.backend
    assert times[chosen.backend] <= 1.05 * min(times.values())
    assert {trial["tile_px"] for trial in choice["trials"]} == {64}
    assert f"auto takes {chosen.backend} " in caplog.text
    monkeypatch.setattr(subprocess, "Popen", no_process)
    assert settled(auto(onnx_bundle), onnx_bundle, USE, Store(tmp_path, LIMIT_S)) == chosen
    assert told_engine(auto(onnx_bundle), onnx_bundle, USE, tmp_path).startswith(f"auto: {chosen.backend} ")
    assert open_proved(auto(onnx_bundle), onnx_bundle, USE, Store(tmp_path, LIMIT_S))[1] == chosen.backend


def rewritten(folder, **changes):
    raw = json.loads(kept(folder).read_text())
    raw["key"].update(changes)
    for trial in raw["trials"]:
        trial["tile_ms"] = 0.001 if trial["backend"] == "onnxruntime" else 100.0
    raw |= {"measured_at": "2020-01-01T00:00:00Z", "loaded": False}
    kept(folder).write_text(json.dumps(raw))


def test_it_measures_again_when_a_version_changed_and_not_before(onnx_bundle, tmp_path):
    settled(auto(onnx_bundle), onnx_bundle, USE, Store(tmp_path, LIMIT_S))
    rewritten(tmp_path)
    assert settled(auto(onnx_bundle), onnx_bundle, USE, Store(tmp_path, LIMIT_S)).backend == "onnxruntime"
    assert "2020-01-01" in kept(tmp_path).read_text()
    rewritten(tmp_path, openvino="2023.0")
    settled(auto(onnx_bundle), onnx_bundle, USE, Store(tmp_path, LIMIT_S))
    assert "2020-01-01" not in kept(tmp_path).read_text()


def with_other_golden(bundle, folder):
    golden = bundle.read_golden(bundle.manifest.golden[0])
    moved = Mask(golden.mask.class_ids, golden.mask.scores ^ np.uint8(64), 2)
    artefact = NewArtefact("model.onnx", (bundle.folder / "model.onnx").read_bytes(), "onnx", "fp32", opset=17)
    return write_bundle(folder, bundle.manifest, [artefact], [GoldenTile(golden.picture, moved)])


def test_where_no_engine_passes_each_ones_reason_is_told_and_nothing_is_trusted(onnx_bundle, tmp_path):
    wrong = with_other_golden(onnx_bundle, tmp_path / "wrong" / "1")
    with pytest.raises(InferenceError, match=r"no engine can be used: none \(onnxruntime: .*differently.*; openvino: "):
        settled(auto(wrong), wrong, USE, Store(tmp_path, LIMIT_S))
    assert told_engine(auto(wrong), wrong, USE, tmp_path) == "auto: measured at the next start"


def test_a_choice_that_does_not_hold_is_forgotten(onnx_bundle, tmp_path):
    settled(auto(onnx_bundle), onnx_bundle, USE, Store(tmp_path, LIMIT_S))
    path = kept(tmp_path)
    wrong = with_other_golden(onnx_bundle, tmp_path / "wrong" / "1")
    impostor = replace(wrong, digest=onnx_bundle.digest)
    with pytest.raises(BundleError, match="came out differently"):
        open_proved(auto(onnx_bundle), impostor, USE, Store(tmp_path, LIMIT_S))
    assert not path.exists()


def fill(folder):
    """A folder where the file should be: the rename fails as on a full disk."""
    (folder / "data" / "engines").mkdir(parents=True)
    bundle = load_bundle(folder / "onnx")
    (folder / "data" / "engines" / f"tiny-{bundle.digest[:16]}-64.json").mkdir()


def block(folder):
    (folder / "data").write_text("a file where the folder should be")


@pytest.mark.parametrize("spoil", [fill, block])
def test_a_disk_that_takes_nothing_costs_only_one_measurement(onnx_bundle, tmp_path, caplog, spoil):
    caplog.set_level(logging.INFO)
    spoil(tmp_path)
    assert settled(auto(onnx_bundle), onnx_bundle, USE, Store(tmp_path / "data", LIMIT_S)).backend in (
        "onnxruntime",
        "openvino",
    )
    assert caplog.text.count("measuring the engines") == 1
    assert "the engines are measured at each start" in caplog.text


TOGETHER = """
import logging, sys
from pathlib import Path
from edge_runtime.config_inspection import InspectionSettings
from edge_runtime.fastest_engine import Store, Use, settled
from edge_runtime.inference.bundle import load_bundle
from edge_runtime.values import Recipe
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
bundle = load_bundle(Path(sys.argv[1]))
use, store = Use({1: Recipe("any")}, (64, 64)), Store(Path(sys.argv[2]), 60.0)
settled(InspectionSettings(bundle=bundle.folder, backend="auto"), bundle, use, store)
"""


def test_workers_that_start_together_measure_once(onnx_bundle, tmp_path):
    command = [sys.executable, "-c", TOGETHER, str(onnx_bundle.folder), str(tmp_path)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [worker.communicate(timeout=120)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert sum(output.count("measuring the engines") for output in outputs) == 1
    assert len({output.splitlines()[-1] for output in outputs}) == 1


def test_workers_inspect_with_the_engine_that_auto_takes(onnx_bundle, tmp_path, stripes):
    settings = Settings(
        station=StationSettings(data_dir=tmp_path / "data"),
        camera=FolderCameraSettings(driver="folder", path=tmp_path, width_px=64, height_px=64),
        inspection=auto(onnx_bundle, workers=2),
        line=LineSettings(ring_slots=2),
    )
    for _ in range(2):
        with build_pool(settings, onnx_bundle.mask_stride_px) as pool:
            result = pool.inspect(stripes([250, 250, 250, 250]), None)
        assert result.verdict.outcome is Outcome.REJECT
    assert load_bundle(onnx_bundle.folder).model_id == result.verdict.model_id
    assert len(json.loads(kept(tmp_path / "data").read_text())["trials"]) == 2


def test_every_engine_is_known_to_the_settings():
    assert set(fastest_engine.PACKAGES) == set(fastest_engine.READS)
