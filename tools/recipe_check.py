"""What can be known to be wrong with a recipe before its first step runs, so that it is not found out hours later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge_runtime.inference.targets import ONNX_TARGETS
from tools.architectures.choice import build_network
from tools.dataset import check_every_class_occurs, check_pictures, load_dataset, same_classes
from tools.errors import ToolError
from tools.graph import Graph
from tools.opt_targets import choose_precision
from tools.pruning.choice import check_pattern
from tools.pruning.groups import find_dependencies
from tools.recipe import Recipe
from tools.runs import TrainSettings, parse_settings
from tools.train import check_network

HOLDOUT_EVERY = 16


def check_recipe(recipe: Recipe, where: str) -> None:
    """Raise ToolError, beginning with `where`, for a missing file or folder and settings that no step could take."""
    if not recipe.terms.is_file():
        raise ToolError(f"{where}: terms: {recipe.terms} is no file; give a text with the terms of the training data")
    _check_names(recipe, where)
    stages = {key: _settings(recipe, table, f"{where}: {key}") for key, table in _training_tables(recipe)}
    for key, folder in _folders(recipe, stages):
        if not _is_painted(recipe, folder) and not (folder / "annotations.json").is_file():
            raise ToolError(f"{where}: {key}: {folder} holds no annotations.json, and no [[synthesize]] makes it")
    network = _check_trainings(recipe, stages, where)
    _check_pruning(recipe, network, where)
    for target in set(recipe.pack.targets) - set(ONNX_TARGETS):
        choose_precision(target, None, False, f"{where}: pack.targets")


def check_data(recipe: Recipe, where: str) -> None:
    """Look into the data sets that are there already; what is painted is known to be sound.

    Raises ToolError for labels that name different classes, for a validation set that lacks a class, and for a missing
    or wrong file of any set but those of the first training, which looks itself before its first step.
    """
    stages = {key: _settings(recipe, table, f"{where}: {key}") for key, table in _training_tables(recipe)}
    measured = {entry.folder for entry in recipe.validation}
    looked_into_by_training = {Path(source.folder) for source in stages["train"].data}
    folders = dict.fromkeys(folder for _, folder in _folders(recipe, stages) if not _is_painted(recipe, folder))
    datasets = [load_dataset(folder) for folder in folders]
    if datasets:
        same_classes(datasets)
    for dataset in datasets:
        if dataset.folder in measured:
            check_every_class_occurs([dataset], "to measure")
        if dataset.folder not in looked_into_by_training:
            check_pictures(dataset, stages["train"].template)


def _check_names(recipe: Recipe, where: str) -> None:
    labels = [entry.label for entry in recipe.validation]
    painted = [entry.out.name for entry in recipe.synthesize]
    for key, names in (("validation[].label", labels), ("synthesize[].out", painted)):
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise ToolError(f"{where}: {key}: {twice[0]} is given twice; steps and figures go by this name")
    for label in labels:
        if "=" in label:
            raise ToolError(f"{where}: validation[].label: {label!r} must not hold '='")


def _check_trainings(recipe: Recipe, stages: dict[str, TrainSettings], where: str) -> Graph:
    """The network that is trained first, after every stage's settings were held against it."""
    first = stages["train"]
    planes, classes = 2 if first.template else 1, max(2, len(first.class_weights))
    network = build_network(recipe.network, planes, classes, f"{where}: network")
    for key, settings in stages.items():
        if settings.holdout_every != HOLDOUT_EVERY:
            raise ToolError(
                f"{where}: {key}: holdout_every must be {HOLDOUT_EVERY} in a recipe: thresholds are chosen on every "
                f"{HOLDOUT_EVERY}th picture, which no stage may have learned"
            )
        try:
            check_network(settings, network)
        except ToolError as exc:
            raise ToolError(f"{where}: {key}: {exc}") from exc
    return network


def _check_pruning(recipe: Recipe, network: Graph, where: str) -> None:
    dependencies = find_dependencies(network)
    for index, entry in enumerate(recipe.prune):
        for pattern in entry.spare:
            try:
                check_pattern(pattern, dependencies)
            except ToolError as exc:
                raise ToolError(f"{where}: prune[{index}].spare: {exc}") from exc


def _is_painted(recipe: Recipe, folder: Path) -> bool:
    return folder.resolve() in {entry.out.resolve() for entry in recipe.synthesize}


def _settings(recipe: Recipe, table: dict[str, Any], where: str) -> TrainSettings:
    data = [{"folder": str(entry.folder), "share": entry.share} for entry in recipe.data]
    return parse_settings({"data": data, **recipe.train, **table}, where)


def _folders(recipe: Recipe, stages: dict[str, TrainSettings]) -> Iterator[tuple[str, Path]]:
    yield from ((f"data[{i}].folder", entry.folder) for i, entry in enumerate(recipe.data))
    yield from ((f"validation[{i}].folder", entry.folder) for i, entry in enumerate(recipe.validation))
    yield from ((f"{key}.data", Path(source.folder)) for key, settings in stages.items() for source in settings.data)


def _training_tables(recipe: Recipe) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "train", {}
    yield from ((f"prune[{i}].train", entry.train) for i, entry in enumerate(recipe.prune))
    if recipe.distill is not None:
        yield "distill", recipe.distill
    if recipe.quantize is not None and recipe.quantize.train is not None:
        yield "quantize.train", recipe.quantize.train
