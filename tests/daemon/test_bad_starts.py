"""A start that cannot go well ends at once, with exit code 2 and one line that says what is wrong."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

CONFIG = """
[station]
data_dir = "data"
[camera]
driver = "synthetic"
width_px = {side_px}
height_px = {side_px}
[inspection]
bundle = "{bundle}"
backend = "scripted"
[line]
ring_slots = 20
"""


@pytest.fixture
def settings(tmp_path: Path, scripted_bundle: Path) -> Callable[..., Path]:
    def write(more: str = "", side_px: int = 256, bundle: Path = scripted_bundle) -> Path:
        path = tmp_path / "config.toml"
        path.write_text(CONFIG.format(bundle=bundle, side_px=side_px) + more)
        return path

    return write


def complaint(*words: object, memory_bytes: int | None = None) -> str:
    """What a command that must end with 2 says, in one line."""

    def limit() -> None:
        if memory_bytes is not None:
            resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))

    command = [sys.executable, "-m", "edge_runtime", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, preexec_fn=limit)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_rules_for_a_class_that_the_model_does_not_have(settings: Callable[..., Path]) -> None:
    said = complaint("run", "-c", settings("[recipe.rules.nonsense]\nmax_count = 1\n"))
    assert "rules for ['nonsense']" in said


@pytest.mark.parametrize("command", ["run", "check-config"])
def test_a_template_and_a_model_that_do_not_go_together(
    settings: Callable[..., Path], template_bundle: Path, command: str
) -> None:
    none_named = complaint(command, "-c", settings(bundle=template_bundle))
    assert 'the model compares with a defect-free picture; name it by template = "FILE"' in none_named
    not_there = complaint(command, "-c", settings('[recipe]\ntemplate = "good.png"\n', bundle=template_bundle))
    assert "good.png does not exist" in not_there
    not_wanted = complaint(command, "-c", settings('[recipe]\ntemplate = "good.png"\n'))
    assert "the model takes no template; remove that key" in not_wanted


@pytest.mark.parametrize(
    ("picture_hw", "problem"),
    [(None, "is not a picture this program reads"), ((256, 255), "is 255 x 256 px, the camera gives 256 x 256 px")],
)
def test_a_template_that_no_picture_can_be_compared_with(
    settings: Callable[..., Path], template_bundle: Path, picture_hw: tuple[int, int] | None, problem: str
) -> None:
    config = settings('[recipe]\ntemplate = "good.png"\n', bundle=template_bundle)
    template = config.with_name("good.png")
    if picture_hw is None:
        template.write_text("no picture")
    else:
        cv2.imwrite(str(template), np.zeros(picture_hw, np.uint8))
    assert f"{template} {problem}" in complaint("check-config", "-c", config)


def test_too_little_memory_for_the_pictures(settings: Callable[..., Path]) -> None:
    assert "line.ring_slots" in complaint("run", "-c", settings(side_px=8192), memory_bytes=3 << 30)


def test_a_recipe_too_large_for_a_message(settings: Callable[..., Path]) -> None:
    polygon = "[" + ",".join(f"[{x}.123456789012, {x * 7919 % 8000}.123456789012]" for x in range(1000)) + "]"
    said = complaint("run", "-c", settings(f"[recipe]\ninclude = [{','.join([polygon] * 10)}]\n"))
    assert "draw the polygons with fewer points" in said


def test_a_named_pipe_in_place_of_the_settings(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.toml")
    assert "named pipe" in complaint("check-config", "-c", tmp_path / "config.toml")
