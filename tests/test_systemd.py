"""The service unit as systemd itself reads it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[1] / "systemd" / "edge-runtime.service"
NOT_INSTALLED_HERE = "is not executable: No such file or directory"

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not on this machine")


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments, str(UNIT)], capture_output=True, text=True, check=False)


def test_the_unit_has_no_key_that_systemd_does_not_know() -> None:
    complaints = [line for line in analyze("verify").stderr.splitlines() if NOT_INSTALLED_HERE not in line]
    assert complaints == []


def test_the_unit_is_sandboxed() -> None:
    done = analyze("security", "--offline=yes", "--threshold=20", "--no-pager")
    assert done.returncode == 0, done.stdout[-2000:]


def test_the_service_is_watched_and_always_started_again() -> None:
    keys = dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if "=" in line and line[0] not in "#[")
    assert keys["Type"] == "notify"
    assert keys["Restart"] == "always"
    assert keys["StartLimitIntervalSec"] == "0"
    assert float(keys["WatchdogSec"]) > 0
    assert "make-safe" in keys["ExecStopPost"]
    assert keys["KillMode"] == "control-group", "mixed kills guard and office as soon as the line is dead"
