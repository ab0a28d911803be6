"""The manifest accepts what it wrote and names what is wrong with anything else."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_runtime.errors import BundleError
from edge_runtime.inference.manifest import FileEntry, parse_manifest
from edge_runtime.values import InputContract


@pytest.fixture
def raw(scripted_bundle):
    return json.loads(scripted_bundle.manifest.to_json())


def set_key(*path):
    *folders, key, value = path

    def edit(raw):
        for part in folders:
            raw = raw[part]
        raw[key] = value

    return edit


def remove_key(*path):
    *folders, key = path

    def edit(raw):
        for part in folders:
            raw = raw[part]
        del raw[key]

    return edit


def test_what_was_written_is_read_back_equal(scripted_bundle):
    assert parse_manifest(scripted_bundle.manifest.to_json(), "m") == scripted_bundle.manifest


def test_the_input_section_is_the_contract(scripted_bundle):
    assert scripted_bundle.manifest.input.contract() == InputContract("GRAY", (0.0,), (1.0,), 64, 16, 4)


def test_a_manifest_that_knows_nothing_of_templates_is_valid(raw, scripted_bundle):
    del raw["input"]["template"], raw["golden"][0]["template"]
    assert parse_manifest(json.dumps(raw).encode(), "m") == scripted_bundle.manifest


def test_a_template_doubles_the_channels(template_bundle):
    contract = template_bundle.manifest.input.contract()
    assert contract == InputContract("GRAY", (0.0,), (1.0,), 64, 16, 4, template=True)
    assert contract.channel_count == 2


def test_a_manifest_that_knows_nothing_of_sides_is_valid(raw, scripted_bundle):
    del raw["artefacts"][0]["tile_range_px"], raw["golden"][0]["tile_px"]
    manifest = parse_manifest(json.dumps(raw).encode(), "m")
    assert manifest == scripted_bundle.manifest
    assert manifest.golden_for(64) == manifest.golden


def test_the_smallest_golden_tiles_that_are_large_enough_prove_a_side(raw):
    large = json.loads(json.dumps(raw["golden"][0]).replace("golden/0", "golden/1")) | {"tile_px": 160}
    raw["golden"].append(large)
    raw["artefacts"][0]["tile_range_px"] = [32, 160]
    manifest = parse_manifest(json.dumps(raw).encode(), "m")
    small, large = manifest.golden
    proofs = {side: manifest.golden_for(side) for side in (32, 64, 80, 160)}
    assert proofs == {32: (small,), 64: (small,), 80: (large,), 160: (large,)}


@pytest.mark.parametrize("target", ["arm+int8", "rockchip_npu,arm", "verisilicon_timvx,arm"])
def test_networks_for_accelerators_and_of_less_precision_have_targets(raw, target):
    raw["artefacts"].append({**raw["artefacts"][0], "file": "model.bin", "target": target, "precision": "int8"})
    assert [each.target for each in parse_manifest(json.dumps(raw).encode(), "m").artefacts] == ["x86", target]


WRONG = {
    "unknown key": (set_key("nam", 1), ["unknown key 'nam'", "did you mean 'name'?", "allowed: ", "classes"]),
    "unknown nested key": (set_key("input", "tilepx", 1), ["input: unknown key 'tilepx'", "tile_px", "margin_px"]),
    "missing key": (remove_key("golden"), ["golden: this key is missing"]),
    "missing version": (remove_key("manifest_version"), ["manifest_version: this key is missing"]),
    "later version": (set_key("manifest_version", 2), ["manifest_version: must be 1, not 2"]),
    "name": (set_key("name", "Tiny Model"), ["name: ", "'Tiny Model'"]),
    "version": (set_key("version", "../2"), ["version: ", "'../2'"]),
    "task": (set_key("task", "detection"), ["task: must be 'segmentation', not 'detection'"]),
    "local time": (set_key("created", "2026-01-31T12:00:00+02:00"), ["created: must be in UTC"]),
    "no time zone": (set_key("created", "2026-01-31T12:00:00"), ["created: "]),
    "threshold": (set_key("classes", 0, "threshold", 300), ["classes[0].threshold", "255, not 300"]),
    "threshold text": (set_key("classes", 0, "threshold", "1"), ["classes[0].threshold: must be a valid integer"]),
    "class id 0": (set_key("classes", 0, "id", 0), ["classes[0].id", "not 0"]),
    "equal ids": (set_key("classes", 1, "id", 1), ["classes: id 1 appears twice"]),
    "equal names": (set_key("classes", 1, "name", "kind 1"), ["classes: name 'kind 1' appears twice"]),
    "no class": (set_key("classes", []), ["classes: must have at least 1 item"]),
    "colour": (set_key("classes", 0, "color_bgr", [0, 0, 256]), ["classes[0].color_bgr[2]", "not 256"]),
    "channels": (set_key("input", "channels", "HSV"), ["input.channels: must be 'BGR', 'RGB' or 'GRAY', not 'HSV'"]),
    "means": (set_key("input", "mean", [0.5, 0.5, 0.5]), ["input: GRAY needs 1 means"]),
    "NaN": (set_key("input", "mean", [float("nan")]), ["input.mean[0]: must be a finite number"]),
    "std 0": (set_key("input", "std", [0.0]), ["input: GRAY needs 1 means and 1 positive stds"]),
    "template": (set_key("input", "template", 1), ["input.template: must be a valid boolean, not 1"]),
    "template of colour": (
        lambda raw: raw["input"].update(channels="RGB", mean=[0.0] * 3, std=[1.0] * 3, template=True),
        ["input: a template goes with channels GRAY only, not RGB"],
    ),
    "no golden template": (
        set_key("input", "template", True),
        ["golden[0]: a template is missing: input.template is True"],
    ),
    "margin": (set_key("input", "margin_px", 32), ["input: margin_px 32 leaves no core in a tile of 64"]),
    "output kind": (set_key("output", "kind", "logits"), ["output.kind", "'class_and_score', 'class_ids' or 'score'"]),
    "mask stride": (set_key("output", "mask_stride_px", 3), ["output.mask_stride_px must divide input.stride_px"]),
    "score of many": (set_key("output", "kind", "score"), ["output.kind 'score' needs exactly one class, not 6"]),
    "target": (set_key("artefacts", 0, "target", "amd"), ["artefacts[0].target: must be 'x86', 'arm'", "'amd'"]),
    "precision": (set_key("artefacts", 0, "precision", "fp8"), ["artefacts[0].precision", "'int8'"]),
    "artefact tile": (set_key("artefacts", 0, "tile_px", 32), ["tile_px 32 differs from input.tile_px 64"]),
    "range around": (set_key("artefacts", 0, "tile_range_px", [80, 96]), ["tile_range_px [80, 96]", "tile_px 64"]),
    "range turned": (set_key("artefacts", 0, "tile_range_px", [64, 32]), ["tile_range_px [64, 32] must be [smallest"]),
    "range of one": (set_key("artefacts", 0, "tile_range_px", [64]), ["artefacts[0].tile_range_px"]),
    "range unproved": (
        set_key("artefacts", 0, "tile_range_px", [32, 128]),
        ["model.x86.bin: tile_range_px 128 must be a multiple of stride_px 16", "at most 64, the largest golden tile"],
    ),
    "range off the stride": (
        set_key("artefacts", 0, "tile_range_px", [40, 64]),
        ["tile_range_px 40 must be a multiple"],
    ),
    "range within margins": (
        lambda raw: (raw["input"].update(margin_px=16), raw["artefacts"][0].update(tile_range_px=[32, 64])),
        ["tile_range_px 32", "above twice margin_px 16"],
    ),
    "small golden": (set_key("golden", 0, "tile_px", 48), ["golden: no tile proves input.tile_px 64"]),
    "golden off the stride": (set_key("golden", 0, "tile_px", 72), ["golden[0]: tile_px 72 must be a multiple"]),
    "path up": (set_key("artefacts", 0, "file", "../m.nb"), ["artefacts[0].file: must name a file inside the bundle"]),
    "absolute path": (
        set_key("golden", 0, "scores", "file", "/etc/passwd"),
        ["golden[0].scores.file: must name a file"],
    ),
    "backslash": (set_key("artefacts", 0, "file", "a\\b"), ["artefacts[0].file: must name a file"]),
    "same file": (set_key("golden", 0, "scores", "file", "model.x86.bin"), ["file 'model.x86.bin' appears twice"]),
    "digest": (set_key("artefacts", 0, "sha256", "abc"), ["artefacts[0].sha256", "'abc'"]),
    "size": (set_key("artefacts", 0, "size_bytes", 10**12), ["artefacts[0].size_bytes", "not 1000000000000"]),
    "signature": (set_key("signature", "abc"), ["signature: must be null, not 'abc'"]),
    "long terms": (set_key("terms", "x" * 5000), ["terms: ", "at most 4000"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_field_is_named_with_what_is_allowed(raw, case):
    edit, fragments = WRONG[case]
    edit(raw)
    with pytest.raises(BundleError) as caught:
        parse_manifest(json.dumps(raw).encode(), "box/manifest.json")
    message = str(caught.value)
    assert [part for part in ["box/manifest.json: ", *fragments] if part not in message] == [], message
    assert len(message) < 1000
    assert "\n" not in message


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000])
def test_anything_but_a_json_object_is_refused(data):
    with pytest.raises(BundleError, match=r"^m: "):
        parse_manifest(data, "m")


@given(st.text(alphabet="ab./\\~-_ \n\0", max_size=12) | st.text(max_size=12))
def test_an_accepted_file_name_stays_inside_the_folder(name):
    try:
        entry = FileEntry(file=name, sha256="0" * 64, size_bytes=1)
    except ValidationError:
        return
    folder = Path("/bundle")
    path = Path(folder / entry.file)
    assert path.is_relative_to(folder)
    assert path != folder
    assert not {"..", "~"} & set(path.parts)
    assert name.isprintable()


@pytest.mark.parametrize("name", ["model.x86.nb", "golden/0_scores.png", "a-b_c.1"])
def test_plain_file_names_are_accepted(name):
    assert FileEntry(file=name, sha256="0" * 64, size_bytes=1).file == name


def test_the_documented_manifest_is_valid():
    page = (Path(__file__).parents[2] / "docs" / "bundle.md").read_text()
    example = page.split("```json\n")[1].split("```")[0]
    manifest = parse_manifest(example.encode(), "docs/bundle.md")
    assert [artefact.target for artefact in manifest.artefacts] == ["x86", "arm", "onnx"]
