"""zlib and OpenCV keep working in every process that loads Paddle."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tools

FOLDER = Path(tools.__file__).parent
MODULES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in ("__init__", "__main__"))
CHECK = """
import importlib, sys
importlib.import_module(sys.argv[1])
import tools.paddle_first
import zlib, cv2, numpy as np
assert zlib.decompress(zlib.compress(b"edge" * 1000)) == b"edge" * 1000
picture = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
decoded = cv2.imdecode(cv2.imencode(".png", picture)[1], cv2.IMREAD_GRAYSCALE)
assert (decoded == picture).all()
"""


def imported_names(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_paddle_comes_through_one_door():
    """The benchmarks' peers are left out: they run in an environment and processes of their own."""
    files = [path for path in FOLDER.rglob("*.py") if path.parent != FOLDER / "benchmarks" / "peer"]
    users = {path.stem for path in files if "paddle" in {name.split(".")[0] for name in imported_names(path)}}
    assert users == {"paddle_first"}


@pytest.mark.parametrize("module", ["tools.learner", "tools.export", "tools.paddle_first", "tools.__main__"])
def test_png_and_zlib_survive_paddle(module):
    done = subprocess.run([sys.executable, "-c", CHECK, module], cwd=FOLDER.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_command_line_loads_no_paddle_until_a_command_runs():
    code = "import sys, tools.__main__; sys.exit(any(name.startswith('paddle') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=FOLDER.parent).returncode == 0
