"""Each benchmark on a toy size: the figures are there, and they fit each other."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
    assert [(row["side_px"], row["workers"], row["tiles"]) for row in report["rows"]] == [(256, 1, 1), (640, 1, 4)]
    most, least = (f(row["ms_per_megapixel"] for row in report["rows"]) for f in (max, min))
    assert report["summary"]["flatness"] == {"1": pytest.approx(most / least, rel=0.01)}


def test_start_tells_ready_each_child_each_step_and_a_change_of_model():
    other = ROOT / "opt_models" / "pcb-unet" / "3"
    report = rows_of("start", "--workers", 1, "--rounds", 1, "--other", other)
    (row,) = report["rows"]
    assert all(0 < row[f"{role}_ms"] <= row["ready_ms"] + 50 for role in ("guard", "office", "capture", "inspection"))
    steps = report["summary"]["worker_ms"]
    assert list(steps) == ["interpreter", "imports", "bundle", "predictor", "golden tiles", "all"]
    assert sum(steps.values()) == pytest.approx(2 * steps["all"], abs=1)
    assert list(report["summary"]["switch_ms"]) == ["answer", "first part", "next part"]


def test_memory_tells_the_ring_apart():
    report = rows_of("memory", "--side", 256, "--side", 768, "--parts", 1, "--workers", 1)
    small, large = report["rows"]
    for row in (small, large):
        assert row["parts"] == row["slots"] + 1
        assert row["pss_mb"] == pytest.approx(row["ring_mb"] + row["rest_mb"], abs=0.2)
        roles = sum(row[f"{role}_mb"] for role in ("line", "guard", "office", "capture", "inspection"))
        assert roles == pytest.approx(row["rest_mb"], abs=0.5)
        assert 0 < row["uss_mb"] < row["pss_mb"]
    # Every slot holds the picture and two planes of a quarter of its pixels.
    for row in (small, large):
        assert row["ring_mb"] == pytest.approx(row["slots"] * row["megapixels"] * 3.5, rel=0.25)
    assert report["summary"]["growth_mb_per_megapixel"]["frame ring"] > 10


def test_limit_compares_with_a_matrix_product():
    (row,) = rows_of("limit", "--rounds", 1)["rows"]
    assert row["gflops"] == pytest.approx(2 * row["gmacs"] / row["tile_ms"] * 1000, rel=0.02)
    assert row["share"] == pytest.approx(row["gflops"] / row["peak_gflops"], rel=0.02)
    assert 0 < row["share"] < 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("pipeline", "--bundle", "gone"), "gone"),
        (("pipeline", "--backend", "abacus"), "backend 'abacus' with 1 workers"),
        (("start", "--other", "opt_models/pcb-template/2"), "take no template"),
        (("start", "--bundle", "gone"), "gone"),
        (("memory", "--bundle", "gone"), "gone"),
        (("limit", "--bundle", "gone"), "gone"),
        (("scaling", "--backend", "abacus", "--side", "64"), "backend 'abacus' with 1 workers"),
    ],
)
def test_a_wrong_input_is_one_line(words, message):
    done = bench(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
