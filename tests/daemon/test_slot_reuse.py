"""Slots used over and over by parts that differ in size, recipe and defects: each is judged as if it came alone."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_runtime.config_recipe import RecipeSettings
from edge_runtime.protocol.messages import RecipeRequest
from edge_runtime.values import DefectClass, Mask, Outcome
from edge_runtime.vision.blobs import find_defects
from tests.daemon.conftest import CLEAN, DEFECT, write_scripted

STRIDE_PX, PARTS = 2, 60
ZONES = {
    1: {},
    2: {"include": (((10, 10), (200, 20), (150, 180)), ((400, 300), (530, 320), (500, 500), (380, 510)))},
    3: {"ignore": (((0, 0), (330, 0), (330, 600), (0, 600)),)},
}
Boxes = set[tuple[int, int, int, int]]


def painted(rng: random.Random, sides_px: tuple[int, int]) -> np.ndarray:
    picture = np.full((*sides_px, 3), CLEAN, np.uint8)
    for _ in range(rng.choice([0, 0, 1, 2, 5])):
        y, x = rng.randrange(sides_px[0] - 8), rng.randrange(sides_px[1] - 8)
        picture[y : y + rng.randrange(4, 40), x : x + rng.randrange(4, 40)] = DEFECT
    return picture


def boxes_alone(picture: np.ndarray, recipe: int) -> Boxes:
    """What the scripted model's mask of the whole picture gives, in memory of its own."""
    marked = picture[:, :, 0] == DEFECT
    rows, columns = (side // STRIDE_PX for side in marked.shape)
    cells = marked.reshape(rows, STRIDE_PX, columns, STRIDE_PX).any(axis=(1, 3)).astype(np.uint8)
    classes = [DefectClass(1, "open", (0, 0, 255), 128)]
    settings = RecipeSettings(**ZONES[recipe]).value()
    found = find_defects(Mask(cells, cells * 255, STRIDE_PX), classes, settings, marked.shape)
    return {defect.xyxy_px for defect in found}


@pytest.mark.parametrize("gated", [False, True])
def test_each_part_is_judged_as_if_its_slot_had_never_been_used(
    start_station: Any, tmp_path: Path, gated: bool
) -> None:
    rng = random.Random(int(gated))
    template = tmp_path / "template.png"
    cv2.imwrite(str(template), np.full((540, 560), CLEAN, np.uint8))
    pictures = {}
    for n in range(40):
        sides_px = (540, 560) if gated else (2 * rng.randrange(100, 280), 2 * rng.randrange(100, 280))
        pictures[f"{n}.png"] = painted(rng, sides_px)
        cv2.imwrite(str(tmp_path / f"{n}.png"), pictures[f"{n}.png"])
    recipes = ""
    for number, zones in ZONES.items():
        lines = [f"{key} = {[list(map(list, polygon)) for polygon in value]}" for key, value in zones.items()]
        lines += [f'template = "{template}"'] if gated else []
        recipes += "\n".join([f"[recipes.{number}.recipe]", f'name = "r{number}"', *lines, ""])
    changes = {"bundle": write_scripted(tmp_path / "b" / "1", takes_template=True, gate_threshold=1.5)} if gated else {}
    files = [tmp_path / name for name in pictures]
    station = start_station({}, more=recipes, files=files, side_px=560, predict_ms=1, ring_slots=6, **changes)
    station.until(lambda: station.state == "fault")
    station.say(RecipeRequest(1))
    station.wait_until_ready()
    for n in range(PARTS):
        station.trigger(n)
        station.say(RecipeRequest(rng.choice([*ZONES])))
        station.until(lambda n=n: len(station.results) >= n - 1)  # two under way
    station.until(lambda: len(station.results) == PARTS)
    assert station.stop() == 0
    records = station.records()
    assert [record.line_seqno for record in records] == list(range(PARTS))
    assert gated == any(record.tiles.skipped for record in records)
    inspected = [record for record in records if record.verdict.outcome is not Outcome.NOT_INSPECTED]
    assert len(inspected) > PARTS // 2
    assert {record.verdict.reasons for record in records if record not in inspected} <= {("busy",)}
    for record in inspected:
        found = {defect.xyxy_px for defect in record.verdict.defects}
        assert found == boxes_alone(pictures[record.label], record.recipe_number), record
