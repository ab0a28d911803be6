"""One recipe from nothing to a bundle with the real commands, through a kill in the middle of the training."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from edge_runtime.inference.bundle import load_bundle
from edge_runtime.inference.paddle_lite import PaddleLiteSegmenter
from edge_runtime.inference.proof import verify_bundle
from tools.network_file import load_network

ROOT = Path(__file__).parents[2]
RECIPE = """
name = "tiny-chain"
out = "bundles"
work = "work"
terms = "terms.txt"
[[synthesize]]
out = "boards"
count = 9
side = 160
seed = 3
[[synthesize]]
out = "val"
count = 2
side = 160
seed = 4
[[data]]
folder = "boards"
[[validation]]
label = "boards"
folder = "val"
[network]
widths = [8, 16, 16]
depths = [0, 0, 1]
[train]
steps = 400
batch = 2
crop_px = 32
replicas = 1
loaders = 0
checkpoint_every = 5
validate_every = 400
[[prune]]
macs = 0.8
train = { steps = 4 }
[distill]
steps = 4
[quantize]
tiles = 8
tolerance = 1.0
[pack]
targets = ["x86"]
"""


def start(folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "tools", "recipe.toml"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(folder):
    process = start(folder)
    output, _ = process.communicate(timeout=900)
    return process.returncode, output


@pytest.mark.timeout(1200)
def test_a_recipe_ends_with_a_bundle_even_when_it_is_killed_on_the_way(tmp_path):
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "terms.txt").write_text("Made-up boards, free of terms.")
    killed, checkpoint = start(tmp_path), tmp_path / "work" / "train" / "checkpoint.npz"
    end_s = time.monotonic() + 120
    while not checkpoint.exists() and killed.poll() is None and time.monotonic() < end_s:
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    early, _ = killed.communicate()
    assert checkpoint.exists(), early
    assert not (tmp_path / "work" / "train" / "result.json").exists()

    code, output = run(tmp_path)
    assert code == 0, output
    assert output.count("done before") == 2
    rows = (tmp_path / "work" / "train" / "log.csv").read_text().splitlines()[1:]
    assert Counter(row.split(",")[0] for row in rows) == Counter(str(step) for step in range(10, 401, 10))

    bundle = tmp_path / "bundles" / "tiny-chain" / "1"
    assert verify_bundle(bundle, PaddleLiteSegmenter).model_id == load_bundle(bundle).model_id
    figures = load_bundle(bundle).manifest.figures
    assert figures.accuracy[0].data_set == "boards"
    unpruned, final = (load_network(tmp_path / "work" / name)[0] for name in ("train", "distill"))
    assert len(final.nodes) == len(unpruned.nodes)
    stages = json.loads((tmp_path / "work" / "compare" / "stages.json").read_text())["stages"]
    assert [row["stage"] for row in stages] == ["unpruned", "pruned", "distilled", "quantised, simulated"]
    assert stages[0]["macs_per_tile"] > stages[1]["macs_per_tile"] == figures.macs_per_tile

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    code, output = run(tmp_path)
    assert (code, output.count("done before")) == (0, 14), output
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before
