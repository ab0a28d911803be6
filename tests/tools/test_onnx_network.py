"""A network comes back from its ONNX file as what it computes."""

import pytest

from tools.architectures.choice import build_network
from tools.errors import ToolError
from tools.graph import initial_weights
from tools.onnx_file import onnx_bytes
from tools.onnx_network import read_onnx

TILE_PX = 64


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"block": "plain", "skip": "concat", "stem_stride": 1},
        {"block": "separable", "upsampling": "resize"},
        {"widths": (8, 8, 16, 24), "depths": (1, 0, 1, 1)},
    ],
)
def test_writing_what_was_read_gives_the_same_file(make_unet, settings):
    graph = make_unet(**settings)
    data = onnx_bytes(graph, initial_weights(graph, 3), TILE_PX)
    assert onnx_bytes(*read_onnx(data, "a"), TILE_PX) == data


@pytest.mark.parametrize("decoder", ["unet", "fpn"])
def test_a_regnet_with_squeeze_excitation_comes_back(decoder):
    table = {"kind": "regnet", "w_0": 16, "w_a": 8.0, "w_m": 2.0, "depth": 4, "group_width": 8, "se_ratio": 0.25}
    graph = build_network({**table, "decoder": decoder}, 1, 3, "test")
    data = onnx_bytes(graph, initial_weights(graph, 3), TILE_PX)
    assert onnx_bytes(*read_onnx(data, "a"), TILE_PX) == data


@pytest.mark.parametrize("data", [b"", b"nonsense", b"\x00" * 100])
def test_another_file_is_refused_by_its_name(data):
    with pytest.raises(ToolError, match=r"model\.onnx: not an ONNX network"):
        read_onnx(data, "model.onnx")


def test_a_cut_file_is_refused(make_unet):
    graph = make_unet()
    data = onnx_bytes(graph, initial_weights(graph, 3), TILE_PX)
    with pytest.raises(ToolError, match="not an ONNX network"):
        read_onnx(data[: len(data) // 2], "a")
