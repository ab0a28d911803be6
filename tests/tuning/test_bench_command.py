"""`edge-runtime bench`, with and without `--tune`, as an integrator meets it: real processes, scripted predictor."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from edge_runtime.commands.bench import BenchOptions, subject_of
from edge_runtime.commands.daemon_watch import is_daemon
from edge_runtime.config import load_settings
from edge_runtime.vision.boards import paint_board

BUNDLE = Path(__file__).parents[2] / "opt_models" / "board-unet" / "3"
CONFIG = f"""\
[station]
data_dir = "data"
[camera]
driver = "synthetic"
width_px = 640     # four tiles
height_px = 640
[inspection]
bundle = "{BUNDLE}"
backend = "scripted"
scripted_predict_ms = 40
workers = 1        # to be tuned
[line]
deadline_ms = 400
"""


def bench(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Beside whatever daemons other tests run at the same time."""
    command = [sys.executable, "-m", "edge_runtime", "bench", "--force", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    return path


def test_bench_tells_times_cores_memory_and_the_reserve_before_the_deadline(config: Path) -> None:
    done = bench("--settings", config, "--seconds", 1, "--json", "--reserve", 0)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert (told["picture_px"], told["tiles"], told["workers"], told["threads"]) == ([640, 640], 4, 1, 1)
    assert 160 <= told["p50_ms"] <= told["p99_ms"] <= told["max_ms"]
    assert (told["tile_px"], told["tile_ms"] >= 40) == (512, True)
    assert told["frames"] >= 3
    assert 0 < told["cores_used"] <= told["cores"]
    assert told["memory_mb"] > 10
    assert {"temperature_c", "clock_mhz", "cooling"} <= set(told["begin"])
    deadline = told["deadline"]
    assert deadline["reserve_ms"] == pytest.approx(400 - 10 - told["p99_ms"], abs=0.01)
    assert deadline["holds"] == (deadline["reserve_ms"] > 0)


@pytest.mark.parametrize("spelt", ["dots", "link"])
@pytest.mark.parametrize("by", ["settings", "bundle"])
def test_a_bundle_is_known_to_its_recipes_however_its_folder_is_spelt(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelt: str, by: str
) -> None:
    monkeypatch.setenv("EDGE_RUNTIME_LOG", "WARNING")
    (tmp_path / "link").symlink_to(BUNDLE)
    folder = tmp_path / "link" if spelt == "link" else BUNDLE / ".." / BUNDLE.name
    config.write_text(CONFIG.replace(str(BUNDLE), str(folder)))
    settings, bundle = (config, None) if by == "settings" else (None, folder)
    options = BenchOptions(settings, bundle, "auto", "f32", None, None, None, None, reserve=0, force=True)
    assert list(subject_of(options).use.recipes) == [1]


def test_a_deadline_that_cannot_hold_is_exit_code_1(config: Path) -> None:
    config.write_text(CONFIG.replace("deadline_ms = 400", "deadline_ms = 120"))
    done = bench("-c", config, "--seconds", 1)
    assert done.returncode == 1
    assert "does not hold" in done.stdout


def test_bench_takes_a_bundle_a_size_and_pictures(config: Path, tmp_path: Path) -> None:
    done = bench("--bundle", BUNDLE, "--backend", "scripted", "--frame-size", "700x500", "--seconds", 1, "--json")
    told = json.loads(done.stdout)
    assert (told["picture_px"], told["workers"], told["deadline"]) == ([700, 500], 2, None)
    (tmp_path / "pictures").mkdir()
    for index in range(2):
        cv2.imwrite(str(tmp_path / f"pictures/{index}.png"), paint_board(3, index, (300, 400)).image)
    for where in (("-c", config), ("--bundle", BUNDLE, "--backend", "scripted")):
        done = bench(*where, "--pictures", tmp_path / "pictures", "--seconds", 1, "--json")
        assert json.loads(done.stdout)["picture_px"] == [400, 300]


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        ((), "name either --settings or --bundle"),
        (("-c", "CONFIG", "--bundle", BUNDLE), "name either --settings or --bundle"),
        (("-c", "CONFIG", "--frame-size", "2048"), "must be WIDTHxHEIGHT"),
        (("-c", "CONFIG", "--tune", "--workers", "3"), "--tune finds workers, threads and engine"),
        (("-c", "CONFIG", "--pictures", "."), "holds no picture"),
        (("-c", "nowhere.toml"), "nowhere.toml: cannot be read"),
        (("--bundle", "nowhere"), "nowhere: no such folder"),
    ],
)
def test_what_cannot_be_measured_is_told(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...], fragment: str
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    done = bench(*(config if each == "CONFIG" else each for each in arguments))
    assert done.returncode == 2
    assert fragment in " ".join(done.stderr.split())


def test_tune_writes_more_workers_and_larger_tiles_and_nothing_else(config: Path) -> None:
    """Four tiles of 40 ms asleep: two workers need half the time of one on any machine with two processors, and half of
    that with the one tile of 640 px, which takes no longer than a small one here."""
    before = config.read_text()
    done = bench("-c", config, "--tune", "--seconds", 6, "--warm-up", 0.2, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    inspection = load_settings(config).inspection
    assert inspection.workers == told["chosen"]["workers"] > 1
    assert told["chosen"]["median_ms"] < told["now"]["median_ms"]
    assert inspection.tile_px == told["chosen"]["tile_px"] == 640
    assert (told["chosen"]["tiles"], told["now"]["tiles"], told["now"]["side_px"]) == (1, 4, 512)
    assert all(standing["worker_mb"] > 1 for standing in told["races"]["tiles"])
    assert told["changes"]["workers"] == {"old": 1, "new": inspection.workers}
    assert Path(told["backup"]).read_text() == before
    lines = [
        line
        for line in config.read_text().splitlines()
        if not line.startswith(("workers", "cpu_", "threads", "tile_px"))
    ]
    assert lines == [line for line in before.splitlines() if not line.startswith("workers")]
    assert "# to be tuned" in config.read_text()


def test_a_dry_run_changes_no_file(config: Path) -> None:
    done = bench(
        "-c", config, "--tune", "--seconds", 2, "--warm-up", 0, "--dry-run", "--keep-tiles", "--goal", "throughput"
    )
    assert done.returncode == 0
    assert config.read_text() == CONFIG
    assert [file.name for file in config.parent.iterdir()] == ["config.toml"]
    assert "chosen scripted" in done.stdout


@pytest.mark.parametrize(
    ("words", "daemon"),
    [
        (["/opt/e/bin/python", "/opt/e/bin/edge-runtime", "run", "--config", "c.toml"], True),
        (["python3", "-m", "edge_runtime", "run", "-c", "c.toml"], True),
        (["python3", "/src/edge_runtime/__main__.py", "run"], True),
        (["python3", "-m", "edge_runtime", "bench", "run"], False),
        (["python3", "-m", "edge_runtime.child_program", "inspection", "3", "4"], False),
        (["vim", "edge-runtime"], False),
        ([], False),
    ],
)
def test_a_daemon_is_known_by_its_command_line(words: list[str], daemon: bool) -> None:
    assert is_daemon(words) is daemon
