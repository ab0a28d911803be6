"""Defect-free pictures on the command line: matched by name, laid onto the picture, told when they do not fit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_runtime.commands.templates import match_templates, read_template
from edge_runtime.errors import CameraError, ConfigError
from edge_runtime.inference.bundle_writer import NewArtefact, write_bundle
from edge_runtime.inference.figures import Figures
from edge_runtime.inference.golden import GoldenTile
from edge_runtime.inference.manifest import ClassEntry, Draft, Input, Output
from edge_runtime.values import Mask

SHIPPED = Path(__file__).parents[2] / "opt_models" / "board-unet" / "3"
NETWORK_SCRIPT = Path(__file__).parents[1] / "inference" / "tiny_network.py"
TILE_PX, CELL_PX = 64, 2
PICTURE_HW = (150, 210)
FIELD = np.s_[60:80, 100:140]


def save(path: Path, grey: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), grey)
    return path


# -- which template belongs to which picture ------------------------------------------------------------------------


@pytest.fixture
def grey() -> np.ndarray:
    return np.arange(20 * 30, dtype=np.uint16).reshape(20, 30).astype(np.uint8)


def test_one_file_serves_all_pictures(tmp_path: Path, grey: np.ndarray) -> None:
    good, pictures = save(tmp_path / "good.png", grey), [Path("a.png"), Path("b.png")]
    assert match_templates(pictures, good, takes_template=True) == {pictures[0]: good, pictures[1]: good}
    np.testing.assert_array_equal(read_template(good, pictures[0], (20, 30)), grey)


def test_a_folder_is_matched_by_name_whatever_the_suffix(tmp_path: Path, grey: np.ndarray) -> None:
    for name in ("a.png", "b.BMP", "c.png", "a.txt"):
        (tmp_path / name).write_bytes(cv2.imencode(".png", grey)[1].tobytes())
    pictures = [Path("x/a.jpg"), Path("y/b.png")]
    expected = {pictures[0]: tmp_path / "a.png", pictures[1]: tmp_path / "b.BMP"}
    assert match_templates(pictures, tmp_path, takes_template=True) == expected


def test_without_a_template_there_is_nothing_to_match() -> None:
    assert match_templates([Path("a.png")], None, takes_template=False) == {}


def test_what_does_not_match_is_told_before_anything_is_inspected(tmp_path: Path, grey: np.ndarray) -> None:
    for name in ("two.png", "two.jpg"):
        save(tmp_path / "templates" / name, grey)
    (tmp_path / "text.png").write_text("no picture")
    cases = {
        "holds no template named one for one.png": ("one.png", tmp_path / "templates", True),
        "2 templates for two.png: two.jpg, two.png; leave one": ("two.png", tmp_path / "templates", True),
        "a defect-free picture; name it, or a folder of them: --template": ("one.png", None, True),
        "the model takes no template; leave it out": ("one.png", tmp_path / "templates", False),
        "nowhere.png does not exist": ("one.png", tmp_path / "nowhere.png", True),
        "text.png is not a picture": ("one.png", tmp_path / "text.png", True),
    }
    for expected, (picture, source, takes_template) in cases.items():
        with pytest.raises((ConfigError, CameraError)) as caught:
            match_templates([Path(picture)], source, takes_template)
        assert expected in str(caught.value)


def test_a_template_of_another_size_is_told_with_both(tmp_path: Path, grey: np.ndarray) -> None:
    good = save(tmp_path / "good.png", grey)
    with pytest.raises(CameraError, match=r"good\.png is 30x20 px, picture a\.png 31x20 px; both must come from one"):
        read_template(good, Path("a.png"), (20, 31))


# -- the whole command, with a real network -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class 1 or 2 is whatever is much brighter than the template; see tests/inference/tiny_network.py."""
    for name in ("paddle", "paddlelite"):
        pytest.importorskip(name, reason=f"needs {name} to make a real network")
    folder = tmp_path_factory.mktemp("network")
    command = [sys.executable, str(NETWORK_SCRIPT), str(folder), str(TILE_PX)]
    subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, timeout=120, check=True)
    draft = Draft(
        name="comparing",
        version=1,
        created=datetime(2026, 1, 31, tzinfo=timezone.utc),
        input=Input(channels="GRAY", mean=(0,), std=(1,), tile_px=TILE_PX, stride_px=16, margin_px=4, template=True),
        output=Output(kind="class_and_score", mask_stride_px=CELL_PX),
        classes=tuple(ClassEntry(id=i, name=f"kind {i}", color_bgr=(0, 0, 255), threshold=128) for i in (1, 2)),
        figures=Figures(parameters=0, macs_per_tile=0),
        terms="made up by the tests",
    )
    cells = (TILE_PX // CELL_PX,) * 2
    quiet = Mask(np.ones(cells, np.uint8), np.full(cells, 5, np.uint8), CELL_PX)
    golden = GoldenTile(np.full((TILE_PX, TILE_PX, 3), 9, np.uint8), quiet, np.full((TILE_PX, TILE_PX), 9, np.uint8))
    artefact = NewArtefact("m.nb", (folder / "template.x86.nb").read_bytes(), "x86", "fp32", "v2.13-rc")
    return write_bundle(folder / "comparing" / "1", draft, [artefact], [golden]).folder


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lawful pattern brighter than any threshold, with a dark field; in `bad` the field is bright.

    The templates show the pattern 2 rows and 3 columns off.
    """
    folder, rng = tmp_path_factory.mktemp("scene"), np.random.default_rng(4)
    (height, width), (rows, columns) = PICTURE_HW, FIELD
    lawful = np.kron(np.where(rng.random((20, 28)) < 0.3, 220, 20), np.ones((8, 8))).astype(np.uint8)
    lawful[rows, columns] = 20
    template = lawful[2 : 2 + height, 3 : 3 + width]
    bad = lawful.copy()
    bad[rows, columns] = 250
    for name, whole in (("fine.png", lawful), ("bad.png", bad)):
        picture = whole[:height, :width].copy()
        picture[:2], picture[:, :3] = 0, 0  # of this the template shows nothing
        save(folder / "pictures" / name, picture)
        save(folder / "templates" / name, template)
    return folder


def edge_runtime(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_runtime", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def inspect(*words: object) -> tuple[int, list[dict[str, object]]]:
    done = edge_runtime("inspect", *words, "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines, done.stderr
    return done.returncode, [{key: line[key] for key in ("outcome", "reasons", "defects", "tiles")} for line in lines]


def test_the_bundle_verifies(bundle: Path) -> None:
    verified = edge_runtime("bundle", "verify", bundle)
    assert (verified.returncode, verified.stderr) == (0, "")


def test_only_what_the_template_does_not_show_is_a_defect(bundle: Path, scene: Path, tmp_path: Path) -> None:
    pictures, overlays = scene / "pictures", tmp_path / "overlays"
    code, lines = inspect(pictures, "-b", bundle, "--template", scene / "templates", "--overlays", overlays)
    assert code == 1
    bad, fine = lines
    assert (bad["outcome"], fine["outcome"], fine["defects"]) == ("REJECT", "PASS", [])
    assert [defect["xyxy_px"] for defect in bad["defects"]] == [[100, 60, 140, 80]]
    assert bad["tiles"] > 4
    assert sorted(os.listdir(overlays)) == ["bad-overlay.jpg", "fine-overlay.jpg"]
    one_file = scene / "templates" / "fine.png"
    assert inspect(pictures, "-b", bundle, "--template", one_file, "--workers", 3) == (code, lines)


def test_a_recipe_may_name_the_template(bundle: Path, scene: Path, tmp_path: Path) -> None:
    shutil.copy(scene / "templates" / "bad.png", tmp_path / "good.png")
    (tmp_path / "recipe.toml").write_text('template = "good.png"\n')
    code, lines = inspect(scene / "pictures", "-b", bundle, "--recipe", tmp_path / "recipe.toml")
    assert (code, [line["outcome"] for line in lines]) == (1, ["REJECT", "PASS"])


def test_a_picture_of_another_size_is_trouble_and_does_not_stop_the_others(
    bundle: Path, scene: Path, tmp_path: Path
) -> None:
    small = save(tmp_path / "small.png", np.zeros((100, 210), np.uint8))
    good = scene / "templates" / "fine.png"
    code, lines = inspect(small, scene / "pictures" / "fine.png", "-b", bundle, "--template", good)
    assert (code, [line["outcome"] for line in lines]) == (2, ["NOT_INSPECTED", "PASS"])
    assert "fine.png is 210x150 px, picture" in lines[0]["reasons"][0]


def test_a_model_and_a_template_that_do_not_go_together_are_told(bundle: Path, scene: Path) -> None:
    for words in ((scene, "-b", bundle), (scene / "pictures", "-b", SHIPPED, "--template", scene / "templates")):
        done = edge_runtime("inspect", *words)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
