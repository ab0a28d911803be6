"""What every segmenter promises, asked of each: the real ones and the scripted one."""

import importlib.util

import numpy as np
import pytest

from edge_runtime.errors import InferenceError
from edge_runtime.inference.onnx_runtime import open_onnx_runtime
from edge_runtime.inference.open_vino import open_openvino
from edge_runtime.inference.paddle_lite import PaddleLiteSegmenter
from edge_runtime.inference.rknn_lite import open_rknn
from edge_runtime.inference.scripted import ScriptedSegmenter


def open_scripted(bundle):
    return ScriptedSegmenter(bundle.input_contract, bundle.mask_stride_px)


BACKENDS = {
    "scripted": (open_scripted, "edge_runtime", "scripted_bundle", "template_bundle"),
    "paddle_lite": (PaddleLiteSegmenter, "paddlelite", "tiny_bundle", "comparing_bundle"),
    "onnxruntime": (open_onnx_runtime, "onnxruntime", "onnx_bundle", "comparing_onnx_bundle"),
    "openvino": (open_openvino, "openvino", "onnx_bundle", "comparing_onnx_bundle"),
    "rknn, its library stood in for": (open_rknn, "onnxruntime", "rknn_bundle", "comparing_rknn_bundle"),
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
    """Picture and template, as `predict` takes them: views into something larger."""
    picture = inside(stripes([104, 200, 10, 102]))
    if not segmenter.input_contract.template:
        return picture, None
    return picture, inside(stripes([104, 10, 10, 10])[..., 0])


def inside(plane):
    """The same pixels as a view whose rows lie apart."""
    larger = np.zeros((plane.shape[0], plane.shape[1] + 9, *plane.shape[2:]), plane.dtype)
    view = larger[:, 4 : 4 + plane.shape[1]]
    view[...] = plane
    return view


def kept(planes):
    return [plane.copy() for plane in planes]


def black(tile):
    return tuple(plane if plane is None else np.zeros(plane.shape, np.uint8) for plane in tile)


def test_it_knows_its_contract(segmenter, bundle):
    assert segmenter.input_contract == bundle.input_contract
    assert segmenter.mask_stride_px == bundle.mask_stride_px


def test_it_answers_two_planes_of_one_byte_a_cell(segmenter, tile):
    planes = segmenter.predict(*tile)
    assert [(plane.dtype, plane.shape) for plane in planes] == [(np.uint8, (32, 32))] * 2
    assert len(np.unique(planes[1])) > 1


def test_equal_tiles_get_equal_answers_whatever_lay_between(segmenter, tile):
    first = kept(segmenter.predict(*tile))
    assert not np.array_equal(segmenter.predict(*black(tile))[1], first[1])
    assert np.array_equal(segmenter.predict(*tile), first)


def test_a_tile_is_the_same_wherever_it_lies_in_memory(segmenter, tile):
    first = kept(segmenter.predict(*tile))
    segmenter.predict(*black(tile))
    assert np.array_equal(segmenter.predict(*(p if p is None else np.ascontiguousarray(p) for p in tile)), first)


def test_the_tile_is_left_as_it_was(segmenter, tile):
    before = [None if plane is None else plane.copy() for plane in tile]
    for plane in tile:
        if plane is not None:
            plane.flags.writeable = False
    segmenter.predict(*tile)
    for plane, was in zip(tile, before, strict=True):
        assert was is None or np.array_equal(plane, was)


def of_picture(spoil):
    return lambda picture, template: (spoil(picture), template)


SPOILT = {
    "float32": (of_picture(lambda p: p.astype(np.float32)), "picture: dtype must be uint8, not float32"),
    "int8": (of_picture(lambda p: p.astype(np.int8)), "picture: dtype must be uint8, not int8"),
    "list": (of_picture(lambda p: p.tolist()), "picture: must be an array, not list"),
    "grey": (of_picture(lambda p: p[..., 0]), r"picture: shape must be \(64, 64, 3\) for life, not \(64, 64\)"),
    "smaller": (of_picture(lambda p: p[:, :32]), r"not \(64, 32, 3\)"),
    "bigger": (of_picture(lambda p: np.concatenate([p, p])), r"not \(128, 64, 3\)"),
    "empty": (of_picture(lambda p: p[:0]), r"not \(0, 64, 3\)"),
    "a channel more": (of_picture(lambda p: np.dstack([p, p[..., :1]])), r"not \(64, 64, 4\)"),
    "transposed": (of_picture(lambda p: p.transpose(1, 0, 2)), "picture: only its rows may lie apart"),
    "mirrored": (of_picture(lambda p: p[:, ::-1]), "picture: only its rows may lie apart"),
    "upside down": (of_picture(lambda p: p[::-1]), "picture: only its rows may lie apart"),
    "RGB": (of_picture(lambda p: p[..., ::-1]), "picture: only its rows may lie apart"),
    "one row for all": (of_picture(lambda p: np.broadcast_to(p[:1], p.shape)), "picture: only its rows may lie apart"),
}
SPOILT_TEMPLATES = {
    "none": (lambda picture, template: (picture, None), "template: the model needs one"),
    "float32": (lambda picture, template: (picture, template.astype(np.float32)), "template: dtype must be uint8"),
    "in colour": (
        lambda picture, template: (picture, np.dstack([template] * 3)),
        r"template: shape .*not \(64, 64, 3\)",
    ),
    "smaller": (lambda picture, template: (picture, template[:63]), r"template: shape must be \(64, 64\)"),
    "transposed": (lambda picture, template: (picture, template.T), "template: only its rows may lie apart"),
    "every other": (lambda picture, template: (picture, np.hstack([template] * 2)[:, ::2]), "template: only its rows"),
}


def refused(segmenter, tile, spoil, reason):
    before = kept(segmenter.predict(*tile))
    with pytest.raises(InferenceError, match=rf"^.*{reason}.*cut_tile"):
        segmenter.predict(*spoil(*tile))
    assert np.array_equal(segmenter.predict(*tile), before)


@pytest.mark.parametrize("kind", SPOILT)
def test_a_tile_outside_the_contract_is_refused_and_does_no_harm(segmenter, tile, kind):
    refused(segmenter, tile, *SPOILT[kind])


@pytest.mark.parametrize("kind", SPOILT_TEMPLATES)
def test_a_template_outside_the_contract_is_refused_and_does_no_harm(segmenter, tile, kind):
    if tile[1] is None:
        refused(segmenter, tile, lambda picture, template: (picture, picture[..., 0]), "template: the model takes none")
    else:
        refused(segmenter, tile, *SPOILT_TEMPLATES[kind])


def test_after_closing_twice_it_refuses_by_name(segmenter, tile):
    segmenter.close()
    segmenter.close()
    with pytest.raises(InferenceError, match="closed; open a new one"):
        segmenter.predict(*tile)
