"""Nothing is measured beside a daemon: its parts would be late."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest


@pytest.mark.parametrize("option", ["--tune", "--json"])
def test_bench_refuses_while_the_daemon_runs(start_station: Callable, option: str) -> None:
    station = start_station({"a": 60})
    station.wait_until_ready()
    config = station.folder / "config.toml"
    before = config.read_text()
    command = [sys.executable, "-m", "edge_runtime", "bench", "-c", str(config), option]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "error: the daemon runs on this device (process " in done.stderr
    assert str(station.process.pid) in done.stderr
    assert config.read_text() == before
    assert station.state in ("ready", "inspecting")
    assert station.stop() == 0
