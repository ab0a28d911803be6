"""Recipes and models replaced while the line runs: no part is lost, each is judged by what its record says."""

from __future__ import annotations

import json
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_runtime.protocol.messages import Heartbeat, RecipeActive
from edge_runtime.values import Outcome
from tests.daemon.conftest import write_scripted

CLEAN, DEFECT = 60, 101
PASS, REJECT, NOT_INSPECTED = Outcome.PASS, Outcome.REJECT, Outcome.NOT_INSPECTED


def change(station: Any, *pairs: tuple[str, str]) -> None:
    """Replace text in the settings file, and have the daemon take it over."""
    path = station.folder / "config.toml"
    text = path.read_text()
    for before, after in pairs:
        assert before in text
        text = text.replace(before, after)
    path.write_text(text)
    station.process.send_signal(signal.SIGHUP)


def await_echo(station: Any, earlier: int) -> RecipeActive:
    """The controller hears which recipe, template and model the next part gets."""
    station.until(lambda: len(echoes(station)) > earlier)
    return echoes(station)[-1]


def echoes(station: Any) -> list[RecipeActive]:
    return [message for message in station.heard if isinstance(message, RecipeActive)]


def snapshot(station: Any) -> dict[str, Any]:
    try:
        return json.loads((station.folder / "data" / "snapshot.json").read_text())
    except FileNotFoundError:
        return {}


def told(station: Any) -> str:
    return snapshot(station).get("takeover", "")


@pytest.fixture
def second_bundle(tmp_path: Path) -> Path:
    """Another model: other classes' thresholds would do, its version is enough."""
    return write_scripted(tmp_path / "second" / "1", takes_template=False, version="2")


def test_under_load_no_part_is_lost_and_each_is_judged_by_the_model_its_record_names(
    start_station: Any, second_bundle: Path, scripted_bundle: Path
) -> None:
    station = start_station({"1": CLEAN})
    station.wait_until_ready()
    digests, triggered = [await_echo(station, 0).digest], 0
    for before, after in pairwise([scripted_bundle, second_bundle, scripted_bundle]):
        earlier = len(echoes(station))
        change(station, (str(before), str(after)))
        while len(echoes(station)) == earlier:
            triggered += trigger_two(station, triggered)
        digests.append(echoes(station)[-1].digest)
        triggered += trigger_two(station, triggered)
    assert station.stop() == 0
    records = station.records()
    assert [record.line_seqno for record in records] == list(range(triggered))
    assert [record.verdict.reasons for record in records if record.verdict.outcome is not PASS] == []
    assert digests[0] == digests[2] != digests[1]
    models = {record.recipe_digest: record.verdict.model_id.partition("@")[0] for record in records}
    assert models == {digests[0]: "scripted/1", digests[1]: "scripted/2"}
    changes = sum(one.recipe_digest != other.recipe_digest for one, other in pairwise(records))
    assert changes == 2, "once to the new model and once back"
    states = {message.state for message in station.heard if isinstance(message, Heartbeat)}
    assert states <= {"starting", "ready", "inspecting", "stopping"}


def trigger_two(station: Any, seqno: int) -> int:
    """Two parts that are under way together."""
    for each in (seqno, seqno + 1):
        station.trigger(each)
    station.until(lambda: len(station.results) == seqno + 2)
    return 2


def test_other_recipes_and_templates_are_taken_over_and_the_office_draws_them(
    start_station: Any, template_bundle: Path, tmp_path: Path
) -> None:
    good, worse = np.full((256, 256), CLEAN, np.uint8), np.full((256, 256), CLEAN, np.uint8)
    worse[100:140, 60:90] = DEFECT
    cv2.imwrite(str(tmp_path / "good.png"), good)
    cv2.imwrite(str(tmp_path / "worse.png"), worse)
    more = f'[recipe]\nname = "one"\ntemplate = "{tmp_path / "good.png"}"\n'
    station = start_station({"1": DEFECT}, more=more, bundle=template_bundle)
    station.wait_until_ready()
    station.trigger(0)
    station.until(lambda: len(station.results) == 1)
    earlier = len(echoes(station))
    change(station, ('name = "one"', 'name = "two"'), ("good.png", "worse.png"))
    assert await_echo(station, earlier).number == 1
    station.trigger(1)
    station.until(lambda: len(station.results) == 2)
    station.until(lambda: told(station).startswith("taken over in"))
    assert (snapshot(station)["recipe_id"], snapshot(station)["engines"]) == ("two", "scripted")
    assert station.stop() == 0
    first, second = station.records()
    assert (first.verdict.recipe_id, first.verdict.outcome) == ("one", REJECT)
    assert (second.verdict.recipe_id, second.verdict.outcome) == ("two", PASS)


@pytest.mark.parametrize("fault", ["damaged", "not there", "no recipe for it", "another key", "not TOML"])
def test_what_cannot_be_taken_over_leaves_the_old_one_working_and_says_why(
    start_station: Any, second_bundle: Path, scripted_bundle: Path, fault: str
) -> None:
    station = start_station({"1": DEFECT})
    station.wait_until_ready()
    pairs, reason = {
        "damaged": ((str(scripted_bundle), str(second_bundle)), "sha256"),
        "not there": ((str(scripted_bundle), "/nowhere"), "/nowhere"),
        "no recipe for it": (("[recipe]", "[recipe]\nrules.unheard_of.max_count = 1"), "unheard_of"),
        "another key": (("deadline_ms = 20000", "deadline_ms = 19000"), "line: that needs a restart"),
        "not TOML": (("[recipe]", "[recipe"), "config.toml"),
    }[fault]
    if "[recipe]" in pairs[0]:
        path = station.folder / "config.toml"
        path.write_text(path.read_text() + "[recipe]\n")
    if fault == "damaged":
        (second_bundle / "golden" / "0_picture.png").write_bytes(
            b"x" * (second_bundle / "golden" / "0_picture.png").stat().st_size
        )
    earlier = len(echoes(station))
    change(station, pairs)
    station.until(lambda: told(station).startswith("refused"))
    assert reason in told(station)
    assert "nothing is taken over, the old recipes and models stay in service" in station.log
    station.trigger(0)
    station.until(lambda: len(station.results) == 1)
    assert station.results[0].outcome is REJECT
    assert len(echoes(station)) == earlier
    assert station.stop() == 0
    assert {record.verdict.model_id.partition("@")[0] for record in station.records()} == {"scripted/1"}


def test_a_worker_killed_after_a_take_over_comes_back_with_the_new_model(
    start_station: Any, second_bundle: Path, scripted_bundle: Path
) -> None:
    station = start_station({"1": DEFECT})
    station.wait_until_ready()
    earlier = len(echoes(station))
    change(station, (str(scripted_bundle), str(second_bundle)))
    await_echo(station, earlier)
    station.until(lambda: len(station.children("inspection")) == 2)
    for child in [child for role in ("inspection", "capture", "office") for child in station.children(role)]:
        child.kill()
    names = ("inspection-0", "inspection-1", "capture", "office")
    station.until(lambda: all(f"{name} ended with SIGKILL" in station.log for name in names))
    station.until(lambda: all(station.log.count(f"{name} is ready (process") == 2 for name in names))
    station.wait_until_ready()
    station.trigger(0)
    station.until(lambda: len(station.results) == 1)
    assert station.stop() == 0
    (record,) = station.records()
    assert (record.verdict.outcome, record.verdict.model_id.partition("@")[0]) == (REJECT, "scripted/2")


def test_another_number_of_workers_is_taken_over_too(start_station: Any) -> None:
    station = start_station({"1": DEFECT})
    station.wait_until_ready()
    earlier = len(echoes(station))
    change(station, ("workers = 2", "workers = 3"))
    await_echo(station, earlier)
    station.until(lambda: len(station.children("inspection")) == 3)
    station.trigger(0)
    station.until(lambda: len(station.results) == 1)
    assert station.results[0].outcome is REJECT
    assert station.stop() == 0
