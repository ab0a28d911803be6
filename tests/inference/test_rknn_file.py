"""The frame of a `.rknn` file: what it says is read, and whatever is cut, swapped or made up is refused in words."""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import BundleError
from edge_runtime.inference.rknn_file import check_rknn, read_rknn

TILE, ANSWER = (1, 1, 64, 64), (1, 2, 32, 32)


def framed(network=b"the vendor's own form", *, layout=6, magic=b"RKNN", **changes):
    """A file as toolkit 2.5.0 frames it, or with a mistake."""
    told = {
        "version": "2.5.0",
        "target_platform": ["rk3588"],
        "norm_tensor": [{"tensor_id": 0, "size": TILE}, {"tensor_id": 1, "size": ANSWER}],
        "graph": [{"left": "input", "right_tensor_id": 0}, {"left": "output", "right_tensor_id": 1}],
        **changes,
    }
    description = json.dumps(told).encode()
    head = struct.pack("<4sIQQ", magic, 0, layout, len(network)).ljust(64, b"\0")
    return head + network + struct.pack("<Q", len(description)) + description


def check(data, version="2.5.0", tile=TILE, answer=ANSWER, **options):
    check_rknn(data, version, tile, answer, "model.rknn", **options)


def test_a_whole_file_says_what_it_is_for():
    found = read_rknn(framed(), "model.rknn")
    assert (found.toolkit_version, found.platforms) == ("2.5.0", ("rk3588",))
    assert (found.inputs, found.outputs) == ((TILE,), (ANSWER,))
    check(framed())


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (framed(target_platform=["rk3566"]), "made for rk3566, not for rk3588"),
        (framed(target_platform=[]), "made for no chip"),
        (framed(version="2.3.0"), "made by toolkit 2.3.0, the manifest says 2.5.0"),
        (framed(norm_tensor=[{"tensor_id": 0, "size": TILE}, {"tensor_id": 1, "size": (1, 7, 32, 32)}]), "1×7×32×32"),
        (framed(graph=[{"left": "input", "right_tensor_id": 0}]), "gives nothing"),
        (framed(graph=[{"left": "input", "right_tensor_id": 5}]), "not an RKNN network"),
        (framed(layout=5), "layout 5, only 6 is known"),
        (framed(magic=b"RKCE"), "does not begin with RKNN"),
        (framed() + b" ", "its description has"),
        (b"", "not an RKNN network"),
    ],
)
def test_another_file_is_refused_and_the_message_says_why(data, problem):
    with pytest.raises(BundleError, match=problem):
        check(data)


@given(st.integers(0, len(framed()) - 1))
def test_a_file_that_is_cut_is_refused(length):
    with pytest.raises(BundleError, match=r"model\.rknn: not an RKNN network to be trusted"):
        check(framed()[:length])


@given(st.binary(max_size=300), st.binary(max_size=80))
def test_bytes_that_mean_nothing_are_refused_and_raise_nothing_else(head, tail):
    for data in (head, b"RKNN" + head, framed(head)[:-20] + tail):
        try:
            read_rknn(data, "model.rknn")
        except BundleError:
            continue


def test_a_description_nested_without_end_is_refused():
    text = b"[" * 100_000
    data = struct.pack("<4sIQQ", b"RKNN", 0, 6, 0).ljust(64, b"\0") + struct.pack("<Q", len(text)) + text
    with pytest.raises(BundleError, match="not an RKNN network"):
        read_rknn(data, "model.rknn")
