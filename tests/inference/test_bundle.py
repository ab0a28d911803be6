"""Bundles: written whole, read only when proved, verified by their golden tiles."""

import json
import os
import platform
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.errors import BundleError, InferenceError
from edge_runtime.inference.bundle import load_bundle, machine_target
from edge_runtime.inference.bundle_writer import NewArtefact, write_bundle
from edge_runtime.inference.golden import GoldenTile
from edge_runtime.inference.paddle_lite import PaddleLiteSegmenter
from edge_runtime.inference.proof import verify_bundle
from edge_runtime.inference.scripted import ScriptedSegmenter
from edge_runtime.values import DefectClass, Mask

MODEL = NewArtefact("model.x86.bin", b"not a network", "x86", "fp32", "none")


def scripted(bundle):
    return ScriptedSegmenter(bundle.input_contract, bundle.mask_stride_px)


def refusal(action, *arguments):
    with pytest.raises(BundleError) as caught:
        action(*arguments)
    return str(caught.value)


def rewrite_manifest(folder, edit):
    path = folder / "manifest.json"
    raw = json.loads(path.read_bytes())
    edit(raw)
    path.write_text(json.dumps(raw))


# -- writing ----------------------------------------------------------------------------------------------------


def test_a_written_bundle_loads_equal_and_lies_there_alone(scripted_bundle):
    assert load_bundle(scripted_bundle.folder) == scripted_bundle
    assert sorted(os.listdir(scripted_bundle.folder)) == ["golden", "manifest.json", "model.x86.bin"]
    assert os.listdir(scripted_bundle.folder.parent) == ["1"]


def test_the_golden_tile_comes_back_as_it_was_packed(scripted_bundle, scripted_golden):
    (entry,) = scripted_bundle.manifest.golden
    tile = scripted_bundle.read_golden(entry)
    assert np.array_equal(tile.picture, scripted_golden.picture)
    assert np.array_equal(tile.mask.class_ids, scripted_golden.mask.class_ids)
    assert np.array_equal(tile.mask.scores, scripted_golden.mask.scores)


def test_the_golden_template_comes_back_as_it_was_packed(template_bundle, template_golden):
    (entry,) = template_bundle.manifest.golden
    assert entry.template.file == "golden/0_template.png"
    assert np.array_equal(template_bundle.read_golden(entry).template, template_golden.template)
    assert sorted(os.listdir(template_bundle.folder / "golden")) == [
        f"0_{name}.png" for name in ("class_ids", "picture", "scores", "template")
    ]


@pytest.mark.parametrize("takes_template", [False, True])
def test_golden_tiles_have_a_template_exactly_if_the_model_takes_one(
    tmp_path, draft, scripted_golden, template_golden, takes_template
):
    golden = [scripted_golden if takes_template else template_golden]
    message = refusal(write_bundle, tmp_path / "1", draft("class_and_score", 6, takes_template), [MODEL], golden)
    assert f"golden[0]: a template {'is missing' if takes_template else 'does not belong there'}" in message
    assert not (tmp_path / "1").exists()


def test_a_readme_is_packed(tmp_path, draft, scripted_golden):
    bundle = write_bundle(tmp_path / "1", draft("class_and_score", 6), [MODEL], [scripted_golden], "# Tiny\n")
    assert (bundle.folder / "README.md").read_text() == "# Tiny\n"


def test_an_existing_version_is_never_overwritten(scripted_bundle, draft, scripted_golden):
    before = (scripted_bundle.folder / "manifest.json").read_bytes()
    message = refusal(write_bundle, scripted_bundle.folder, draft("class_and_score", 3), [MODEL], [scripted_golden])
    assert message == f"{scripted_bundle.folder}: this version exists and a version never changes; choose the next one"
    assert (scripted_bundle.folder / "manifest.json").read_bytes() == before


def test_a_bundle_that_would_not_load_is_not_written(tmp_path, draft, scripted_golden):
    wrong_tile = GoldenTile(np.zeros((32, 32, 3), np.uint8), scripted_golden.mask)
    cases = {
        "golden: no tile proves input.tile_px 64; one must be as large": ([MODEL], [wrong_tile]),
        "artefacts[0].file: must name a file inside the bundle": ([replace(MODEL, file="../m")], [scripted_golden]),
        "artefacts: target 'x86' appears twice": ([MODEL, replace(MODEL, file="b.bin")], [scripted_golden]),
        "golden: must have at least 1 item": ([MODEL], []),
        "m.nb: 13 bytes are too few for an .nb file": ([replace(MODEL, file="m.nb")], [scripted_golden]),
    }
    for expected, (artefacts, golden) in cases.items():
        message = refusal(write_bundle, tmp_path / "new" / "1", draft("class_and_score", 6), artefacts, golden)
        assert expected in message
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert not (tmp_path / "new" / "1").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path, draft, scripted_golden):
    (tmp_path / "file").write_bytes(b"")
    message = refusal(write_bundle, tmp_path / "file" / "1", draft("class_and_score", 6), [MODEL], [scripted_golden])
    assert "cannot be written: Not a directory" in message


# -- reading ----------------------------------------------------------------------------------------------------


def test_a_bundle_answers_what_the_daemon_asks(scripted_bundle):
    assert scripted_bundle.model_id == f"tiny/1@{scripted_bundle.digest[:8]}"
    assert scripted_bundle.classes[0] == DefectClass(1, "kind 1", (0, 40, 255), 128)
    assert (scripted_bundle.mask_stride_px, scripted_bundle.input_contract.tile_px) == (2, 64)
    assert scripted_bundle.artefact_for("x86").file == "model.x86.bin"


def test_the_model_id_changes_with_any_field(scripted_bundle):
    rewrite_manifest(scripted_bundle.folder, lambda raw: raw["classes"][0].update(threshold=129))
    assert load_bundle(scripted_bundle.folder).model_id != scripted_bundle.model_id


def test_a_missing_artefact_lists_the_others_and_this_machine(scripted_bundle):
    message = refusal(scripted_bundle.artefact_for, "arm")
    assert f"no artefact for arm; the bundle has x86, this machine is {platform.machine()}" in message


@pytest.mark.parametrize(("machine", "target"), [("x86_64", "x86"), ("aarch64", "arm"), ("armv7l", "arm")])
def test_the_machine_decides_the_target(monkeypatch, machine, target):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert machine_target() == target


def test_an_unknown_machine_is_refused(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert "riscv64" in refusal(machine_target)


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def replace_by_link(path: Path) -> None:
    moved = path.rename(path.parent.parent / "elsewhere.bin")
    path.symlink_to(moved)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGE = {
    "missing": (Path.unlink, "is missing; copy the bundle again"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:5]), "size_bytes is 5, the manifest says 13"),
    "longer": (lambda path: path.write_bytes(b"x" * 99), "size_bytes is 99, allowed are at most 13"),
    "flipped": (flip_a_bit, "sha256 is "),
    "link": (replace_by_link, "lies behind a symbolic link; put the file itself into the bundle"),
    "folder": (replace_by_folder, "is not a regular file"),
    "pipe": (replace_by_pipe, "is not a regular file"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_is_named(scripted_bundle, kind):
    damage, expected = DAMAGE[kind]
    path = scripted_bundle.folder / "model.x86.bin"
    damage(path)
    message = refusal(load_bundle, scripted_bundle.folder)
    assert message.startswith(f"{path}: ")
    assert expected in message


def test_a_folder_inside_the_bundle_may_not_be_a_link(scripted_bundle, tmp_path):
    golden = scripted_bundle.folder / "golden"
    golden.rename(tmp_path / "outside")
    golden.symlink_to(tmp_path / "outside")
    assert "golden/0_picture.png: lies behind a symbolic link" in refusal(load_bundle, scripted_bundle.folder)


def test_the_bundle_itself_may_be_reached_by_a_link(scripted_bundle, tmp_path):
    (tmp_path / "current").symlink_to(scripted_bundle.folder)
    assert load_bundle(tmp_path / "current") == scripted_bundle


def test_a_path_out_of_the_folder_is_refused_though_the_file_exists(scripted_bundle):
    (scripted_bundle.folder.parent / "outside.bin").write_bytes(b"not a network")
    rewrite_manifest(scripted_bundle.folder, lambda raw: raw["artefacts"][0].update(file="../outside.bin"))
    assert "manifest.json: artefacts[0].file: must name a file" in refusal(load_bundle, scripted_bundle.folder)


def test_no_folder_no_manifest_and_a_huge_manifest_are_told_apart(scripted_bundle, tmp_path):
    assert "no such folder; a bundle is a folder opt_models/NAME/VERSION" in refusal(load_bundle, tmp_path / "none")
    manifest = scripted_bundle.folder / "manifest.json"
    manifest.write_bytes(b" " * (1024 * 1024 + 1))
    assert f"{manifest}: size_bytes is 1048577, allowed are at most 1048576" in refusal(
        load_bundle, scripted_bundle.folder
    )
    manifest.unlink()
    assert f"{manifest}: is missing" in refusal(load_bundle, scripted_bundle.folder)


def test_a_file_changed_after_loading_is_not_given_out(scripted_bundle):
    flip_a_bit(scripted_bundle.folder / "model.x86.bin")
    assert "sha256" in refusal(scripted_bundle.read, scripted_bundle.artefact_for("x86"))


# -- verifying --------------------------------------------------------------------------------------------------


def test_golden_tiles_that_come_out_equal_pass(scripted_bundle):
    report = verify_bundle(scripted_bundle.folder, scripted)
    assert report.model_id == scripted_bundle.model_id
    (tile,) = report.tiles
    assert (tile.file, tile.wrong_cells, tile.max_score_difference) == ("golden/0_picture.png", 0, 0)
    assert tile.equal_share == 1.0


def test_the_golden_template_is_part_of_the_question(template_bundle, template_golden, tmp_path, draft):
    (tile,) = verify_bundle(template_bundle.folder, scripted).tiles
    assert (tile.passed, tile.equal_share) == (True, 1.0)
    moved = replace(template_golden, template=np.roll(template_golden.template, 8, axis=1))
    bundle = write_bundle(tmp_path / "moved", draft("class_and_score", 6, True), [MODEL], [moved])
    assert "1 of 1 golden tiles came out differently" in refusal(verify_bundle, bundle.folder, scripted)


@pytest.mark.parametrize(("offset", "passes"), [(2, True), (3, False)])
def test_scores_may_differ_by_two(tmp_path, draft, scripted_golden, offset, passes):
    mask = scripted_golden.mask
    scores = np.where(mask.scores > 0, 255 - offset, 0).astype(np.uint8)
    golden = GoldenTile(scripted_golden.picture, Mask(mask.class_ids, scores, 2))
    bundle = write_bundle(tmp_path / "1", draft("class_and_score", 6), [MODEL], [golden])
    if passes:
        (tile,) = verify_bundle(bundle.folder, scripted).tiles
        assert (tile.max_score_difference, tile.equal_share) == (2, 0.5)
    else:
        message = refusal(verify_bundle, bundle.folder, scripted)
        assert "1 of 1 golden tiles came out differently: golden/0_picture.png" in message
        assert "scores differ by up to 3 of 255" in message


def test_one_cell_of_another_class_fails(tmp_path, draft, scripted_golden):
    class_ids = scripted_golden.mask.class_ids.copy()
    class_ids[0, 0] = 4
    golden = GoldenTile(scripted_golden.picture, Mask(class_ids, scripted_golden.mask.scores, 2))
    bundle = write_bundle(tmp_path / "1", draft("class_and_score", 6), [MODEL], [scripted_golden, golden])
    message = refusal(verify_bundle, bundle.folder, scripted)
    assert "1 of 2 golden tiles" in message
    assert "golden/1_picture.png: 1 defect cells of another class" in message


def test_an_answer_of_another_shape_fails(scripted_bundle):
    def coarse(bundle):
        return ScriptedSegmenter(bundle.input_contract, 4)

    assert "answers (16, 16) and (16, 16), the golden mask is (32, 32)" in refusal(
        verify_bundle, scripted_bundle.folder, coarse
    )


def test_the_segmenter_is_closed_after_verifying(scripted_bundle):
    opened = []

    def remember(bundle):
        opened.append(scripted(bundle))
        return opened[0]

    verify_bundle(scripted_bundle.folder, remember)
    with pytest.raises(InferenceError, match="closed"):
        opened[0].predict(np.zeros((64, 64, 3), np.uint8))


def test_a_real_network_passes_its_golden_tiles(tiny_bundle):
    (tile,) = verify_bundle(tiny_bundle.folder, PaddleLiteSegmenter).tiles
    assert tile.passed
    assert tile.equal_share > 0.95


def test_a_real_network_that_takes_a_template_passes_its_golden_tiles(comparing_bundle):
    (tile,) = verify_bundle(comparing_bundle.folder, PaddleLiteSegmenter).tiles
    assert tile.passed
    assert tile.equal_share > 0.95


def test_a_network_of_another_target_fails_though_its_digest_is_right(tiny_bundle, tmp_path):
    folder = shutil.copytree(tiny_bundle.folder, tmp_path / "swapped")

    def swap(raw):
        x86, arm = raw["artefacts"]
        x86["target"], arm["target"] = arm["target"], x86["target"]

    rewrite_manifest(folder, swap)
    assert "model.x86.nb: its kernels are for host, x86, not for arm" in refusal(
        verify_bundle, folder, PaddleLiteSegmenter
    )
