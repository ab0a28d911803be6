"""The documents stay true: links lead somewhere, examples load, named commands exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from edge_runtime.config import load_recipe, load_settings

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.toml"))
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    targets = [target for target in LINK.findall(page.read_text()) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_every_example_loads(example: Path) -> None:
    if example.name.startswith("recipe"):
        assert load_recipe(example).value().name
    else:
        assert (load_settings(example).inspection.bundle / "manifest.json").exists()


def test_the_settings_reference_is_current() -> None:
    script = [sys.executable, str(ROOT / "scripts" / "settings-reference")]
    made = subprocess.run(script, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert made == (ROOT / "docs" / "settings.md").read_text()


@pytest.mark.parametrize("program", ["edge_runtime", "tools"])
def test_every_command_in_the_readme_exists(program: str) -> None:
    pattern = r"edge-runtime ([a-z][a-z-]+)" if program == "edge_runtime" else r"python -m tools ([a-z]+)"
    named = set(re.findall(pattern, (ROOT / "README.md").read_text()))
    shown = subprocess.run([sys.executable, "-m", program, "--help"], capture_output=True, text=True, check=True).stdout
    assert named
    assert {command for command in named if not re.search(rf"\b{command}\b", shown)} == set()
