"""The digest is the same exactly if recipe, template and model are."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_runtime.config import load_recipe, load_settings
from edge_runtime.errors import BundleError, ConfigError
from edge_runtime.recipe_table import digest_of, recipe_facts

ROOT = Path(__file__).parents[1]
BUNDLES = ROOT / "opt_models"
HEAD = f"""
[camera]
driver = "synthetic"
[inspection]
bundle = "{BUNDLES / "board-unet" / "3"}"
"""


def digest(folder: Path, text: str, model_id: str = "m/1@0") -> str:
    file = folder / "recipe.toml"
    folder.mkdir(exist_ok=True)
    file.write_text(text)
    return digest_of(load_recipe(file), model_id)


def test_what_decides_changes_the_digest_and_nothing_else_does(tmp_path):
    plain = digest(tmp_path, 'name = "a"')
    assert len(plain) == 8
    assert int(plain, 16) >= 0
    same = ['name = "a"  # a comment', "join_px = 6\nname = 'a'", 'name = "a"\ndefault_rule.max_count = 0']
    others = ['name = "b"', 'name = "a"\njoin_px = 5', 'name = "a"\nrules.open.max_count = 1']
    assert {digest(tmp_path, text) for text in same} == {plain}
    assert len({plain, *(digest(tmp_path, text) for text in others), digest(tmp_path, 'name = "a"', "m/1@1")}) == 5


def test_the_templates_content_counts_and_not_its_place(tmp_path):
    text = 'name = "a"\ntemplate = "good.png"'
    digests = []
    for name, content in (("one", b"picture"), ("two", b"picture"), ("three", b"another")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "good.png").write_bytes(content)
        digests.append(digest(folder, text))
    assert digests[0] == digests[1] != digests[2]
    (tmp_path / "one" / "good.png").unlink()
    with pytest.raises(ConfigError, match=r"template .*good\.png: cannot be read"):
        digest(tmp_path / "one", text)


def test_each_recipe_is_told_with_the_model_it_is_made_for(tmp_path):
    settings = tmp_path / "config.toml"
    settings.write_text(
        f"""{HEAD}
[recipes.7]
recipe.name = "b"
bundle = "{BUNDLES / "pcb-unet" / "4"}"
[recipes.3.recipe]
name = "a"
mm_per_px = 0.05
"""
    )
    facts = recipe_facts(load_settings(settings))
    assert [(each.number, each.name, each.model_id.partition("@")[0], each.mm_per_px) for each in facts] == [
        (3, "a", "board-unet/3", 0.05),
        (7, "b", "pcb-unet/4", None),
    ]


@pytest.mark.parametrize(
    ("recipes", "error", "complaint"),
    [
        ('[recipes.4.recipe]\nrules.crack.max_count = 1', ConfigError, r"recipe number 4: .*\['crack'\]"),
        ('[recipes.4]\nbundle = "nowhere"\nrecipe.name = "a"', BundleError, "recipe number 4: .*nowhere/manifest.json"),
        ('[recipes.4.recipe]\ntemplate = "good.png"', ConfigError, "recipe number 4: .*takes no template"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_with_the_recipes_number(tmp_path, recipes, error, complaint):
    settings = tmp_path / "config.toml"
    settings.write_text(HEAD + recipes)
    with pytest.raises(error, match=complaint):
        recipe_facts(load_settings(settings))
