"""The virtual box's parts that need no box: what would otherwise be noticed minutes after the start of a bench."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_runtime.config import load_settings
from tools.hil import image, station
from tools.hil.guest import agent, gpio
from tools.hil.report import NotPossible, carry_out, expect
from tools.hil.workshop import REPOSITORY, BenchError, built

TRACE = """# tracer: nop
    edge-runtime-197     [001] .....    14.905656: gpio_value: 504 set 0
    edge-runtime-197     [001] d..1.    14.906157: gpio_value: 505 set 1
           tee-12        [000] .....    14.906200: gpio_value: 17 set 1
    edge-runtime-197     [000] .....    14.906300: gpio_value: 505 get 1
"""


def test_the_trace_is_read_call_by_call_for_the_chips_own_lines() -> None:
    assert gpio.parse(TRACE, {504: "OK", 505: "REJECT"}) == [
        (14_905_656_000, "OK", 0, 197),
        (14_906_157_000, "REJECT", 1, 197),
    ]


@pytest.mark.parametrize(("backend", "more"), [("scripted", ""), ("paddle_lite", ""), ("scripted", station.ENCODER)])
def test_the_daemon_accepts_the_boxs_settings(tmp_path: Path, backend: str, more: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(station.settings_text(backend, more=more))
    settings = load_settings(path)
    assert settings.gpio is not None
    assert {line.line for line in settings.gpio.outputs.values()} == station.SAFE_LEVELS.keys()


def test_everything_that_goes_into_the_box_is_there() -> None:
    assert [source for source in image.FILES if not (REPOSITORY / source).exists()] == []


def test_the_agent_answers_a_call_that_goes_wrong_with_its_traceback() -> None:
    assert agent.answer({"id": 1, "call": "box.shell", "with": {"command": "echo here; exit 3"}}) == {
        "id": 1,
        "answer": (3, "here\n"),
    }
    assert "no module 'os'" in agent.answer({"id": 2, "call": "os.getpid", "with": {}})["error"]
    assert "Traceback" in agent.answer({"id": 3, "call": "gpio.pull", "with": {}})["error"]


def test_a_build_that_broke_off_is_made_again(tmp_path: Path) -> None:
    target, made = tmp_path / "thing", []

    def build(path: Path) -> None:
        made.append(path)
        path.mkdir()
        expect(len(made) > 1, "broken off")

    with pytest.raises(BenchError, match="broken off"):
        built(target, "a", build)
    assert [built(target, key, build) for key in ("a", "a", "b")] == [target] * 3
    assert len(made) == 3


def test_a_check_passes_fails_or_cannot_be_made() -> None:
    def fail() -> str:
        raise BenchError("no pulse")

    def lack() -> str:
        raise NotPossible("no camera")

    findings = [carry_out("a check", check) for check in (lambda: "5 of 5", fail, lack)]
    assert [(each.result, each.figure) for each in findings] == [
        ("passed", "5 of 5"),
        ("failed", "no pulse"),
        ("not possible", "no camera"),
    ]
