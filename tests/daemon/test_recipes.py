"""Recipes changed while the line runs: each part by the one that the controller was told, over all restarts."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_runtime.interfaces import Input
from edge_runtime.protocol.messages import (
    Down,
    FaultChanged,
    Message,
    RecipeActive,
    RecipeQuery,
    RecipeRequest,
    Refused,
    TriggerAccepted,
)
from edge_runtime.signal_io.edge_feed import EdgeSender, FedEdge
from edge_runtime.values import Outcome
from edge_runtime.vision.boards import BoardStyle, paint_board
from tests.vision.codes import put, qr

MODELS = Path(__file__).parents[2] / "opt_models"
SIDE_PX, CLEAN, DEFECT = 256, 60, 101
REJECT, PASS, NOT_INSPECTED = Outcome.REJECT, Outcome.PASS, Outcome.NOT_INSPECTED


def numbered(folder: Path, template_bundle: Path) -> str:
    """Recipe 1 rejects any defect, 2 takes nine, 3 takes what its template shows, by another model."""
    template = np.full((256, 256), CLEAN, np.uint8)
    template[100:140, 60:90] = DEFECT
    cv2.imwrite(str(folder / "good.png"), template)
    (folder / "strict.toml").write_text('name = "strict"\n')
    return f"""
[recipes.1]
recipe = "{folder / "strict.toml"}"
[recipes.2.recipe]
name = "lenient"
default_rule.max_count = 9
[recipes.3]
bundle = "{template_bundle}"
recipe.name = "compared"
recipe.template = "{folder / "good.png"}"
"""


def active(station: Any) -> list[int]:
    return [message.number for message in station.heard if isinstance(message, RecipeActive)]


def select(station: Any, number: int) -> None:
    """Ask, and wait for the answer."""
    answers = len(active(station))
    station.say(RecipeRequest(number))
    station.until(lambda: len(active(station)) > answers and active(station)[-1] == number)


def told(heard: list[Message]) -> dict[int, int]:
    """The recipe of each part, by the order in which the controller heard of both."""
    current, recipes = 0, {}
    for message in heard:
        if isinstance(message, RecipeActive):
            current = message.number
        elif isinstance(message, TriggerAccepted):
            recipes[message.part_id] = current
    return recipes


def test_under_load_each_part_is_inspected_by_the_recipe_that_the_controller_was_told(
    start_station: Any, template_bundle: Path, tmp_path: Path
) -> None:
    station = start_station({"1": DEFECT}, more=numbered(tmp_path, template_bundle))
    station.until(lambda: station.state == "fault")
    assert FaultChanged("recipe", True) in station.heard, "three recipes, and none was ever selected"
    select(station, 1)
    station.until(lambda: station.state == "ready")
    for seqno, number in enumerate([1, 2, 3, 1, 9, 3, 2, 2, 1, 3] * 4):
        station.trigger(2 * seqno)
        station.say(RecipeRequest(number))
        station.trigger(2 * seqno + 1)
        if seqno in (13, 27):
            station.children("inspection")[0].kill()
        station.listen(0.01)
    station.until(lambda: len(station.results) == 80)
    station.say(RecipeQuery())
    station.until(lambda: active(station)[-1] == 3)
    assert station.stop() == 0
    recipes, records = told(station.heard), station.records()
    assert {record.trigger.part_id: record.recipe_number for record in records} == recipes
    assert set(recipes.values()) == {1, 2, 3}
    by_recipe = {1: ("strict", REJECT), 2: ("lenient", PASS), 3: ("compared", PASS)}
    digests = {message.number: message.digest for message in station.heard if isinstance(message, RecipeActive)}
    for record in records:
        name, outcome = by_recipe[record.recipe_number]
        assert (record.verdict.recipe_id, record.recipe_digest) == (name, digests[record.recipe_number])
        assert record.verdict.outcome is outcome or record.verdict.reasons[0] in ("worker_lost", "busy")
    assert sum(Refused("unknown_recipe") == message for message in station.heard) == 4
    models = {(record.recipe_number, record.verdict.model_id.partition("@")[0]) for record in records}
    assert models == {(1, "scripted/1"), (2, "scripted/1"), (3, "scripted/1")}
    assert len({record.verdict.model_id for record in records}) == 2


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_the_selected_recipe_outlives_the_daemon_and_one_that_is_gone_is_a_fault(
    start_station: Any, relaunch: Any, template_bundle: Path, tmp_path: Path, how: str
) -> None:
    station = start_station({"1": DEFECT}, more=numbered(tmp_path, template_bundle))
    station.until(lambda: station.state == "fault")
    select(station, 1)
    select(station, 2)
    if how == "kill":
        station.process.send_signal(signal.SIGKILL)
        station.until(lambda: Down("line_died") in station.heard)
    else:
        assert station.stop() == 0
    again = relaunch(station)
    again.wait_until_ready()
    assert active(again) == [2]
    again.trigger(1)
    again.until(lambda: len(again.results) == 1)
    assert again.stop() == 0
    assert [(r.recipe_number, r.verdict.outcome) for r in again.records()] == [(2, PASS)]
    config = again.folder / "config.toml"
    config.write_text(config.read_text().replace("[recipes.2.recipe]", "[recipes.5.recipe]"))
    changed = relaunch(again)
    changed.until(lambda: changed.state == "fault" and active(changed) == [0])
    assert FaultChanged("recipe", True) in changed.heard
    changed.trigger(1)
    changed.until(lambda: len(changed.results) == 1)
    assert (changed.results[0].outcome, changed.results[0].reason) == (NOT_INSPECTED, "no_recipe")
    select(changed, 5)
    changed.until(lambda: FaultChanged("recipe", False) in changed.heard)
    changed.trigger(2)
    changed.until(lambda: len(changed.results) == 2)
    assert changed.results[1].outcome is PASS
    assert changed.stop() == 0


def test_the_code_in_each_picture_says_by_which_recipe(
    start_station: Any, template_bundle: Path, tmp_path: Path
) -> None:
    files = []
    for name, text in {"1": "B", "2": "A", "3": "X", "4": None, "5": "B"}.items():
        picture = np.full((256, 256, 3), CLEAN, np.uint8)
        picture[230:240, 60:90] = DEFECT
        if text:
            put(picture, qr(text), 60, 40)
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture)
        files.append(tmp_path / f"{name}.png")
    code = """
[recipe_code]
kind = "qr"
x_px = 50
y_px = 30
width_px = 160
height_px = 160
codes = { A = 1, B = 2 }
"""
    more = numbered(tmp_path, template_bundle) + code
    station = start_station({}, files=files, more=more)
    station.wait_until_ready()
    station.say(RecipeRequest(1))
    station.until(lambda: Refused("recipe_by_code") in station.heard)
    for seqno in range(5):
        station.trigger(seqno)
        station.until(lambda seqno=seqno: len(station.results) == seqno + 1)
    assert station.stop() == 0
    assert [(r.recipe_number, r.verdict.outcome, r.verdict.reasons) for r in station.records()] == [
        (2, PASS, ()),
        (1, REJECT, ("open: count 1 > 0",)),
        (0, NOT_INSPECTED, ("unknown_code",)),
        (0, NOT_INSPECTED, ("unreadable_code",)),
        (2, PASS, ()),
    ]
    assert active(station) == [0, 2, 1, 0, 2]
    assert all("code" in record.stage_ms for record in station.records())


def test_a_template_replaced_while_the_line_runs_is_never_used(
    start_station: Any, template_bundle: Path, tmp_path: Path
) -> None:
    station = start_station({"1": DEFECT}, more=numbered(tmp_path, template_bundle), restarts_max=3)
    station.until(lambda: station.state == "fault")
    select(station, 3)
    station.until(lambda: station.state == "ready")
    (tmp_path / "good.png").unlink()
    cv2.imwrite(str(tmp_path / "good.png"), np.full((256, 256), CLEAN, np.uint8))
    station.children("capture")[0].kill()
    station.until(lambda: "a bundle or template was replaced" in station.log)
    station.until(lambda: station.state == "fault")
    station.trigger(1)
    station.until(lambda: len(station.results) == 1)
    assert station.results[0].outcome is NOT_INSPECTED
    assert station.stop() == 0


def test_two_real_models_change_between_two_parts(start_station: Any, tmp_path: Path) -> None:
    pytest.importorskip("paddlelite", reason="the Paddle Lite predictor is not installed")
    for index in range(2):
        board = paint_board(5, index, (SIDE_PX, SIDE_PX), BoardStyle()).image
        cv2.imwrite(str(tmp_path / f"{index}.png"), board)
    more = f"""
[recipes.1.recipe]
name = "made-up"
[recipes.2]
bundle = "{MODELS / "pcb-unet" / "4"}"
recipe.name = "real"
"""
    changes = {"bundle": MODELS / "board-unet" / "3", "backend": "paddle_lite"}
    station = start_station({}, files=[tmp_path / "0.png", tmp_path / "1.png"], more=more, **changes)
    while not active(station):
        station.say(RecipeRequest(2))
        station.listen(0.05)
    assert Refused("starting") in station.heard, "before the office has said which recipe was selected"
    station.until(lambda: station.state in ("ready", "fault"))
    for seqno in range(6):  # as many as there are slots
        station.say(RecipeRequest(1 + seqno % 2))
        station.trigger(seqno)
    station.until(lambda: len(station.results) == 6)
    assert station.stop() == 0
    used = [(r.verdict.recipe_id, r.verdict.model_id.partition("@")[0]) for r in station.records()]
    assert used == [("made-up", "board-unet/3"), ("real", "pcb-unet/4")] * 3
    assert NOT_INSPECTED not in {record.verdict.outcome for record in station.records()}


def test_the_code_on_input_lines_selects_at_start_and_when_it_changes(start_station: Any, tmp_path: Path) -> None:
    more = """
[gpio.inputs.recipe_0]
line = 10
[gpio.inputs.recipe_1]
line = 11
[recipes.1.recipe]
name = "a"
[recipes.2.recipe]
name = "b"
"""
    feed = tmp_path / "station-0" / "feed"
    station = start_station({"1": CLEAN}, more=more, gpio_more=f'feed = "{feed}"')
    sender = EdgeSender(feed)

    def move(name: Input, level: bool) -> None:
        sender.send([FedEdge(name, time.monotonic_ns(), level)])
        station.until(lambda: (sender.send(), sender.pending)[1] == 0)

    station.until(lambda: FaultChanged("recipe", True) in station.heard)
    move(Input.RECIPE_1, True)
    station.until(lambda: active(station)[-1] == 2)
    station.until(lambda: FaultChanged("recipe", False) in station.heard)
    station.trigger(1)
    station.until(lambda: len(station.results) == 1)
    move(Input.RECIPE_0, True)  # on the way from 2 to 1, for a moment 3
    move(Input.RECIPE_1, False)
    station.until(lambda: active(station)[-1] == 1)
    move(Input.RECIPE_0, False)
    station.until(lambda: active(station)[-1] == 0)
    station.trigger(2)
    station.until(lambda: len(station.results) == 2)
    sender.close()
    assert station.stop() == 0
    assert [(r.recipe_number, r.verdict.outcome) for r in station.records()] == [(2, PASS), (0, NOT_INSPECTED)]
