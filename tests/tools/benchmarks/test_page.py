"""The page holds the last run's figures, and says where there is none."""

import pytest

from tools.benchmarks.layouts import LAYOUTS
from tools.benchmarks.page import NOT_MEASURED, filled, write_page
from tools.benchmarks.report import Clerk, save
from tools.errors import ToolError

PAGE = "# Figures\n" + "".join(f"## {name}\nprose\n<!-- bench {name} -->\nold\n<!-- end -->\n" for name in LAYOUTS)


@pytest.fixture
def limit():
    row = {"model": "m/1", "backend": "paddle_lite", "gflops": 50.0, "peak_gflops": 100.0, "share": 0.5}
    return Clerk("limit").report({"rounds": 3}, [row])


def test_a_block_gets_its_figures_and_the_others_say_that_they_have_none(limit):
    text = filled(PAGE, {"limit": limit}, "benchmarks", "p.md")
    assert "old" not in text
    assert text.count(NOT_MEASURED) == len(LAYOUTS) - 1
    assert text.count("prose") == len(LAYOUTS)
    assert "| m/1 | paddle_lite | 50.00 | 100 | 0.500 |" in text
    assert "![Share of the processor's arithmetic](benchmarks/limit.svg)" in text
    assert f"on {limit.machine}" in text
    assert filled(text, {"limit": limit}, "benchmarks", "p.md") == text


def test_what_was_not_measured_is_told_with_its_reason():
    rows = [{"name": "ours", "cores": 1, "frame_ms": 1.0}, {"name": "peer", "cores": 1, "failed": "not installed"}]
    text = filled(PAGE, {"peers": Clerk("peers").report({}, rows)}, "benchmarks", "p.md")
    assert "- peer, 1 cores, not measured: not installed\n" in text


@pytest.mark.parametrize("change", [("<!-- bench limit -->", ""), ("<!-- bench limit -->", "<!-- bench limits -->")])
def test_a_page_without_a_benchmarks_block_is_refused(change):
    with pytest.raises(ToolError, match=r"p\.md: each benchmark and result has a block .*limit"):
        filled(PAGE.replace(*change), {}, "benchmarks", "p.md")


def test_a_benchmark_may_be_run_on_something_else_too(limit):
    page = PAGE + "<!-- bench limit-template -->\nold\n<!-- end -->\n"
    text = filled(page, {"limit-template": limit}, "benchmarks", "p.md")
    assert "![Share of the processor's arithmetic](benchmarks/limit-template.svg)" in text
    with pytest.raises(ToolError, match="look at 'limit-template'"):
        filled(PAGE, {"limit-template": limit}, "benchmarks", "p.md")


def test_the_page_and_its_pictures_are_written_from_the_folder(limit, tmp_path):
    (tmp_path / "p.md").write_text(PAGE)
    save(tmp_path / "results" / "limit.json", limit)
    (tmp_path / "results" / "other.json").write_text("not ours")
    missing = write_page(tmp_path / "p.md", tmp_path / "results")
    assert missing == [name for name in LAYOUTS if name != "limit"]
    assert "(results/limit.svg)" in (tmp_path / "p.md").read_text()
    assert (tmp_path / "results" / "limit.svg").exists()
