"""The command line: help without Paddle, and errors in one line."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools.__main__ import COMMANDS, main
from tools.errors import ToolError

ROOT = Path(__file__).parents[2]
WITHOUT_PADDLE = """
import sys
from importlib.abc import MetaPathFinder

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("paddle", "paddlelite", "torch"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from typer.testing import CliRunner
from tools.__main__ import COMMANDS, build_app

runner = CliRunner()
for words in ([], *([name] for name in COMMANDS)):
    done = runner.invoke(build_app(words[0] if words else None), [*words, "--help"])
    assert done.exit_code == 0, (words, done.output, done.exception)
    assert "Usage" in done.output, words
    missing = [name for name in COMMANDS if not words and name not in done.output]
    assert not missing, missing
"""


def tools(*words):
    command = [sys.executable, "-m", "tools", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_commands_help_works_without_paddle():
    command = [sys.executable, "-c", WITHOUT_PADDLE]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_help_names_every_command():
    done = tools("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert [name for name in COMMANDS if name not in done.stdout] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("gone.toml",), "gone.toml: No such file or directory; give a recipe"),
        (("train", "--out", "x", "--data", "gone"), "gone: no annotations.json"),
        (("export", "gone", "--out", "x"), "gone: No such file or directory; give a network.npz"),
        (("prune", "gone", "--out", "x", "--macs", "0.5"), "gone: No such file or directory; give a network.npz"),
        (("train", "--out", "gone", "--resume"), "gone/settings.json: no training run's settings"),
        (("train", "--out", "x", "--settings", "setup.cfg"), "setup.cfg: not TOML"),
        (("analyse", "README.md", "--out", "x"), "README.md: not a whole network file (no .npz file)"),
        (("bench", "limit", "--backend", "gone"), "backend 'gone' with 1 workers: backend: must be 'paddle_lite'"),
        (("synthesize", "--out", "README.md/x"), "README.md/x/image: Not a directory; check the path"),
    ],
)
def test_an_expected_error_is_one_line_and_exit_code_two(words, message):
    done = tools(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {message}"), done.stderr
    assert done.stderr.count("\n") == 1
    assert not (ROOT / "x").exists()


def test_an_unknown_command_or_option_is_told():
    assert tools("trian").returncode == 2
    done = tools("train", "--out", "x", "--datta", "y")
    assert done.returncode == 2
    assert "--datta" in done.stderr


def test_what_stands_in_brackets_is_told_too(monkeypatch, capsys):
    def fail(_):
        raise ToolError("pip install '.[tools]', or a [network] table")

    monkeypatch.setattr("tools.__main__.build_app", fail)
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err == "error: pip install '.[tools]', or a [network] table\n"
