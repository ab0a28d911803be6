"""Each benchmark on a toy size: the figures are there, and they fit each other."""

import json
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest

from edge_runtime.inference.bundle_writer import NewArtefact, write_bundle
from edge_runtime.inference.golden import GoldenTile
from edge_runtime.inference.manifest import Draft
from edge_runtime.values import Mask
from edge_runtime.vision.preprocess import value_table
from tools.graph import initial_weights, receptive_radius_px
from tools.onnx_file import OPSET, onnx_bytes

ROOT = Path(__file__).parents[3]


def bench(*words):
    command = [sys.executable, "-m", "tools", "bench", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def rows_of(*words):
    done = bench(*words, "--json", "-")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_pipeline_tells_overhead_and_every_stage(tmp_path):
    report = rows_of("pipeline", "--side", 640, "--rounds", 1, "--workers", 2, "--picture", tmp_path / "p.svg")
    (row,) = report["rows"]
    assert (row["workers"], row["tiles"], row["parts"]) == (2, 4, 1)
    assert row["overhead"] == pytest.approx(row["frame_ms"] / (4 * row["tile_ms"] / 2), rel=0.01)
    assert row["overhead_floor"] == 1
    stages = [row[f"path_{stage}_ms"] for stage in ("capture", "handover", "tiles", "decide", "wire")]
    assert sum(stages) == pytest.approx(row["path_ms"], rel=0.01)
    assert all(row[f"{stage}_ms"] > 0 for stage in ("preprocess", "place", "decide"))
    assert (tmp_path / "p.svg").stat().st_size > 1000


def test_scaling_has_a_row_for_each_size_and_worker_count():
    words = ("--side", 256, "--side", 640, "--workers", 1, "--rounds", 1)
    report = rows_of("scaling", *words)
    assert [(row["side_px"], row["workers"], row["tiles"]) for row in report["rows"]] == [(256, 1, 1), (640, 1, 1)]
    most, least = (f(row["ms_per_megapixel"] for row in report["rows"]) for f in (max, min))
    assert report["summary"]["flatness"] == {"1": pytest.approx(most / least, rel=0.01)}
    assert [row["computed"] for row in report["rows"]] == [
        pytest.approx(row["tiles"] * row["tile_px"] ** 2 / row["side_px"] ** 2, abs=1e-3) for row in report["rows"]
    ]


def test_start_tells_ready_each_child_each_step_and_a_change_of_model():
    other = ROOT / "opt_models" / "pcb-unet" / "4"
    report = rows_of("start", "--workers", 1, "--rounds", 1, "--other", other)
    (row,) = report["rows"]
    assert all(0 < row[f"{role}_ms"] <= row["ready_ms"] + 50 for role in ("guard", "office", "capture", "inspection"))
    steps = report["summary"]["worker_ms"]
    assert list(steps) == ["interpreter", "imports", "bundle", "predictor", "golden tiles", "all"]
    assert sum(steps.values()) == pytest.approx(2 * steps["all"], abs=1)
    assert list(report["summary"]["switch_ms"]) == ["answer", "first part", "next part"]


def test_memory_tells_the_ring_apart():
    """And the growth with the picture from what larger tiles take."""
    report = rows_of("memory", "--side", 512, "--side", 768, "--parts", 1, "--workers", 1)
    assert [(row["side_px"], row["tile_px"]) for row in report["rows"]] == [(512, 512), (768, 768), (768, 512)]
    for row in report["rows"]:
        assert row["parts"] == row["slots"] + 1
        assert row["pss_mb"] == pytest.approx(row["ring_mb"] + row["rest_mb"], abs=0.2)
        roles = sum(row[f"{role}_mb"] for role in ("line", "guard", "office", "capture", "inspection"))
        assert roles == pytest.approx(row["rest_mb"], abs=0.5)
        assert 0 < row["uss_mb"] < row["pss_mb"]
    # Every slot holds the picture and two planes of a quarter of its pixels.
    for row in report["rows"]:
        assert row["ring_mb"] == pytest.approx(row["slots"] * row["megapixels"] * 3.5, rel=0.25)
    assert report["summary"]["growth_mb_per_megapixel"]["frame ring"] > 10
    (step,) = report["summary"]["step_mb"].items()
    assert step[0] == "768 px at 0.59 megapixels"
    assert step[1] == pytest.approx(report["rows"][1]["rest_mb"] - report["rows"][2]["rest_mb"], abs=0.1)


def test_limit_compares_with_a_matrix_product():
    (row,) = rows_of("limit", "--rounds", 1)["rows"]
    assert row["gflops"] == pytest.approx(2 * row["gmacs"] / row["tile_ms"] * 1000, rel=0.02)
    assert row["share"] == pytest.approx(row["gflops"] / row["peak_gflops"], rel=0.02)
    assert 0 < row["share"] < 1


TILE_PX, STRIDE_PX = 128, 2


@pytest.fixture(scope="module")
def small_bundle(tmp_path_factory, make_unet):
    """A tiny network as a bundle with an ONNX file alone; its margin is its receptive radius, so stitching is exact."""
    graph = make_unet()
    data = onnx_bytes(graph, initial_weights(graph, 3), TILE_PX)
    sizes = {"tile_px": TILE_PX, "stride_px": 8, "margin_px": receptive_radius_px(graph)}
    classes = [
        {"id": number, "name": f"c{number}", "color_bgr": (0, 0, 255), "threshold": 128}
        for number in range(1, graph.class_count)
    ]
    draft = Draft.model_validate(
        {
            "name": "tiny",
            "version": "1",
            "created": datetime(2026, 1, 1, tzinfo=timezone.utc),
            "input": {"channels": "GRAY", "mean": (0.5,), "std": (0.25,), **sizes},
            "output": {"kind": "class_and_score", "mask_stride_px": STRIDE_PX},
            "classes": classes,
            "figures": {"parameters": 1, "macs_per_tile": 1},
            "terms": "none: no training data",
        }
    )
    artefact = NewArtefact("model.onnx", data, "onnx", "fp32", opset=OPSET)
    folder = tmp_path_factory.mktemp("bundles") / "tiny" / "1"
    return write_bundle(folder, draft, [artefact], [_golden(data)]).folder


def _golden(data):
    picture = np.full((TILE_PX, TILE_PX, 3), 90, np.uint8)
    tile = cv2.LUT(picture[:, :, 0], value_table(0.5, 0.25))[None, None]
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    class_ids, scores = session.run(["class_ids", "scores"], {"tile": tile})
    return GoldenTile(picture, Mask(class_ids[0], scores[0], STRIDE_PX), None)


def test_peers_are_compared_with_ours_on_the_same_frames(small_bundle, tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    for number in range(2):
        picture = np.random.default_rng(number).integers(0, 256, (240, 240, 3), np.uint8)
        cv2.imwrite(str(frames / f"{number}.png"), picture)
    words = ("peers", frames, "--bundle", small_bundle, "--python", sys.executable, "--count", 2, "--rounds", 2)
    peers = ("--peer", "onnxruntime", "--peer", "sahi", "--cores", 1, "--backend", "onnxruntime")
    report = rows_of(*words, *peers, "--picture", tmp_path / "p.png")
    ours, whole, absent = report["rows"]
    assert (ours["name"], ours["ratio"], ours["rounds"]) == ("ours, onnxruntime", {"onnxruntime": 1.0}, 2)
    assert (whole["name"], whole["core_differ"], whole["seam_differ"]) == ("ONNX Runtime, whole", 0, 0)
    assert (ours["core_differ"], ours["seam_differ"]) == (0, 0)
    assert "No module named 'sahi'" in absent["failed"]
    assert ours["f_score"] is None
    assert report["conditions"]["UNet 64-512"] == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("pipeline", "--bundle", "gone"), "gone"),
        (("pipeline", "--backend", "abacus"), "backend 'abacus' with 1 workers"),
        (("start", "--other", "opt_models/pcb-template/3"), "take no template"),
        (("start", "--bundle", "gone"), "gone"),
        (("memory", "--bundle", "gone"), "gone"),
        (("limit", "--bundle", "gone"), "gone"),
        (("peers", "--peer", "abacus"), "peer 'abacus': known are"),
        (("peers", "--python", "gone"), "make bench-peers"),
        (("scaling", "--backend", "abacus", "--side", "64"), "backend 'abacus' with 1 workers"),
    ],
)
def test_a_wrong_input_is_one_line(words, message):
    done = bench(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
