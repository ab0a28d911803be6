"""From a network's margins to class ids and scores: the same as softmax and argmax of the logits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_runtime.errors import BundleError, InferenceError
from edge_runtime.inference.bundle_writer import NewArtefact, write_bundle
from edge_runtime.inference.margins import MarginsEngine, class_and_score

LOGITS = hnp.arrays(
    np.float32, st.tuples(st.integers(2, 8), st.just(3), st.just(4)), elements=st.floats(-90, 90, width=32)
)


@given(logits=LOGITS)
def test_the_planes_are_those_of_softmax_and_argmax(logits):
    class_ids, scores = class_and_score(logits[1:] - logits[:1])
    wanted = logits.astype(np.float64)
    shares = np.exp(wanted - wanted.max(axis=0))
    background = shares[0] / shares.sum(axis=0)
    assert np.abs(scores - 255 * (1 - background)).max() <= 0.51
    chosen = np.take_along_axis(logits[1:], class_ids[None].astype(int) - 1, axis=0)[0]
    assert np.all(chosen - logits[0] == (logits[1:] - logits[:1]).max(axis=0))
    assert (class_ids.dtype, scores.dtype) == (np.uint8, np.uint8)


@given(margins=hnp.arrays(np.float32, (3, 4, 4), elements=st.floats(-65504, 65504, width=32)))
def test_margins_as_large_as_half_precision_gives_them_overflow_nothing(margins):
    class_ids, scores = class_and_score(margins)
    assert np.all(scores[margins.max(axis=0) > 20] == 255)
    assert np.all(scores[margins.max(axis=0) < -20] == 0)
    assert np.array_equal(class_ids, margins.argmax(axis=0) + 1)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_an_error_and_never_clean(scripted_bundle, wrong):
    margins = np.full((6, 32, 32), -9.0, np.float32)
    margins[2, 5, 5] = wrong
    with pytest.raises(InferenceError, match="NaN or infinity"):
        MarginsEngine(scripted_bundle, lambda pixels: margins).run()


def bundle_of(draft, golden, tmp_path, kind, class_count):
    artefact = NewArtefact("model.x86.bin", b"no network", "x86", "fp32", "none")
    return write_bundle(tmp_path / kind, draft(kind, class_count), [artefact], [golden])


def test_a_bundle_of_scores_gets_its_one_plane(draft, scripted_golden, tmp_path):
    bundle = bundle_of(draft, scripted_golden, tmp_path, "score", 1)
    (scores,) = MarginsEngine(bundle, lambda pixels: np.zeros((1, 32, 32), np.float32)).run()
    assert np.all(scores == 128)


def test_a_bundle_of_class_ids_alone_is_refused(draft, scripted_golden, tmp_path):
    with pytest.raises(BundleError, match=r"output\.kind 'class_ids'"):
        MarginsEngine(bundle_of(draft, scripted_golden, tmp_path, "class_ids", 2), lambda pixels: None)
