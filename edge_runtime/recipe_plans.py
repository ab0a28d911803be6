"""What the recipes mean to each process that needs them: templates, predictors with their gates, drawings, names.

What is heavy is imported inside the functions, so that each process loads only what it owns.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.config import Settings
from edge_runtime.process_table import MEASURE_SHARE
from edge_runtime.processes import parent_age_s
from edge_runtime.recipe_table import digest_of, read_manifest

if TYPE_CHECKING:
    from edge_runtime.inference.bundle import Bundle
    from edge_runtime.interfaces import Segmenter
    from edge_runtime.runtime.capture import CapturePlan
    from edge_runtime.runtime.inspection import InspectionPlan
    from edge_runtime.runtime.picture_saver import DrawingPlan
    from edge_runtime.runtime.tile_gate import TileGate

MAX_TOLD_CHARS = 1000


def capture_plan(settings: Settings) -> CapturePlan:
    """The templates, read from their files, and the digests of the recipes that have one. Raises ConfigError."""
    from edge_runtime.pictures import read_grey_picture
    from edge_runtime.runtime.capture import CapturePlan

    digests, templates = {}, {}
    for number, entry in settings.numbered_recipes.items():
        if entry.recipe.template is not None:
            templates[number] = read_grey_picture(entry.recipe.template)
            digests[number] = digest_of(entry.recipe, read_manifest(entry.bundle)[1])
    return CapturePlan(digests, templates)


def inspection_plans(settings: Settings) -> tuple[dict[int, InspectionPlan], str]:
    """Each recipe's plan by its number, its predictor proved; and what runs the models, for people."""
    from edge_runtime.runtime.inspection import InspectionPlan

    bundles = _load_bundles(settings)
    gates = {folder: _proved_gate(settings, bundle) for folder, bundle in bundles.items()}
    segmenters, engines = _open_segmenters(settings, bundles)
    plans = {}
    for number, entry in settings.numbered_recipes.items():
        bundle, recipe = bundles[entry.bundle], entry.recipe
        means = segmenters[number], bundle.classes, recipe.value(), bundle.model_id
        digest, engine, gate = digest_of(recipe, bundle.model_id), engines[entry.bundle], gates[entry.bundle]
        plans[number] = InspectionPlan(*means, digest, engine, gate)
    return plans, _engines_told(settings, bundles)


def drawings(settings: Settings) -> dict[str, DrawingPlan]:
    """How the office draws defects, by the digest of the recipe that found them."""
    from edge_runtime.runtime.picture_saver import DrawingPlan

    plans, bundles = {}, _load_bundles(settings)
    for each in settings.numbered_recipes.values():
        bundle = bundles[each.bundle]
        plan = DrawingPlan(bundle.classes, each.recipe.value(), bundle.mask_stride_px)
        plans[digest_of(each.recipe, bundle.model_id)] = plan
    return plans


def class_names(settings: Settings) -> dict[str, dict[int, str]]:
    """The names of the models' classes, by model name and version."""
    manifests = [read_manifest(entry.bundle)[0] for entry in settings.numbered_recipes.values()]
    return {f"{each.name}/{each.version}": each.class_names() for each in manifests}


def _load_bundles(settings: Settings) -> dict[Path, Bundle]:
    """Each bundle that a recipe needs, once, by its folder as the settings name it; recipes are checked against it."""
    from edge_runtime.inference.bundle import load_bundle
    from edge_runtime.vision.recipe_fit import check_recipe

    entries = settings.numbered_recipes.values()
    bundles = {folder: load_bundle(folder) for folder in {entry.bundle for entry in entries}}
    for entry in entries:
        check_recipe(entry.recipe.value(), {each.class_id: each.name for each in bundles[entry.bundle].classes})
    return bundles


def _proved_gate(settings: Settings, bundle: Bundle) -> TileGate | None:
    """The bundle's gate, if it has one that is wanted. Raises BundleError for one that fails the golden tiles."""
    from edge_runtime.inference.proof import check_gate
    from edge_runtime.runtime.tile_gate import TileGate

    if bundle.gate is None or settings.inspection.gate == "off":
        return None
    check_gate(bundle)
    return TileGate(bundle.gate, settings.inspection.gate_audit_every)


def _open_segmenters(settings: Settings, bundles: dict[Path, Bundle]) -> tuple[dict[int, Segmenter], dict[Path, str]]:
    """The predictors by the numbers of their recipes, each after it has passed the golden tiles; each bundle's engine.

    Their tiles suit the camera's largest picture; another one is covered by the same tiles.
    """
    from edge_runtime.fastest_engine import Store, Use, open_proved

    inspection = settings.inspection
    start_s = inspection.start_timeout_ms / 1000
    store = Store(settings.station.data_dir, MEASURE_SHARE * start_s / len(bundles), parent_age_s() < start_s)
    opened: dict[int, Segmenter] = {}
    engines = {}
    for folder, bundle in bundles.items():
        segmenters, engines[folder] = open_proved(inspection, bundle, Use.of(settings, folder), store)
        opened |= segmenters
    return opened, engines


def _engines_told(settings: Settings, bundles: dict[Path, Bundle]) -> str:
    """What runs each model and, where it was measured, what the others took."""
    from edge_runtime.fastest_engine import Use, told_engine

    inspection, data_dir = settings.inspection, settings.station.data_dir
    if inspection.backend != "auto":
        return inspection.backend
    told = (
        f"{each.model_id}, {told_engine(inspection, each, Use.of(settings, folder), data_dir)}"
        for folder, each in bundles.items()
    )
    return "; ".join(told)[:MAX_TOLD_CHARS]
