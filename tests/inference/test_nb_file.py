"""The head of `.nb` files: real ones are read, any damage to it is refused before a predictor sees it."""

import re
import struct
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import BundleError
from edge_runtime.inference.nb_file import (
    KERNEL_TARGETS,
    Kernel,
    NbHeader,
    check_nb,
    nnadapter_device,
    normalise_nb,
    read_nb_header,
)
from edge_runtime.inference.targets import ONNX_TARGETS, RKNN_TARGETS, Target


@pytest.fixture
def x86_nb(networks) -> bytes:
    return (networks / "two.x86.nb").read_bytes()


def handmade(version=b"v2.13-rc", kernels=(b"feed/def/1/4/2", b"conv2d/def/2/1/1", b"fetch/def/1/4/2"), meta=2):
    topology = b"\1\2" + b"".join(kernel + b"\0" for kernel in kernels)
    return struct.pack("<H16sQ", meta, version, len(topology)) + topology + b"parameters"


def test_a_real_file_is_read(networks):
    header = read_nb_header(networks / "two.x86.nb")
    assert (header.meta_version, header.opt_version) == (2, "v2.13-rc")
    assert {"feed", "conv2d", "softmax", "fetch"} <= {kernel.op for kernel in header.kernels}
    assert {kernel.target for kernel in header.kernels} == {"host", "x86"}


def test_kernels_are_read_in_full():
    header = read_nb_header(handmade(kernels=(b"feed/def/1/4/2", b"conv2d/image2d/5/5/5", b"x/def/77/1/1")))
    expected = (Kernel("feed", "def", "host", 4, 2), Kernel("conv2d", "image2d", "opencl", 5, 5))
    assert header == NbHeader(2, "v2.13-rc", (*expected, Kernel("x", "def", "77", 1, 1)))


@pytest.mark.parametrize("target", ["x86", "arm"])
def test_each_file_passes_for_its_own_target_alone(networks, target):
    header = read_nb_header(networks / f"two.{target}.nb")
    check_nb(header, target)
    other = {"x86": "arm", "arm": "x86"}[target]
    with pytest.raises(
        BundleError, match=rf"model\.nb: its kernels are for .*{target}.*, not for {other}; take the file"
    ):
        check_nb(header, other, "model.nb")


def test_an_npus_file_holds_subgraphs_for_it(networks):
    header = read_nb_header(networks / "two.rockchip_npu,arm.nb")
    check_nb(header, "rockchip_npu,arm")
    for other in ("x86", "arm", "arm+int8", "opencl,arm"):
        with pytest.raises(BundleError, match=f"its kernels are for .*nnadapter, not for {re.escape(other)}"):
            check_nb(header, other)
    arm = read_nb_header(networks / "two.arm.nb")
    check_nb(arm, "arm+int8")
    with pytest.raises(BundleError, match="its kernels are for arm, host, not for rockchip_npu,arm"):
        check_nb(arm, "rockchip_npu,arm")


@pytest.mark.parametrize("target", KERNEL_TARGETS)
def test_only_nnadapter_is_told_a_device(target):
    assert nnadapter_device(target) == (target.split(",")[0] if target in get_args(Target)[-4:] else None)


def test_each_target_of_the_manifest_has_its_kernels():
    assert set(KERNEL_TARGETS) == set(get_args(Target)) - set(ONNX_TARGETS) - set(RKNN_TARGETS)


REFUSED = {
    "another opt": (handmade(version=b"v2.10"), "made by opt 'v2.10', known is v2.13"),
    "no fetch": (handmade(kernels=(b"feed/def/1/4/2", b"conv2d/def/2/1/1")), "the graph has no fetch op"),
    "no feed": (handmade(kernels=(b"conv2d/def/2/1/1", b"fetch/def/1/4/2")), "the graph has no feed op"),
    "no kernel": (handmade(kernels=()), "no feed and no fetch op"),
    "other chip": (handmade(kernels=(b"feed/def/1/4/2", b"a/b/9/1/1", b"fetch/def/1/4/2")), "kernels are for 9, host"),
    "host alone": (handmade(kernels=(b"feed/def/1/4/2", b"fetch/def/1/4/2")), "kernels are for host"),
    "other meta": (handmade(meta=1), "meta version 1, only 2 is known"),
    "text": (b"this is a text file and not a network", "meta version"),
    "empty": (b"", "0 bytes are too few"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_predictor_would_not_refuse_is_refused(case):
    data, reason = REFUSED[case]
    with pytest.raises(BundleError) as caught:
        check_nb(read_nb_header(data, "m.nb"), "x86", "m.nb")
    assert str(caught.value).startswith("m.nb: ")
    assert reason in str(caught.value)


def test_an_unknown_target_lists_the_known_ones():
    with pytest.raises(
        BundleError, match=r"unknown target 'npu'; allowed: x86; arm; arm\+fp16; arm\+int8; opencl,arm; "
    ):
        check_nb(read_nb_header(handmade()), "npu")


def test_a_cut_in_the_topology_is_found_at_every_length(x86_nb):
    (topology_bytes,) = struct.unpack_from("<Q", x86_nb, 18)
    for length in range(0, 26 + topology_bytes, 97):
        with pytest.raises(BundleError, match=r"cut off|too few"):
            read_nb_header(x86_nb[:length])


@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_lead_to_anything_but_a_header_or_a_bundle_error(data, with_head):
    source = struct.pack("<H16sQ", 2, b"v2.13", len(data)) + data if with_head else data
    try:
        check_nb(read_nb_header(source), "x86")
    except BundleError:
        return
    assert b"fetch" in source


def test_normalising_zeroes_chance_and_keeps_the_rest(x86_nb):
    version = x86_nb[2:18].split(b"\0")[0]
    noisy = x86_nb[:2] + (version + b"\0").ljust(16, b"\xa5") + x86_nb[18:]
    clean = normalise_nb(noisy)
    assert clean == normalise_nb(x86_nb)
    assert (clean[:2], clean[18:]) == (x86_nb[:2], x86_nb[18:])
    assert clean[2:18] == version.ljust(16, b"\0")
    assert read_nb_header(clean) == read_nb_header(x86_nb)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BundleError, match=r"none\.nb: No such file"):
        read_nb_header(tmp_path / "none.nb")
