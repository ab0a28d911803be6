"""What can be known to be wrong with a recipe before its first step runs, so that it is not found out hours later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.architectures.choice import build_network
from tools.errors import ToolError
from tools.recipe import Recipe
from tools.runs import parse_settings
from tools.train import check_network


def check_recipe(recipe: Recipe, where: str) -> None:
    """Raise ToolError, beginning with `where`, for a missing file or folder and settings that no step could take."""
    if not recipe.terms.is_file():
        raise ToolError(f"{where}: terms: {recipe.terms} is no file; give a text with the terms of the training data")
    painted = {entry.out.resolve() for entry in recipe.synthesize}
    for key, folder in _folders(recipe):
        if folder.resolve() not in painted and not (folder / "annotations.json").is_file():
            raise ToolError(f"{where}: {key}: {folder} holds no annotations.json, and no [[synthesize]] makes it")
    data = [{"folder": str(entry.folder), "share": entry.share} for entry in recipe.data]
    for key, table in _training_tables(recipe):
        settings = parse_settings({"data": data, **recipe.train, **table}, f"{where}: {key}")
        if key == "train":
            planes = 2 if settings.template else 1
            network = build_network(recipe.network, planes, max(2, len(settings.class_weights)), f"{where}: network")
            check_network(settings, network)


def _folders(recipe: Recipe) -> Iterator[tuple[str, Path]]:
    yield from ((f"data[{i}].folder", entry.folder) for i, entry in enumerate(recipe.data))
    yield from ((f"validation[{i}].folder", entry.folder) for i, entry in enumerate(recipe.validation))


def _training_tables(recipe: Recipe) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "train", {}
    yield from ((f"prune[{i}].train", entry.train) for i, entry in enumerate(recipe.prune))
    if recipe.distill is not None:
        yield "distill", recipe.distill
