"""Named networks against their publication, and settings by table."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.architectures.choice import build_network
from tools.architectures.regnet import NAMED, RegnetSettings, build_regnet, stage_shapes
from tools.errors import ToolError

# (widths, depths) of Radosavovic et al. 2020, arXiv:2003.13678, appendix (networks X and Y).
PUBLISHED = {
    "regnetx-200mf": ([24, 56, 152, 368], [1, 1, 4, 7]),
    "regnetx-400mf": ([32, 64, 160, 384], [1, 2, 7, 12]),
    "regnetx-600mf": ([48, 96, 240, 528], [1, 3, 5, 7]),
    "regnetx-800mf": ([64, 128, 288, 672], [1, 3, 7, 5]),
    "regnetx-1.6gf": ([72, 168, 408, 912], [2, 4, 10, 2]),
    "regnetx-3.2gf": ([96, 192, 432, 1008], [2, 6, 15, 2]),
    "regnetx-4.0gf": ([80, 240, 560, 1360], [2, 5, 14, 2]),
    "regnetx-6.4gf": ([168, 392, 784, 1624], [2, 4, 10, 1]),
    "regnetx-8.0gf": ([80, 240, 720, 1920], [2, 5, 15, 1]),
    "regnety-200mf": ([24, 56, 152, 368], [1, 1, 4, 7]),
    "regnety-400mf": ([48, 104, 208, 440], [1, 3, 6, 6]),
    "regnety-600mf": ([48, 112, 256, 608], [1, 3, 7, 4]),
    "regnety-800mf": ([64, 128, 320, 768], [1, 3, 8, 2]),
    "regnety-1.6gf": ([48, 120, 336, 888], [2, 6, 17, 2]),
    "regnety-3.2gf": ([72, 216, 576, 1512], [2, 5, 13, 1]),
    "regnety-4.0gf": ([128, 192, 512, 1088], [2, 6, 12, 2]),
    "regnety-6.4gf": ([144, 288, 576, 1296], [2, 7, 14, 2]),
    "regnety-8.0gf": ([168, 448, 896, 2016], [2, 4, 10, 1]),
}


def test_named_networks_have_the_published_stages():
    found = {name: tuple(map(list, zip(*stage_shapes(settings), strict=True))) for name, settings in NAMED.items()}
    assert found == PUBLISHED


@pytest.mark.parametrize("name", NAMED)
def test_named_networks_build_in_multiples_of_eight(name):
    graph = build_network({"kind": name}, 2, 4, "test")
    inner = [node.channels for node in graph if node.op in ("conv", "deconv") and node.name != "head"]
    assert [channels for channels in inner if channels % 8] == []
    assert (graph.total_stride_px, graph.output_stride_px, graph.class_count) == (32, 2, 4)
    assert any(node.op == "mul" for node in graph) == name.startswith("regnety")


@settings(max_examples=60)
@given(
    w_0=st.integers(1, 24).map(lambda n: 8 * n),
    w_a=st.floats(0, 80),
    w_m=st.floats(1.5, 3.5),
    depth=st.integers(1, 8),
    group_width=st.integers(1, 8).map(lambda n: 8 * n),
    bottleneck=st.sampled_from([0.25, 0.5, 1.0, 2.0, 4.0]),
)
def test_any_settings_build_or_are_refused(**values):
    graph = build_regnet(RegnetSettings(**values), 1, 2)
    inner = [node.channels for node in graph if node.op in ("conv", "deconv") and node.name != "head"]
    assert [channels for channels in inner if channels % 8] == []
    groups = {node.channels // node.groups for node in graph if node.groups > 1}
    assert groups <= {values["group_width"]}


@pytest.mark.parametrize("side", [1, 2, 5])
@pytest.mark.parametrize("table", [{}, {"kind": "regnety-200mf", "decoder": "fpn"}])
def test_any_multiple_of_the_total_stride_runs(table, side):
    from tools.graph import initial_weights
    from tools.paddle_first import paddle
    from tools.paddle_network import evaluating

    graph = build_network(table, 1, 3, "test")
    height, width = side * graph.total_stride_px, (side + 1) * graph.total_stride_px
    with paddle.no_grad():
        logits = evaluating(graph, initial_weights(graph, 1))(paddle.zeros([1, 1, height, width]))
    assert logits.shape == [1, 3, height // graph.output_stride_px, width // graph.output_stride_px]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "vgg"}, "no network is called 'vgg'; known: unet, regnet, regnetx-200mf"),
        ({"kind": ["unet"]}, "no network is called"),
        ({"widht": [8]}, "widht: unknown key; allowed: widths, depths"),
        ({"widths": [12, 24, 48]}, "widths .12, 24, 48.: 1 to 8 levels, each a multiple of 8"),
        ({"widths": [8, 16]}, "depths .0, 1, 2.: one number from 0 to 32 for each of the 2 levels"),
        ({"widths": "wide"}, "widths: must be a valid tuple"),
        ({"skip": "sum"}, "skip: must be 'add' or 'concat'"),
        ({"kind": "regnet"}, "w_0: this key is missing"),
        ({"kind": "regnetx-200mf", "group_width": 12}, "group_width a multiple of 8"),
        ({"kind": "regnetx-200mf", "se_ratio": 2}, "se_ratio 2.0 must lie in 0..1"),
        ({"kind": "regnetx-200mf", "widths": [8]}, "widths: unknown key; allowed: w_0"),
    ],
)
def test_a_wrong_table_is_told_with_file_and_key(table, message):
    with pytest.raises(ToolError, match=message) as caught:
        build_network(table, 1, 3, "my.toml: network")
    assert str(caught.value).startswith("my.toml: network: ")


def test_a_named_network_may_be_changed():
    assert build_network({"kind": "regnetx-200mf", "decoder": "fpn"}, 1, 2, "test").output_stride_px == 4
