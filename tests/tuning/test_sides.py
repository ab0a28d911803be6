"""Which sides of tiles a tune tries beside the one that the settings take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edge_runtime.commands.inspect import pool_settings
from edge_runtime.config_recipe import RecipeSettings
from edge_runtime.inference.bundle import load_bundle
from edge_runtime.tuning.setups import Engine, Setup
from edge_runtime.tuning.sides import Work
from edge_runtime.values import Recipe

BUNDLE = load_bundle(Path(__file__).parents[2] / "opt_models" / "board-unet" / "3")
SETTINGS = pool_settings(BUNDLE.folder, RecipeSettings(), 2, image_hw=(2048, 2048))
CORNER = Recipe("corner", include=(((0.0, 0.0), (300.0, 0.0), (300.0, 300.0)),))
ONNX = Setup(Engine("onnxruntime", "onnx"), 2, 1)


def sides(setup: Setup, *recipes: Recipe) -> list[int | None]:
    work = Work(SETTINGS, [(BUNDLE, recipe) for recipe in recipes or (Recipe("whole"),)])
    return [each.tile_px for each in work.other_sides(setup)]


def test_the_best_for_each_number_of_tiles_is_tried_but_what_must_be_far_slower() -> None:
    assert sides(ONNX) == [768, 608, 512]
    assert Work(SETTINGS, [(BUNDLE, Recipe("whole"))]).tiles(replace(ONNX, tile_px=608)).count == 16


@pytest.mark.parametrize(
    ("tile_px", "others"), [(512, [None, 768, 608]), (1088, [768, 608, 512]), (400, [None, 768, 608])]
)
def test_a_side_that_is_set_may_be_given_up_for_the_automatic_one(tile_px: int, others: list[int | None]) -> None:
    assert sides(replace(ONNX, tile_px=tile_px)) == others


def test_recipes_that_want_different_sides_keep_them() -> None:
    assert sides(ONNX, Recipe("whole"), CORNER) == []
    assert sides(ONNX, Recipe("whole"), Recipe("whole, too")) == [768, 608, 512]


def test_a_network_of_one_side_has_no_other() -> None:
    (artefact, *_) = (each for each in BUNDLE.manifest.artefacts if each.target == "onnx")
    single = artefact.model_copy(update={"tile_range_px": None})
    bundle = replace(BUNDLE, manifest=BUNDLE.manifest.model_copy(update={"artefacts": (single,)}))
    assert Work(SETTINGS, [(bundle, Recipe("whole"))]).other_sides(ONNX) == []
