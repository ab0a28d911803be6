"""The Paddle Lite segmenter: right numbers, and nothing reaches the predictor that would crash it."""

import builtins
import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_runtime.errors import BundleError, InferenceError
from edge_runtime.inference.bundle import load_bundle
from edge_runtime.inference.paddle_lite import PaddleLiteSegmenter
from edge_runtime.values import Mask

GREYS = [60, 160, 220, 10]


def predict(bundle, picture):
    segmenter = PaddleLiteSegmenter(bundle)
    return [plane.copy() for plane in segmenter.predict(picture)]


@pytest.fixture(scope="module")
def open_segmenter(tiny_bundle_folder):
    segmenter = PaddleLiteSegmenter(load_bundle(tiny_bundle_folder))
    yield segmenter
    segmenter.close()


@given(greys=st.lists(st.integers(0, 255), min_size=32, max_size=32))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_it_computes_what_the_formula_says(open_segmenter, stripes, expected, greys):
    picture = stripes(greys)
    class_ids, scores = open_segmenter.predict(picture)
    golden = expected(picture)
    assert np.abs(scores.astype(int) - golden.scores).max() <= 1
    assert np.array_equal(class_ids, golden.class_ids)


def test_two_segmenters_do_not_disturb_each_other(tiny_bundle, stripes, expected):
    first, second = PaddleLiteSegmenter(tiny_bundle), PaddleLiteSegmenter(tiny_bundle)
    kept = first.predict(stripes(GREYS))[1].copy()
    assert not np.array_equal(second.predict(stripes(GREYS[::-1]))[1], kept)
    first.close()
    assert np.array_equal(second.predict(stripes(GREYS))[1], kept)


def test_one_plane_of_class_ids_scores_255_where_it_is_not_0(one_output_bundle, stripes, expected):
    picture = stripes(GREYS)
    golden = expected(picture)
    certain = Mask(golden.class_ids, np.full_like(golden.scores, 255), 2)
    class_ids, scores = predict(one_output_bundle("class_ids", 2, certain), picture)
    assert np.array_equal(class_ids, golden.class_ids)
    assert np.array_equal(scores, certain.scores)


def test_one_plane_of_scores_is_the_only_class(one_output_bundle, stripes, expected):
    picture = stripes(GREYS)
    plane = expected(picture).class_ids
    mask = Mask(np.ones_like(plane), plane, 2)
    class_ids, scores = predict(one_output_bundle("score", 1, mask), picture)
    assert np.array_equal(class_ids, mask.class_ids)
    assert np.array_equal(scores, mask.scores)


def test_a_manifest_that_promises_another_number_of_outputs_is_refused(one_output_bundle, stripes, expected):
    bundle = one_output_bundle("class_and_score", 2, expected(stripes(GREYS)))
    with pytest.raises(BundleError, match=r"'class_and_score' means 1 input and 2 outputs, the network has 1 and 1"):
        PaddleLiteSegmenter(bundle)


def test_a_manifest_that_promises_another_mask_stride_is_refused(tiny_bundle, stripes):
    output = tiny_bundle.manifest.output.model_copy(update={"mask_stride_px": 4})
    bundle = replace(tiny_bundle, manifest=tiny_bundle.manifest.model_copy(update={"output": output}))
    with pytest.raises(InferenceError, match=r"output 0 is uint8 .*32, 32\), the manifest promises uint8 \(16, 16\)"):
        predict(bundle, stripes(GREYS))


# -- files that the predictor would answer with abort() or garbage ------------------------------------------------


def put(bundle, data, digest_too):
    """Replace the x86 file, with or without an honest manifest."""
    (bundle.folder / "model.x86.nb").write_bytes(data)
    if digest_too:
        path = bundle.folder / "manifest.json"
        raw = json.loads(path.read_bytes())
        raw["artefacts"][0].update(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
        path.write_text(json.dumps(raw))
        return load_bundle(bundle.folder)
    return bundle


DAMAGE = {
    "flipped weight": (lambda good, arm: good[:-9] + bytes([good[-9] ^ 1]) + good[-8:], False, "sha256 is"),
    "cut": (lambda good, arm: good[:-1], False, "size_bytes is"),
    "cut in the topology": (lambda good, arm: good[:1000], True, "cut off"),
    "empty but for a byte": (lambda good, arm: good[:1], True, "1 bytes are too few"),
    "text": (lambda good, arm: b"no network at all, only text", True, "meta version"),
    "arm": (lambda good, arm: arm, True, "its kernels are for arm, host, not for x86; take the file made for x86"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_file_the_predictor_must_not_see_is_refused(tiny_bundle, kind):
    damage, digest_too, reason = DAMAGE[kind]
    good, arm = ((tiny_bundle.folder / f"model.{target}.nb").read_bytes() for target in ("x86", "arm"))
    bundle = put(tiny_bundle, damage(good, arm), digest_too)
    with pytest.raises(BundleError, match=rf"model\.x86\.nb: .*{reason}"):
        PaddleLiteSegmenter(bundle)


def test_a_missing_file_is_refused(tiny_bundle):
    (tiny_bundle.folder / "model.x86.nb").unlink()
    with pytest.raises(BundleError, match=r"model\.x86\.nb: is missing; copy the bundle again"):
        PaddleLiteSegmenter(tiny_bundle)


# -- settings and installation ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"threads": 2}, "inference threads 2: this build of Paddle Lite computes on one; set it to 1"),
        ({"power_mode": "turbo"}, "power mode 'turbo': allowed are high, low, full"),
        ({"power_mode": "high"}, "power mode 'high': this build of Paddle Lite has none; leave the setting out"),
    ],
)
def test_a_setting_this_build_cannot_keep_is_refused(tiny_bundle, options, reason):
    with pytest.raises(InferenceError, match=reason):
        PaddleLiteSegmenter(tiny_bundle, **options)


def test_an_artefact_the_bundle_lacks_is_refused(tiny_bundle):
    with pytest.raises(BundleError, match=r"no artefact for arm\+fp16; the bundle has x86, arm"):
        PaddleLiteSegmenter(tiny_bundle, target="arm+fp16")


def test_a_network_for_another_machine_is_refused(tiny_bundle):
    with pytest.raises(BundleError, match=r"model\.arm\.nb: made for arm, not for this x86 machine"):
        PaddleLiteSegmenter(tiny_bundle, target="arm")


def test_a_template_is_the_second_channel(comparing_bundle, stripes, expected):
    segmenter = PaddleLiteSegmenter(comparing_bundle)
    picture, template = stripes([200, 90, 250, 30]), stripes([180, 90, 40, 60])[..., 0].copy()
    class_ids, scores = map(np.copy, segmenter.predict(picture, template))
    answer = expected(picture, template)
    assert np.array_equal(class_ids, answer.class_ids)
    assert np.abs(scores.astype(int) - answer.scores).max() <= 1
    assert (scores != segmenter.predict(picture, stripes([0] * 4)[..., 0].copy())[1]).any()


def test_without_paddle_lite_the_message_says_what_to_install(tiny_bundle, monkeypatch):
    real_import = builtins.__import__

    def without(name, *rest):
        if name.startswith("paddlelite"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InferenceError, match=r"pip install 'edge-defect-runtime\[lite\]'.*aarch64.*own build"):
        PaddleLiteSegmenter(tiny_bundle)
