"""What every segmenter promises, asked of each: the real ones and the scripted one."""

import importlib.util

import numpy as np
import pytest

from edge_runtime.errors import InferenceError
from edge_runtime.inference.onnx_runtime import open_onnx_runtime
from edge_runtime.inference.open_vino import open_openvino
from edge_runtime.inference.paddle_lite import PaddleLiteSegmenter
from edge_runtime.inference.scripted import ScriptedSegmenter
from edge_runtime.vision.preprocess import TilePreprocessor


def open_scripted(bundle):
    return ScriptedSegmenter(bundle.input_contract, bundle.mask_stride_px)


BACKENDS = {
    "scripted": (open_scripted, "edge_runtime", "scripted_bundle", "template_bundle"),
    "paddle_lite": (PaddleLiteSegmenter, "paddlelite", "tiny_bundle", "comparing_bundle"),
    "onnxruntime": (open_onnx_runtime, "onnxruntime", "onnx_bundle", "comparing_onnx_bundle"),
    "openvino": (open_openvino, "openvino", "onnx_bundle", "comparing_onnx_bundle"),
}


@pytest.fixture(params=BACKENDS)
def backend(request):
    if importlib.util.find_spec(BACKENDS[request.param][1]) is None:
        pytest.skip(f"{request.param} is not installed")
    return request.param


@pytest.fixture(params=["alone", "with template"])
def bundle(request, backend):
    return request.getfixturevalue(BACKENDS[backend][2 if request.param == "alone" else 3])


@pytest.fixture
def segmenter(backend, bundle):
    opened = BACKENDS[backend][0](bundle)
    yield opened
    opened.close()


@pytest.fixture
def tile(segmenter, stripes):
    template = stripes([104, 10, 10, 10])[..., 0] if segmenter.input_contract.template else None
    return TilePreprocessor(segmenter.input_contract).tile(stripes([104, 200, 10, 102]), (0, 0), template)


def test_it_knows_its_contract(segmenter, bundle):
    assert segmenter.input_contract == bundle.input_contract
    assert segmenter.mask_stride_px == bundle.mask_stride_px


def test_it_answers_two_planes_of_one_byte_a_cell(segmenter, tile):
    planes = segmenter.predict(tile)
    assert [(plane.dtype, plane.shape, plane.flags.c_contiguous) for plane in planes] == [
        (np.uint8, (32, 32), True),
        (np.uint8, (32, 32), True),
    ]
    assert len(np.unique(planes[1])) > 1


def test_equal_tiles_get_equal_answers_whatever_lay_between(segmenter, tile):
    first = segmenter.predict(tile)
    segmenter.predict(np.zeros_like(tile))
    again = segmenter.predict(tile)
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])


def test_an_answer_outlives_the_next_run_and_the_segmenter(segmenter, tile):
    answer = segmenter.predict(tile)
    kept = [plane.copy() for plane in answer]
    other = segmenter.predict(np.zeros_like(tile))
    assert not np.array_equal(other[1], kept[1])
    segmenter.close()
    assert np.array_equal(answer[0], kept[0])
    assert np.array_equal(answer[1], kept[1])


def test_the_tile_is_left_as_it_was(segmenter, tile):
    tile.flags.writeable = False
    before = tile.copy()
    segmenter.predict(tile)
    assert np.array_equal(tile, before)


def with_value(value):
    def spoil(tile):
        spoilt = tile.copy()
        spoilt[0, 0, -1, -1] = value
        return spoilt

    return spoil


SPOILT = {
    "float64": (lambda tile: tile.astype(np.float64), "dtype must be float32, not float64"),
    "uint8": (lambda tile: tile.astype(np.uint8), "dtype must be float32, not uint8"),
    "float16": (lambda tile: tile.astype(np.float16), "dtype must be float32, not float16"),
    "big-endian": (lambda tile: tile.astype(">f4"), "dtype must be float32, not >f4"),
    "list": (lambda tile: tile.tolist(), "must be an array, not list"),
    "rank": (lambda tile: tile[0], r"shape must be \(1, {same}, 64, 64\) for life, not \({same}, 64, 64\)"),
    "smaller": (lambda tile: np.ascontiguousarray(tile[..., :32]), r"not \(1, {same}, 64, 32\)"),
    "bigger": (lambda tile: np.concatenate([tile, tile], axis=2), r"not \(1, {same}, 128, 64\)"),
    "batch": (lambda tile: np.concatenate([tile, tile]), r"not \(2, {same}, 64, 64\)"),
    "no batch": (lambda tile: tile[:0], r"not \(0, {same}, 64, 64\)"),
    "a channel more": (lambda tile: np.concatenate([tile, tile[:, :1]], axis=1), r"not \(1, {more}, 64, 64\)"),
    "a channel less": (lambda tile: np.ascontiguousarray(tile[:, 1:]), r"not \(1, {less}, 64, 64\)"),
    "transposed": (lambda tile: tile.transpose(0, 1, 3, 2), "must be C-contiguous"),
    "NaN": (with_value(np.nan), "holds NaN or infinity"),
    "infinity": (with_value(-np.inf), "holds NaN or infinity"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_tile_outside_the_contract_is_refused_and_does_no_harm(segmenter, tile, kind):
    spoil, reason = SPOILT[kind]
    same = tile.shape[1]
    reason = reason.format(same=same, more=same + 1, less=same - 1)
    before = segmenter.predict(tile)
    with pytest.raises(InferenceError, match=rf"^tile: .*{reason}.*TilePreprocessor"):
        segmenter.predict(spoil(tile))
    assert np.array_equal(segmenter.predict(tile)[1], before[1])


def test_after_closing_twice_it_refuses_by_name(segmenter, tile):
    segmenter.close()
    segmenter.close()
    with pytest.raises(InferenceError, match="closed; open a new one"):
        segmenter.predict(tile)
