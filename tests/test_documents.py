"""The documents stay true: links lead somewhere, settings load, sentences decode, named commands and files exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import tomli
import typer
from pydantic import TypeAdapter
from typer.testing import CliRunner

import edge_runtime.__main__
import tools.__main__
from edge_runtime.config import Settings, load_recipe, load_settings
from edge_runtime.protocol.sentence import Decoder
from edge_runtime.recipe_table import recipe_facts
from edge_runtime.runtime.health import BLINDING, Fault
from tools.benchmarks.page import filled
from tools.benchmarks.report import load

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")), *ROOT.glob("opt_models/*/*/README.md")]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.toml"))
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)")
OTHER_FILES = ("model_guide.md",)  # its blocks are recipes of `python -m tools recipe`
NAMES_OF_FILES = ("recipe", "recipes")  # these sections may name files that only an example would have
TOML_BLOCK = re.compile(r"^```toml\n(.*?)^```", re.DOTALL | re.MULTILINE)
SETTINGS = [
    pytest.param(text, id=f"{page.name}-{number}")
    for page in PAGES
    for number, text in enumerate(TOML_BLOCK.findall(page.read_text()), 1)
    if "[camera]" in text and "[inspection]" in text
]
PARTS_OF_SETTINGS = [
    pytest.param(section, value, id=f"{page.name}-{number}-{section}")
    for page in PAGES
    for number, text in enumerate(TOML_BLOCK.findall(page.read_text()), 1)
    for section, value in tomli.loads(text).items()
    if page.name not in OTHER_FILES and section not in NAMES_OF_FILES
]
SENTENCES = re.findall(r"^[→←] (\$[^*\n]+\*[0-9A-F]{2})", README.read_text(), re.MULTILINE)
COMMANDS = {
    (program, tuple(words.split()))
    for program, pattern in (
        ("edge_runtime", r"\bedge-runtime ((?:bundle )?[a-z][a-z-]+)"),
        ("tools", r"\bpython -m tools ((?:bench )?[a-z][a-z-]+)(?![\w./-])"),
    )
    for page in (README, *(ROOT / "docs").glob("*.md"))
    for words in re.findall(pattern, page.read_text())
}
APPS: dict[str, typer.Typer] = {"edge_runtime": edge_runtime.__main__.app, "tools": tools.__main__.build_app(None)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    targets = [target for target in LINK.findall(page.read_text()) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_every_example_loads(example: Path) -> None:
    if example.name.startswith("recipe"):
        assert load_recipe(example).value().name
    else:
        assert recipe_facts(load_settings(example))


def test_there_are_whole_settings_in_the_documents() -> None:
    assert SETTINGS


@pytest.mark.parametrize("text", SETTINGS)
def test_whole_settings_in_the_documents_load(text: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text)
    assert load_settings(file)


@pytest.mark.parametrize(("section", "value"), PARTS_OF_SETTINGS)
def test_parts_of_settings_in_the_documents_are_valid(section: str, value: object) -> None:
    annotation = Settings.model_fields[section].annotation
    assert annotation is not None
    TypeAdapter(annotation).validate_python(value)


def test_every_fault_is_on_the_protocol_page_with_its_state() -> None:
    page = (ROOT / "docs" / "serial_protocol.md").read_text()
    told = re.findall(r"^\| `(\w+)` \| `(fault|degraded)` \|", page, re.MULTILINE)
    assert dict(told) == {fault.value: "fault" if fault in BLINDING else "degraded" for fault in Fault}


def test_the_settings_reference_is_current() -> None:
    script = [sys.executable, str(ROOT / "scripts" / "settings-reference")]
    made = subprocess.run(script, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert made == (ROOT / "docs" / "settings.md").read_text()


def test_the_handshake_tables_are_current() -> None:
    script = [sys.executable, str(ROOT / "scripts" / "handshake-reference")]
    made = subprocess.run(script, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert made == (ROOT / "docs" / "handshake.md").read_text()


def test_the_register_map_is_current() -> None:
    script = [sys.executable, str(ROOT / "scripts" / "modbus-reference")]
    made = subprocess.run(script, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert made == (ROOT / "docs" / "modbus.md").read_text()


def test_the_figures_of_the_performance_page_are_those_of_the_results() -> None:
    page, results = ROOT / "docs" / "performance.md", ROOT / "docs" / "benchmarks"
    reports = {path.stem: load(path) for path in results.glob("*.json")}
    assert filled(page.read_text(), reports, results.name, page.name) == page.read_text()


def test_commands_of_both_programs_are_named() -> None:
    assert {program for program, _ in COMMANDS} == set(APPS)


@pytest.mark.parametrize(("program", "words"), sorted(COMMANDS), ids=lambda each: " ".join(each))
def test_every_command_named_exists(program: str, words: tuple[str, ...]) -> None:
    assert CliRunner().invoke(APPS[program], [*words, "--help"]).exit_code == 0


def test_the_sentences_in_the_readme_are_valid() -> None:
    data = "".join(f"{sentence}\r\n" for sentence in SENTENCES).encode("ascii")
    assert len(Decoder().feed(data)) == len(SENTENCES) > 3


def test_the_code_overview_names_every_file_of_the_daemon() -> None:
    overview = (ROOT / "docs" / "code_overview.md").read_text()
    files = [path for path in (ROOT / "edge_runtime").rglob("*.py") if path.name != "__init__.py"]
    assert files
    assert [str(path) for path in files if not re.search(rf"[`/]{path.stem}(\.py)?`", overview)] == []
