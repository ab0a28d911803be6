"""The command line as a user meets it: real processes, real model, exit codes and printed text."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_runtime.commands.demo_report import read_records
from edge_runtime.values import Outcome
from edge_runtime.vision.boards import BoardStyle, paint_board

BUNDLE = Path(__file__).parents[2] / "opt_models" / "board-unet" / "3"
TILE_KEYS = {"tiles", "tiles_skipped", "tiles_audited", "tiles_missed", "tile_px", "engine"}
INSPECT_KEYS = {"picture", "outcome", "reasons", "defects", "ms"} | TILE_KEYS
DEFECT_KEYS = {"class", "class_id", "xyxy_px", "area_px", "area_mm2", "score"}

pytest.importorskip("paddlelite", reason="the Paddle Lite predictor is not installed")


def edge_runtime(*arguments: object, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_runtime", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three boards full of defects and an empty laminate."""
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(3):
        style = BoardStyle(clean_share=0.0, defects_mean=20.0)
        cv2.imwrite(str(folder / f"board-{index}.png"), paint_board(5, index, (600, 520), style).image)
    cv2.imwrite(str(folder / "empty.png"), np.full((512, 512, 3), 255, np.uint8))
    return folder


def inspect_json(*arguments: object) -> tuple[int, list[dict[str, Any]]]:
    done = edge_runtime("inspect", *arguments, "--bundle", BUNDLE, "--json")
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_inspect_prints_one_object_a_picture_and_says_reject_by_its_exit_code(pictures: Path, tmp_path: Path) -> None:
    code, lines = inspect_json(pictures, "--overlays", tmp_path / "overlays")
    assert code == 1
    assert [Path(line["picture"]).name for line in lines] == ["board-0.png", "board-1.png", "board-2.png", "empty.png"]
    for line in lines:
        assert set(line) == INSPECT_KEYS
        assert all(set(defect) == DEFECT_KEYS for defect in line["defects"])
        assert (line["outcome"] == "REJECT") == bool(line["reasons"])
        assert line["ms"]["frame"] > 0
    assert (lines[0]["tiles"], lines[0]["engine"]) == (4, "paddle_lite")
    assert lines[0]["outcome"] == "REJECT"
    overlay = cv2.imread(str(tmp_path / "overlays" / "board-0-overlay.jpg"))
    assert overlay.shape == (600, 520, 3)


def test_inspect_says_pass_by_its_exit_code(pictures: Path) -> None:
    code, lines = inspect_json(pictures / "empty.png")
    assert (code, [line["outcome"] for line in lines]) == (0, ["PASS"])


def test_the_worker_count_changes_nothing_but_the_time(pictures: Path) -> None:
    answers = []
    for workers in (1, 3):
        _, lines = inspect_json(pictures, "--workers", workers)
        answers.append([(line["picture"], line["outcome"], line["defects"], line["tiles"]) for line in lines])
    assert answers[0] == answers[1]


def test_a_broken_picture_is_trouble_and_does_not_stop_the_others(pictures: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes((pictures / "board-0.png").read_bytes()[:500])
    code, lines = inspect_json(broken, pictures / "empty.png")
    assert code == 2
    assert [line["outcome"] for line in lines] == ["NOT_INSPECTED", "PASS"]
    assert "broken.png" in lines[0]["reasons"][0]


def test_a_recipe_decides_what_rejects(pictures: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('name = "lenient"\n[default_rule]\nmax_count = 1000\n')
    code, lines = inspect_json(pictures, "--recipe", recipe)
    assert (code, {line["outcome"] for line in lines}) == (0, {"PASS"})
    assert lines[0]["defects"], "they are still reported"


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (("inspect", "nowhere.png"), "nowhere.png: no such file"),
        (("inspect", ".", "--bundle", "nowhere"), "no picture"),
        (("bundle", "verify", "nowhere"), "nowhere: no such folder"),
        (("bundle", "measure", "nowhere"), "nowhere: no such folder"),
        (("bundle", "verify", str(BUNDLE), "--backend", "auto"), "`edge-runtime bundle measure` tries all"),
        (("bundle", "verify", str(BUNDLE), "--backend", "onnx"), "backend: must be 'paddle_lite', 'onnxruntime',"),
        (("bundle", "verify", str(BUNDLE), "--target", "onnx"), "target 'onnx' is for another backend: paddle_lite"),
        (("check-config", "--config", "nowhere.toml"), "nowhere.toml: cannot be read"),
        (("run", "--config", "nowhere.toml"), "nowhere.toml: cannot be read"),
        (("make-safe", "--config", "nowhere.toml"), "nowhere.toml: cannot be read"),
        (("demo", "--bundle", "nowhere"), "nowhere: no such folder"),
    ],
)
def test_trouble_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...], fragment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = edge_runtime(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert fragment in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_bundle_verify_and_doctor_say_that_all_is_well() -> None:
    verified = edge_runtime("bundle", "verify", BUNDLE)
    assert (verified.returncode, verified.stderr) == (0, "")
    assert "golden/0" in verified.stdout
    assert "paddle_lite" in edge_runtime("doctor").stdout


def test_doctor_looks_for_a_chip_by_name_and_for_the_model_of_every_recipe(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        f'[camera]\ndriver = "synthetic"\n[inspection]\nbundle = "{BUNDLE}"\n[recipes.1.recipe]\nname = "a"\n'
        '[recipes.2]\nrecipe.name = "b"\nbundle = "absent"\n[gpio]\nchip = "gpiochip77"\n'
    )
    seen = edge_runtime("doctor", "--config", config)
    assert seen.returncode == 1
    text = " ".join(re.sub("│", " ", seen.stdout).split())
    assert "GPIO chip 'gpiochip77' not found" in text
    assert re.findall(r"\bmodel (ok|missing)", text) == ["ok", "missing"]


def test_doctor_looks_for_the_cameras_folder_and_shows_its_whole_path(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    pictures = tmp_path / "a-folder-whose-name-is-longer-than-a-line-of-the-table-has-room-for"
    config.write_text(f'[camera]\ndriver = "folder"\npath = "{pictures.name}"\n[inspection]\nbundle = "{BUNDLE}"\n')
    seen = edge_runtime("doctor", "--config", config)
    assert seen.returncode == 1
    text = re.sub(r"[│\s]", "", seen.stdout)
    assert f"cameramissing{pictures}:doesnotexist" in text
    pictures.mkdir()
    assert edge_runtime("doctor", "--config", config).returncode == 0


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_every_engine_gives_the_same_verdicts(pictures: Path, backend: str) -> None:
    pytest.importorskip(backend)
    told = [
        edge_runtime("inspect", pictures, "--bundle", BUNDLE, "--workers", 1, "--json", "--backend", each)
        for each in ("paddle_lite", backend)
    ]
    verdicts = [[json.loads(line) for line in each.stdout.splitlines()] for each in told]
    for engine, each in zip(("paddle_lite", backend), verdicts, strict=True):
        for finding in each:
            del finding["ms"]
            assert finding.pop("engine") == engine
    assert len(verdicts[0]) > 3
    assert verdicts[0] == verdicts[1]


def test_engines_are_measured_side_by_side() -> None:
    pytest.importorskip("onnxruntime")
    done = edge_runtime("bundle", "measure", BUNDLE)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split("│") for line in done.stdout.splitlines() if "model." in line]
    times = {row[1].strip(): float(row[3]) for row in rows}
    assert {"paddle_lite", "onnxruntime"} <= set(times)
    assert min(times.values()) > 0


def test_the_demo_runs_from_trigger_to_summary(tmp_path: Path) -> None:
    done = edge_runtime("demo", "--parts", 3, "--side-px", 512, "--bundle", BUNDLE, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every part has its verdict, the daemon stopped cleanly" in done.stdout
    assert "known defects found" in done.stdout
    for record in read_records(tmp_path / "out" / "data" / "records.sqlite"):
        assert record.engine == ("" if record.verdict.outcome is Outcome.NOT_INSPECTED else "paddle_lite")
    again = edge_runtime("demo", "--parts", 1, "--side-px", 512, "--bundle", BUNDLE, "--output", tmp_path)
    assert again.returncode == 2
    assert "is not empty and not the output of a demo" in again.stderr


def test_the_demo_inspects_the_users_own_pictures(pictures: Path, tmp_path: Path) -> None:
    done = edge_runtime("demo", "--pictures", pictures, "--bundle", BUNDLE, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4/4" in done.stdout
    assert "known defects found" not in done.stdout


def test_check_config_names_the_outputs_that_are_not_safe_without_power(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        f'[camera]\ndriver = "synthetic"\n[inspection]\nbundle = "{BUNDLE}"\n[gpio.outputs.ok]\nline = 1\n'
        "active_low = true\n[gpio.outputs.reject]\nline = 2\n[gpio.outputs.fault]\nline = 3\nactive_low = false\n"
    )
    checked = edge_runtime("check-config", "--config", config)
    assert checked.returncode == 0, checked.stderr
    assert "inverting board follows: ok, fault" in " ".join(re.sub("│", " ", checked.stdout).split())


def test_recipes_are_listed_and_checked_with_their_digests(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    other = BUNDLE.parents[1] / "pcb-unet" / "4"
    config.write_text(
        f'[camera]\ndriver = "synthetic"\n[inspection]\nbundle = "{BUNDLE}"\ntile_px_max = 300\n'
        f'[recipes.1.recipe]\nname = "board-a"\n[recipes.12]\nrecipe.name = "board-b"\nbundle = "{other}"\n'
    )
    listed, checked = edge_runtime("recipes", config), edge_runtime("check-config", "--config", config)
    assert (listed.returncode, checked.returncode) == (0, 0), listed.stderr + checked.stderr
    rows = [line.split("│")[1:5] for line in listed.stdout.splitlines() if "@" in line]
    assert [(row[0].strip(), row[1].strip()) for row in rows] == [("1", "board-a"), ("12", "board-b")]
    for row in rows:
        assert re.fullmatch("[0-9a-f]{8}", row[2].strip())
        assert f"digest {row[2].strip()}" in checked.stdout
    assert " ".join(re.sub("│", " ", checked.stdout).split()).count("none larger than 300 px") == 2
