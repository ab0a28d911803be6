import json
import shutil
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from edge_runtime.errors import ConfigError
from edge_runtime.inference.bundle import load_bundle
from edge_runtime.values import DefectClass
from tools.__main__ import build_app
from tools.errors import ToolError
from tools.evaluation.bundle_diff import align_classes, as_json, diff_bundles, manifest_facts
from tools.predictors import Predictor

PICTURES = {"defect": ([(1, 20, 20, 40, 40)], [(1, 20, 20, 40, 40)]), "clean": ([], [])}

SCRIPTED = (Predictor("scripted"), Predictor("scripted"))


@pytest.fixture
def other_folder(shipped_folder, tmp_path):
    """`other_folder(change)`: the shipped bundle with a changed manifest."""

    def make(change):
        folder = tmp_path / "other" / "1"
        shutil.copytree(shipped_folder, folder)
        manifest = json.loads((folder / "manifest.json").read_text())
        change(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return folder

    return make


def rename_open(manifest):
    manifest["classes"][0]["name"] = "gap"
    manifest["figures"]["parameters"] += 5


def test_a_bundle_does_not_differ_from_itself(shipped_folder, make_data):
    done = diff_bundles(shipped_folder, shipped_folder, make_data(PICTURES), None, 1, predictors=SCRIPTED)
    assert not any(fact.changed for fact in done.facts)
    assert all(one.equal for one in done.comparisons.values())
    assert (done.totals.pictures, done.totals.same, done.totals.verdicts_changed) == (2, 1, 0)


def test_a_class_of_another_name_is_a_changed_class(shipped_folder, other_folder, make_data):
    done = diff_bundles(shipped_folder, other_folder(rename_open), make_data(PICTURES), None, 1, predictors=SCRIPTED)
    changed = {fact.name: (fact.a, fact.b) for fact in done.facts if fact.changed}
    threshold = load_bundle(shipped_folder).classes[0].threshold
    assert changed["open"] == (threshold, None)
    assert changed["gap"] == (None, threshold)
    assert changed["parameters"][1] - changed["parameters"][0] == 5
    assert (done.totals.same, done.totals.changed_class, done.totals.verdicts_changed) == (0, 1, 0)
    told = as_json(done, "data")["pictures"]
    assert [one["picture"] for one in told] == ["image/clean.png", "image/defect.png"]
    assert [one["class"] for one in told[1]["changed_class"][0]] == ["open", "gap"]


def test_the_recipe_decides_about_verdicts_and_must_fit_both(shipped_folder, other_folder, make_data, tmp_path):
    recipe, other, data = tmp_path / "recipe.toml", other_folder(rename_open), make_data(PICTURES)
    recipe.write_text("[rules.short]\nmax_count = 2\n[default_rule]\nmax_count = 1\n")
    done = diff_bundles(shipped_folder, other, data, recipe, 1, predictors=SCRIPTED)
    assert {one.outcome_a.value for one in done.comparisons.values()} == {"PASS"}
    recipe.write_text("[rules.open]\nmax_count = 2\n")
    with pytest.raises(ConfigError, match="open"):
        diff_bundles(shipped_folder, other, data, recipe, 1, predictors=SCRIPTED)


def test_what_only_one_manifest_says_is_a_difference(shipped):
    manifest = shipped.manifest
    only_x86 = manifest.model_copy(update={"artefacts": manifest.artefacts[:1]})
    changed = {fact.name: (fact.a, fact.b) for fact in manifest_facts(manifest, only_x86) if fact.changed}
    lost = {f"bytes of {one.target}, {one.precision}": (one.size_bytes, None) for one in manifest.artefacts[1:]}
    assert lost
    assert changed == lost


def test_classes_meet_by_name():
    a = [DefectClass(1, "open", (0, 0, 0), 9), DefectClass(2, "short", (0, 0, 0), 9)]
    b = [DefectClass(1, "spur", (0, 0, 0), 9), DefectClass(2, "open", (0, 0, 0), 9)]
    aligned, new_ids = align_classes(a, b)
    assert [(known.name, known.class_id) for known in aligned] == [("spur", 3), ("open", 1)]
    assert (new_ids[0], new_ids[1], new_ids[2]) == (0, 3, 1)
    with pytest.raises(ToolError, match="no class in common"):
        align_classes(a, [replace(b[0], name="crack")])


def test_the_command_ends_with_1_when_a_verdict_changed(shipped_folder, other_folder, painted_board):
    def deafen(manifest):
        for known in manifest["classes"]:
            known["threshold"] = 255

    other = str(other_folder(deafen))
    run = CliRunner().invoke(
        build_app("diff"),
        ["diff", str(shipped_folder), other, "--data", str(painted_board), "--json", "--workers", "1"],
    )
    told = json.loads(run.stdout)
    assert run.exit_code == int(told["totals"]["verdicts_changed"] > 0)
    assert told["totals"]["missed"] > 0
    same = CliRunner().invoke(
        build_app("diff"), ["diff", str(shipped_folder), str(shipped_folder), "--data", str(painted_board)]
    )
    assert same.exit_code == 0
    assert "0 verdicts changed" in same.stdout.replace("\n", " ")
