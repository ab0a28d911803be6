"""`diff`: what changes on the line when bundle B takes the place of bundle A."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.config import load_recipe
from edge_runtime.config_recipe import RecipeSettings
from edge_runtime.inference.bundle import Bundle, load_bundle
from edge_runtime.inference.manifest import Manifest
from edge_runtime.values import Defect, DefectClass, Mask, Recipe
from edge_runtime.vision.blobs import foreground_cells
from edge_runtime.vision.recipe_fit import check_recipe
from tools.dataset import Picture, check_pictures, load_dataset
from tools.errors import ToolError
from tools.evaluate import segment_labelled
from tools.evaluation.comparison import MaskComparison, Totals, compare_masks, total
from tools.evaluation.examine import ModelSpec, fitting_manifest, opened, spec_for
from tools.evaluation.processes import map_in_processes
from tools.predictors import PADDLE_LITE, Predictor

Value = float | int | str | bool


@dataclass(frozen=True)
class Fact:
    """One thing the manifests say; None where one of them does not say it."""

    group: str
    name: str
    a: Value | None
    b: Value | None

    @property
    def changed(self) -> bool:
        return self.a != self.b


@dataclass(frozen=True)
class BundleDiff:
    """Two bundles, picture by picture; `class_names` are by the class ids of the defects in `comparisons`."""

    a: Bundle
    b: Bundle
    recipe: Recipe
    facts: tuple[Fact, ...]
    class_names: dict[int, str]
    comparisons: dict[str, MaskComparison]

    @property
    def totals(self) -> Totals:
        return total(list(self.comparisons.values()))


def diff_bundles(
    folder_a: Path,
    folder_b: Path,
    data: Path,
    recipe_file: Path | None,
    workers: int,
    advance: Callable[[int, int], None] = lambda done, total: None,
    predictors: tuple[Predictor, Predictor] = (PADDLE_LITE, PADDLE_LITE),
) -> BundleDiff:
    """Both bundles on every picture of `data`; `advance` is told after each.

    Labels play no part. Raises BundleError, DatasetError, ConfigError, ToolError, InferenceError.
    """
    a, b = load_bundle(folder_a), load_bundle(folder_b)
    classes_b, _ = align_classes(a.classes, b.classes)
    recipe = (load_recipe(recipe_file) if recipe_file else RecipeSettings()).value()
    for bundle in (a, b):
        check_recipe(recipe, bundle.manifest.class_names())
    dataset = load_dataset(data)
    check_pictures(dataset, a.input_contract.template or b.input_contract.template)
    specs = [spec_for(one, how, dataset) for one, how in zip((a, b), predictors, strict=True)]
    comparisons: dict[str, MaskComparison] = {}
    work = partial(_diff_picture, specs[0], specs[1], recipe)
    answers = map_in_processes(work, dataset.pictures, workers, lambda picture: str(picture.image_path))
    for picture, comparison in zip(dataset.pictures, answers, strict=True):
        comparisons[str(picture.image_path.relative_to(dataset.folder))] = comparison
        advance(len(comparisons), len(dataset.pictures))
    names = {known.class_id: known.name for known in (*classes_b, *a.classes)}
    return BundleDiff(a, b, recipe, tuple(manifest_facts(a.manifest, b.manifest)), names, comparisons)


def align_classes(
    classes_a: Sequence[DefectClass], classes_b: Sequence[DefectClass]
) -> tuple[tuple[DefectClass, ...], bytes]:
    """B's classes with the ids of A's classes of the same name, others with ids A does not use; and B's old ids to new.

    Raises ToolError when they have no class in common.
    """
    ids_a = {known.name: known.class_id for known in classes_a}
    if not any(known.name in ids_a for known in classes_b):
        listed = [", ".join(known.name for known in classes) for classes in (classes_a, classes_b)]
        raise ToolError(f"the bundles have no class in common ({listed[0]}; {listed[1]}); they cannot be compared")
    free = iter(sorted(set(range(1, 256)) - set(ids_a.values())))
    new_ids = [ids_a[known.name] if known.name in ids_a else next(free) for known in classes_b]
    table = np.zeros(256, np.uint8)
    table[[known.class_id for known in classes_b]] = new_ids
    aligned = (replace(known, class_id=new_id) for known, new_id in zip(classes_b, new_ids, strict=True))
    return tuple(aligned), table.tobytes()


def manifest_facts(a: Manifest, b: Manifest) -> Iterator[Fact]:
    """Everything that two manifests say of size, speed, thresholds and contract."""
    for group, tell in (("model", _model), ("contract", _contract), ("threshold", _thresholds)):
        said_a, said_b = tell(a), tell(b)
        for name in dict.fromkeys([*said_a, *said_b]):
            yield Fact(group, name, said_a.get(name), said_b.get(name))


def as_json(done: BundleDiff, data: Path) -> dict[str, Any]:
    return {
        "a": done.a.model_id,
        "b": done.b.model_id,
        "data": str(data),
        "recipe": done.recipe.name,
        "facts": [{**asdict(fact), "changed": fact.changed} for fact in done.facts],
        "totals": asdict(done.totals),
        "pictures": [_picture_json(name, one, done.class_names) for name, one in done.comparisons.items()],
    }


def _diff_picture(a: ModelSpec, b: ModelSpec, recipe: Recipe, picture: Picture) -> MaskComparison:
    """In a worker, which keeps both predictors for the next call."""
    (bundle_a, mask_a), (bundle_b, mask_b) = _segmented(a, picture), _segmented(b, picture)
    classes_b, new_ids = align_classes(bundle_a.classes, bundle_b.classes)
    aligned = Mask(np.frombuffer(new_ids, np.uint8)[mask_b.class_ids], mask_b.scores, mask_b.stride_px)
    return compare_masks(mask_a, aligned, bundle_a.classes, classes_b, recipe, picture.size_hw)


def _segmented(spec: ModelSpec, picture: Picture) -> tuple[Bundle, Mask]:
    """A mask whose every class the bundle names, or BundleError."""
    bundle, segmenter = opened(spec)
    mask = segment_labelled(segmenter, picture)
    with fitting_manifest(bundle):
        foreground_cells(mask, bundle.classes)
    return bundle, mask


def _model(manifest: Manifest) -> dict[str, Value]:
    figures = manifest.figures
    sizes = {f"bytes of {one.target}, {one.precision}": one.size_bytes for one in manifest.artefacts}
    times = {
        f"{name} of {timing.subject} on {timing.machine}, {timing.threads} thread": value
        for timing in figures.timing
        for name, value in timing.values.items()
    }
    return {"parameters": figures.parameters, "multiply-adds a tile": figures.macs_per_tile, **sizes, **times}


def _contract(manifest: Manifest) -> dict[str, Value]:
    fields = {**manifest.input.model_dump(), **manifest.output.model_dump()}
    return {name: value if isinstance(value, int | str) else str(value) for name, value in fields.items()}


def _thresholds(manifest: Manifest) -> dict[str, Value]:
    return {entry.name: entry.threshold for entry in manifest.classes}


def _picture_json(name: str, one: MaskComparison, class_names: dict[int, str]) -> dict[str, Any]:
    def described(defects: Sequence[Defect]) -> list[dict[str, Any]]:
        return [_defect_json(defect, class_names) for defect in defects]

    return {
        "picture": name,
        "outcome_a": one.outcome_a.value,
        "outcome_b": one.outcome_b.value,
        "verdict_changed": one.verdict_changed,
        "same": len(one.defects.same),
        "missed": described(one.defects.missed),
        "new": described(one.defects.new),
        "changed_class": [described(pair) for pair in one.defects.changed_class],
        "equal_cell_share": one.equal_cells / one.cells,
        "max_score_difference": one.max_score_difference,
    }


def _defect_json(defect: Defect, class_names: dict[int, str]) -> dict[str, Any]:
    box = list(defect.xyxy_px)
    return {"class": class_names[defect.class_id], "xyxy_px": box, "score": round(defect.score, 4)}
