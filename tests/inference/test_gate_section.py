"""A bundle's gate: taken as it was written, refused when it is out of range, unfit or disproved by the golden tiles."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest

from edge_runtime.errors import BundleError
from edge_runtime.inference.bundle import load_bundle
from edge_runtime.inference.bundle_writer import NewArtefact, write_bundle
from edge_runtime.inference.manifest import Draft, parse_manifest
from edge_runtime.inference.proof import check_gate, verify_bundle
from edge_runtime.inference.scripted import ScriptedSegmenter
from edge_runtime.values import Mask
from edge_runtime.vision.gate import TemplateGate

GATE = {
    "kind": "template_difference",
    "tolerance_px": 1,
    "block_px": 4,
    "reach_px": 8,
    "threshold": 48.0,
    "calibration": {
        "data_set": "deeppcb/train",
        "pictures": 1000,
        "defects": 7437,
        "lost": 0,
        "confidence": 0.95,
        "lost_share_max": 0.0004,
        "skipped_share": 0.1,
        "clean_skipped_share": 0.5,
    },
}
MODEL = NewArtefact("model.x86.bin", b"not a network", "x86", "fp32", "none")


@pytest.fixture
def gated(tmp_path, draft, template_golden):
    """`gated(golden, **changes)`: a bundle with a gate; its golden defect is 93 grey levels from the template."""

    def write(golden=template_golden, **changes):
        with_gate = Draft.model_validate({**draft("class_and_score", 6, True).model_dump(), "gate": GATE | changes})
        return write_bundle(tmp_path / "gated" / "1", with_gate, [MODEL], [golden])

    return write


def scripted(bundle):
    return ScriptedSegmenter(bundle.input_contract, bundle.mask_stride_px)


def test_a_gate_comes_back_as_it_was_written_and_is_proved(gated):
    bundle = load_bundle(gated().folder)
    assert bundle.gate == TemplateGate(1, 4, 8, 48.0)
    assert bundle.manifest.gate.model_dump() == GATE
    check_gate(bundle)
    verify_bundle(bundle.folder, scripted)


def test_a_bundle_without_a_gate_has_none_and_nothing_to_prove(template_bundle, scripted_bundle):
    for bundle in (template_bundle, scripted_bundle):
        assert bundle.gate is None
        check_gate(bundle)
    older = json.loads(template_bundle.manifest.to_json())
    del older["gate"]
    assert parse_manifest(json.dumps(older).encode(), "here").gate is None


def test_a_gate_that_calls_a_golden_defect_clean_is_refused_before_the_network_runs(gated):
    bundle = gated(threshold=100.0)
    for check in (check_gate, lambda bundle: verify_bundle(bundle.folder, scripted)):
        with pytest.raises(BundleError, match=r"golden/0_picture\.png: the gate calls it clean \(score 93\.0"):
            check(bundle)


def test_a_gate_that_no_golden_tile_can_prove_is_refused(gated, template_golden):
    empty = np.zeros_like(template_golden.mask.class_ids)
    bundle = gated(replace(template_golden, mask=Mask(empty, empty, template_golden.mask.stride_px)))
    with pytest.raises(BundleError, match="no golden tile holds a defect, so nothing proves the gate"):
        check_gate(bundle)


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (("kind",), "guess", "gate.kind"),
        (("tolerance_px",), 9, "gate.tolerance_px"),
        (("block_px",), 0, "gate.block_px"),
        (("block_px",), 17, "gate.block_px"),
        (("reach_px",), -1, "gate.reach_px"),
        (("threshold",), 256.0, "gate.threshold"),
        (("threshold",), float("nan"), "gate.threshold"),
        (("threshold",), -1.0, "gate.threshold"),
        (("threshold",), "48", "gate.threshold"),
        (("more",), 1, "gate: unknown key 'more'"),
        (("calibration",), None, "gate.calibration"),
        (("calibration", "defects"), 0, "gate.calibration.defects"),
        (("calibration", "lost_share_max"), 1.5, "gate.calibration.lost_share_max"),
        (("calibration", "confidence"), -0.1, "gate.calibration.confidence"),
    ],
)
def test_a_bad_gate_section_is_refused_by_its_key(gated, path, value, complaint):
    manifest = json.loads(gated().manifest.to_json())
    section = manifest["gate"] = copy.deepcopy(manifest["gate"])
    for part in path[:-1]:
        section = section[part]
    section[path[-1]] = value
    with pytest.raises(BundleError, match=complaint):
        parse_manifest(json.dumps(manifest).encode(), "here")


def test_a_model_that_takes_no_template_has_no_gate_that_compares_with_one(scripted_bundle):
    manifest = json.loads(scripted_bundle.manifest.to_json()) | {"gate": GATE}
    with pytest.raises(BundleError, match=r"needs input\.template"):
        parse_manifest(json.dumps(manifest).encode(), "here")
