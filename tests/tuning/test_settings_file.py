"""A settings file rewritten by a tune: comments and order stay, the daemon may still read it, the old one is kept."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from edge_runtime.config import load_settings
from edge_runtime.errors import ConfigError
from edge_runtime.tuning.settings_file import changes_of, write_changes

BUNDLE = Path(__file__).parents[2] / "opt_models" / "board-unet" / "3"
CAMERA = '[camera]\ndriver = "synthetic"   # for a trial\n\n'
WANTED: dict[str, Any] = {
    "backend": "openvino",
    "target": "onnx",
    "openvino_precision": "bf16",
    "workers": 1,
    "threads": 2,
    "cpu_affinity": ("4-5",),
}
COMMENTED = f"""\
# Line 2, camera above the press.
{CAMERA}# The model and what runs it
[inspection]
bundle = "{BUNDLE}"  # do not change without the recipe
workers = 3   # one core stays free
cpu_affinity = ["0", "1", "2"]
# the end of it

[line]
deadline_ms = 700   # the ejector is 1.1 s away
"""
FORMS = {
    "section": COMMENTED,
    "inline table": f'inspection = {{ bundle = "{BUNDLE}", workers = 3 }}  # short\n{CAMERA}',
    "dotted keys": f'inspection.bundle = "{BUNDLE}"\ninspection.workers = 3 # three\n{CAMERA}',
    "no line break at the end": COMMENTED.rstrip("\n"),
    "Windows line ends": COMMENTED.replace("\n", "\r\n"),
    "section at the end": f'{CAMERA}[inspection]\nbundle = "{BUNDLE}"',
}


def comments(text: str) -> list[str]:
    return [line.partition("#")[2].strip() for line in text.splitlines() if "#" in line]


def tuned(path: Path, wanted: dict[str, Any]) -> tuple[list[str], Path]:
    changes = changes_of(load_settings(path).inspection, wanted)
    return [str(change) for change in changes], write_changes(path, changes)


@pytest.mark.parametrize("form", FORMS)
def test_only_the_keys_change(tmp_path: Path, form: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(FORMS[form].encode())
    before = load_settings(path)
    _, backup = tuned(path, WANTED)
    after = load_settings(path)
    inspection = after.inspection
    assert (inspection.backend, inspection.openvino_precision, inspection.workers) == ("openvino", "bf16", 1)
    assert (inspection.threads, inspection.cpu_affinity, inspection.target) == (2, ("4-5",), None)
    assert comments(path.read_text()) == comments(FORMS[form])
    changed = {key: getattr(before.inspection, key) for key in WANTED}
    assert after.model_copy(update={"inspection": inspection.model_copy(update=changed)}) == before
    assert backup.read_bytes() == FORMS[form].encode()


def test_each_change_is_told_with_its_old_and_new_value(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(COMMENTED)
    told, _ = tuned(path, WANTED)
    assert told == [
        'inspection.backend: "paddle_lite" → "openvino"',
        'inspection.openvino_precision: "f32" → "bf16"',
        "inspection.workers: 3 → 1",
        "inspection.threads: 1 → 2",
        'inspection.cpu_affinity: ["0", "1", "2"] → ["4-5"]',
    ]


def test_a_target_that_no_longer_fits_goes(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'{CAMERA}[inspection]\nbundle = "{BUNDLE}"\ntarget = "x86"\n')
    told, _ = tuned(path, WANTED)
    assert 'inspection.target: "x86" → unset' in told
    assert load_settings(path).inspection.target is None


def test_what_the_settings_say_already_is_no_change(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'{CAMERA}[inspection]\nbundle = "{BUNDLE}"\nbackend = "onnxruntime"\ntarget = "onnx"\n')
    same = {**WANTED, "backend": "onnxruntime", "openvino_precision": "f32", "workers": 2, "threads": 1}
    assert changes_of(load_settings(path).inspection, {**same, "cpu_affinity": ()}) == []


def test_owner_rights_and_link_stay(tmp_path: Path) -> None:
    real, link = tmp_path / "real.toml", tmp_path / "config.toml"
    real.write_text(COMMENTED)
    real.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(real, 0, 12)
    link.symlink_to(real)
    _, backup = tuned(link, WANTED)
    assert link.is_symlink()
    for file in (real, backup):
        seen = file.stat()
        assert stat.S_IMODE(seen.st_mode) == 0o640
        assert os.geteuid() != 0 or (seen.st_uid, seen.st_gid) == (0, 12)


def test_a_file_that_was_broken_meanwhile_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(COMMENTED)
    changes = changes_of(load_settings(path).inspection, WANTED)
    path.write_text("[camera\n")
    with pytest.raises(ConfigError, match=r"config\.toml: cannot be rewritten"):
        write_changes(path, changes)
    path.write_text(COMMENTED.replace("deadline_ms = 700", "deadline_ms = -1"))
    with pytest.raises(ConfigError, match="deadline_ms"):
        write_changes(path, changes)
    assert [file.name for file in tmp_path.iterdir()] == ["config.toml"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    path = tmp_path / "config.toml"
    path.write_text(COMMENTED)
    changes = changes_of(load_settings(path).inspection, WANTED)
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="cannot be written"):
        write_changes(path, changes)
