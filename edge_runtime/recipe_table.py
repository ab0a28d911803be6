"""The recipes of the settings with what belongs to them: model, template, digest. For the root and the commands."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.config import NumberedRecipe, Settings
from edge_runtime.config_recipe import RecipeSettings
from edge_runtime.errors import BundleError, ConfigError, EdgeRuntimeError
from edge_runtime.runtime.recipes import RecipeFacts
from edge_runtime.vision.recipe_fit import check_recipe

if TYPE_CHECKING:
    from edge_runtime.inference.manifest import Manifest

DIGEST_CHARS = 8


def recipe_facts(settings: Settings) -> tuple[RecipeFacts, ...]:
    """Every recipe, checked against its model, in the order of their numbers.

    Reads manifests and templates, no network. Raises ConfigError, BundleError, which name the recipe's number.
    """
    return tuple(_checked_facts(number, each) for number, each in settings.numbered_recipes.items())


def recipe_at_start(settings: Settings) -> int:
    """The number selected at start whatever was kept from the last run, or 0: then the kept one is."""
    return 0 if settings.recipes else 1


def facts_of(number: int, entry: NumberedRecipe) -> RecipeFacts:
    """A recipe with its model, unchecked. Raises ConfigError, BundleError."""
    manifest, model_id = read_manifest(entry.bundle)
    recipe, names = entry.recipe, manifest.class_names()
    return RecipeFacts(number, recipe.name, model_id, digest_of(recipe, model_id), names, recipe.mm_per_px)


def digest_of(recipe: RecipeSettings, model_id: str) -> str:
    """What a controller compares: the same exactly if recipe, template and model are. 8 hex digits.

    SHA-256 over the recipe's keys that differ from their defaults, the SHA-256 of the template's file, and the
    model's id, as JSON with sorted keys. Raises ConfigError for a template that cannot be read.
    """
    keys = recipe.model_dump(mode="json", exclude_defaults=True, exclude={"template"}) | {"name": recipe.name}
    template = None if recipe.template is None else hashlib.sha256(_read_template(recipe.template)).hexdigest()
    text = json.dumps({"recipe": keys, "template": template, "model": model_id}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_CHARS]


def read_manifest(bundle_folder: Path) -> tuple[Manifest, str]:
    """The manifest alone, and the id of its model: no picture or model file is read. Raises BundleError."""
    from edge_runtime.inference.manifest import model_id_of, parse_manifest

    path = bundle_folder / "manifest.json"
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise BundleError(
            f"{path}: cannot be read ({exc.strerror}); inspection.bundle, or the recipe's own bundle, must name a "
            "bundle's folder"
        ) from exc
    manifest = parse_manifest(data, str(path))
    return manifest, model_id_of(manifest, hashlib.sha256(data).hexdigest())


def check_template(recipe: RecipeSettings, takes_template: bool) -> None:
    """Raise ConfigError unless the recipe names a file as template exactly if the model takes one."""
    if recipe.template is None:
        if takes_template:
            raise ConfigError(
                f'recipe {recipe.name}: the model compares with a defect-free picture; name it by template = "FILE"'
            )
    elif not takes_template:
        raise ConfigError(f"recipe {recipe.name}: the model takes no template; remove that key or take another bundle")
    elif not recipe.template.is_file():
        raise ConfigError(f"recipe {recipe.name}: template {recipe.template} does not exist or is no regular file")


def _checked_facts(number: int, entry: NumberedRecipe) -> RecipeFacts:
    try:
        manifest = read_manifest(entry.bundle)[0]
        check_recipe(entry.recipe.value(), manifest.class_names())
        check_template(entry.recipe, manifest.input.template)
        return facts_of(number, entry)
    except EdgeRuntimeError as exc:
        raise type(exc)(f"recipe number {number}: {exc}") from exc


def _read_template(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ConfigError(f"template {path}: cannot be read ({exc.strerror})") from exc
