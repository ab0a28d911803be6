"""`edge-runtime recipes`: the numbers, names and digests that a controller's programmer writes down."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from edge_runtime.config import load_settings
from edge_runtime.recipe_table import recipe_facts


def list_recipes(config: Path) -> None:
    """Print one line a recipe. Raises ConfigError, BundleError."""
    table = Table("number", "name", "digest", "model", title=f"Recipes of {config}")
    for facts in recipe_facts(load_settings(config)):
        table.add_row(str(facts.number), facts.name, facts.digest, facts.model_id)
    Console().print(table)
