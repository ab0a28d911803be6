"""Bundles that compare with a defect-free picture: one for all, or one for each."""

import pytest

from edge_runtime.errors import CameraError, ConfigError
from tools.errors import ToolError

BACKGROUND_GREY, SHORT_GREY = 10, 102
MARKS = (101, 103, 105)
DEFECT = (BACKGROUND_GREY, BACKGROUND_GREY, SHORT_GREY)


@pytest.fixture
def compare(run, template_bundle, tmp_path, painted):
    """`compare(template)`: two boards with marks that belong there, one of them with a defect besides."""
    for name in ("day/one.png", "day/two.png"):
        painted(tmp_path / "boards" / name, *MARKS, *(DEFECT if "two" in name else ()))

    def go(template, **fields):
        return run(bundle_folder=template_bundle, archive_folder=tmp_path / "boards", template=template, **fields)

    return go


def classes_by_path(rows):
    return [(row["path"], row["class"]) for row in rows]


def test_one_template_for_all(compare, tables, painted, tmp_path):
    finished = compare(painted(tmp_path / "template.png", *MARKS))
    assert classes_by_path(tables(finished.folder)[1]) == [("day/two.png", "short")]


def test_the_recipes_template(compare, tables, painted, tmp_path):
    painted(tmp_path / "template.png", *MARKS)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('template = "template.png"\n')
    finished = compare(None, recipe_file=recipe)
    assert classes_by_path(tables(finished.folder)[1]) == [("day/two.png", "short")]


def test_a_folder_has_one_for_each_in_the_same_subfolder_or_right_in_it(compare, tables, painted, tmp_path):
    painted(tmp_path / "templates" / "one.png")
    painted(tmp_path / "templates" / "day" / "one.bmp", *MARKS)
    painted(tmp_path / "templates" / "two.png", *MARKS, *DEFECT)
    assert tables(compare(tmp_path / "templates").folder)[1] == []


def test_a_template_that_is_missing_double_or_of_another_size_is_an_error_of_its_picture(
    compare, tables, painted, tmp_path
):
    folder = tmp_path / "templates"
    painted(tmp_path / "boards" / "day" / "three.png")
    painted(folder / "one.png")
    painted(folder / "one.bmp")
    (folder / "three.png").write_bytes((tmp_path / "boards/day/three.png").read_bytes()[:50])
    pictures = tables(compare(folder).folder)[0]
    errors = {row["path"]: row["error"] for row in pictures}
    assert "several templates named one" in errors["day/one.png"]
    assert "holds no template for day/two.png" in errors["day/two.png"]
    assert "truncated or damaged" in errors["day/three.png"]


def test_a_model_that_needs_one_is_refused_without(compare):
    with pytest.raises(ConfigError, match="--template"):
        compare(None)


def test_a_model_that_takes_none_is_refused_with_one(run, painted, tmp_path):
    with pytest.raises(ConfigError, match="takes no template"):
        run(template=painted(tmp_path / "template.png"))


def test_a_template_that_is_not_there_is_refused_before_the_work(compare, tmp_path):
    with pytest.raises(CameraError, match="does not exist"):
        compare(tmp_path / "nowhere.png")
    assert not (tmp_path / "out").exists()


def test_another_template_is_another_job(compare, painted, tmp_path):
    compare(painted(tmp_path / "template.png", *MARKS))
    painted(tmp_path / "template.png", SHORT_GREY)
    with pytest.raises(ToolError, match="template_sha256 differ"):
        compare(tmp_path / "template.png")
