"""The command before it runs: it loads nothing that other commands of the tools do without."""

import subprocess
import sys
from pathlib import Path

import typer
from typer.testing import CliRunner

from tools.reinspection.command import reinspect

REPOSITORY = Path(__file__).parents[3]


def test_registering_the_command_loads_nothing_heavy():
    script = "import sys, tools.reinspection.command; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert {"numpy", "cv2", "pyarrow", "distributed", "paddle"} & set(loaded.stdout.split()) == set()


def test_the_help_names_what_a_cluster_needs():
    app = typer.Typer()
    app.command()(reinspect)
    told = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "400", "TERMINAL_WIDTH": "400"})
    assert told.exit_code == 0
    assert "same absolute path on every worker" in told.output
