"""The command itself: a short run with faults in which nothing goes wrong, and lines set up wrongly that it finds."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from edge_runtime.commands.simulate import TOO_LATE_MS, mode_of
from edge_runtime.simulation.daemon_settings import fitting_settings
from edge_runtime.simulation.faults import named_faults
from edge_runtime.simulation.plan import RunWish
from edge_runtime.simulation.toml_text import to_toml

RATE_HZ, SPEED_MM_S = 8, 1000
LINE = ["--rate", str(RATE_HZ), "--speed", str(SPEED_MM_S), "--eye-to-ejector", "500", "--pulses-per-mm", "0.1"]
MINIMAL = {"camera": {"driver": "synthetic"}, "inspection": {"bundle": "none"}}


def simulate(*words: str) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "edge_runtime", "simulate", *LINE, *words, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def simulate_well(kept: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """A run of a machine that is in time; again, at most twice, when the simulated machine itself was late.

    A computer that is too busy to play the machine proves nothing about the daemon: the test is skipped.
    """
    for attempt in ("first", "second", "third"):
        code, findings = simulate(*words, "--keep", str(kept / attempt))
        if not code or findings["machine_late_ms"] <= TOO_LATE_MS:
            return code, findings
    pytest.skip(f"the simulated machine was {findings['machine_late_ms']:.0f} ms late: this computer is too busy")


def settings_file(folder: Path, mode: str, **ejection: object) -> Path:
    wish = RunWish(20, RATE_HZ, SPEED_MM_S, 500, 0.1, 0.3, named_faults("none"), 1)
    sections = MINIMAL | fitting_settings(wish, mode, "gpio")
    sections["ejection"] |= ejection
    sections["serial"]["port"] = "/dev/null"
    (folder / "config.toml").write_text(to_toml(sections))
    return folder / "config.toml"


def test_a_run_with_faults_lets_no_defective_part_through_and_throws_out_no_good_one(tmp_path):
    faults = ["doubled_edge", "lost_edge", "worker_kill", "daemon_kill"]
    words = ["--parts", "160", "--faults", ",".join(faults), "--defects", "0.3"]
    code, findings = simulate_well(tmp_path, *words)
    assert (code, findings["problems"], findings["wrong_parts"]) == (0, [], [])
    assert findings["parts"] == 160
    assert findings["ejected_right"] == findings["defective"] > 15
    assert findings["passed"] > 30
    assert all(findings["by_fault"][fault]["times"] >= 1 for fault in faults)
    assert findings["daemon_starts"] == 1 + findings["by_fault"]["daemon_kill"]["times"]
    assert findings["by_fault"]["healthy"]["not_inspected"] == 0
    assert findings["latency_ms"]["p50"] > 0
    assert list(tmp_path.glob("*/daemon.log"))


def test_the_ejector_a_part_too_late_is_found(tmp_path):
    file = settings_file(tmp_path, "delay", delay_ms=500 + 1000 / RATE_HZ)
    words = ["--parts", "20", "--faults", "none", "--defects", "0.3", "--settings", str(file)]
    code, findings = simulate_well(tmp_path, *words)
    assert code == 1
    assert findings["missed"] > 0
    assert findings["ejected_wrong"] > 0
    assert 0 < findings["missed_by_ms"] < 1000 / RATE_HZ


def test_settings_say_which_faults_their_line_can_have_and_where_eyes_are(tmp_path):
    file = settings_file(tmp_path, "delay")
    assert mode_of(file, "encoder") == "delay"
    assert mode_of(None, "encoder") == "encoder"
    command = [sys.executable, "-m", "edge_runtime", "simulate", *LINE, "--settings", str(file), "--faults", "none"]
    done = subprocess.run([*command, "--second-eye", "400"], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "--second-eye: " in done.stderr) == (2, True)
    file.write_text(file.read_text().replace("delay_ms", "eye_ms = 400\neye_tolerance_ms = 20\ndelay_ms"))
    file.write_text(file.read_text() + "\n[gpio.inputs.eye]\nline = 20\n")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "say by --second-eye" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--faults", "earthquake"], "no fault earthquake"),
        (["--parts", "10"], "take more --parts"),
        (["--faults", "none", "--second-eye", "900"], "--second-eye 900 must be less than --eye-to-ejector 500"),
        (["--faults", "none", "--eye-to-ejector", "1"], "less than half the distance of two parts"),
        (["--faults", "none", "--keep", "/proc/none"], "/proc/none: No such file or directory; choose another folder"),
        (["--faults", "none", "--keep", __file__], "choose another folder for --keep"),
    ],
)
def test_what_cannot_be_simulated_is_refused_at_once(words, said):
    command = [sys.executable, "-m", "edge_runtime", "simulate", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert said in done.stderr


def test_settings_without_an_ejector_are_refused(tmp_path):
    (tmp_path / "config.toml").write_text(to_toml(MINIMAL))
    command = [sys.executable, "-m", "edge_runtime", "simulate", "--faults", "none", "--settings"]
    command.append(str(tmp_path / "config.toml"))
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "free_run" in done.stderr) == (2, True)


def test_triggers_by_wire_and_a_second_photo_eye_that_knows_of_parts_that_slip_are_taken_or_laid(tmp_path):
    words = ["--parts", "40", "--faults", "part_slips,part_taken,part_laid", "--second-eye", "350"]
    code, findings = simulate_well(tmp_path, *words, "--mode", "delay", "--trigger", "serial")
    assert (code, findings["problems"], findings["wrong_parts"]) == (0, [], [])
    assert findings["parts"] == 40 + findings["by_fault"]["part_laid"]["times"]
    assert findings["taken_away"] == findings["by_fault"]["part_taken"]["times"]


def test_a_simulation_that_is_killed_leaves_no_daemon_behind(tmp_path):
    command = [
        sys.executable,
        "-m",
        "edge_runtime",
        "simulate",
        *LINE,
        "--faults",
        "none",
        "--keep",
        str(tmp_path / "k"),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        wait_for(lambda: (tmp_path / "k" / "belt.json").exists())
        assert daemons_of(tmp_path)
        process.kill()
    wait_for(lambda: not daemons_of(tmp_path))


def daemons_of(folder: Path) -> list[psutil.Process]:
    lines = [(each, each.info["cmdline"] or []) for each in psutil.process_iter(["cmdline"])]
    return [process for process, words in lines if "run" in words and str(folder / "k" / "config.toml") in words]


def wait_for(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.05)
