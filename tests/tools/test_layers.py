import numpy as np
import pytest

from tools.architectures.regnet import RegnetSettings, build_regnet
from tools.architectures.unet import UnetSettings, build_unet
from tools.graph import BN_STATISTICS, Graph, count_macs, count_parameters
from tools.layers import describe_layers, probe_layer, split_layers, time_layers

UNET = build_unet(UnetSettings(widths=(8, 16), depths=(0, 1), skip="concat", upsampling="resize"), 1, 3)
REGNET = build_regnet(RegnetSettings(16, 12.0, 2.0, 3, 8, se_ratio=0.25, stem_width=16), 1, 3)
BOTH = pytest.mark.parametrize("graph", [UNET, REGNET], ids=["unet", "regnety"])


@BOTH
def test_each_node_is_in_one_layer_and_each_figure_is_counted_once(graph):
    assert [node for layer in split_layers(graph) for node in layer] == list(graph.nodes)
    layers = describe_layers(graph, 512)
    assert sum(layer.macs for layer in layers) == count_macs(graph, 512)
    assert sum(layer.parameters for layer in layers) == count_parameters(graph)


def test_batch_norm_and_rectifier_belong_to_what_they_alone_follow():
    ops = {layer.name: layer.ops for layer in describe_layers(UNET, 512)}
    assert ops["stem.conv"] == "conv+bn+relu"
    assert ops["level1.0.second.conv"] == "conv+bn"
    assert ops["level1.0.add"] == "add+relu"
    assert ops["join0"] == "concat"
    assert ops["head"] == "conv"


@BOTH
def test_a_probe_computes_as_much_as_its_layer(graph):
    for nodes, layer in zip(split_layers(graph), describe_layers(graph, 512), strict=True):
        probe = probe_layer(graph, nodes, 512)
        without = count_macs(probe.without, probe.side_px) if probe.without else 0
        assert count_macs(probe.graph, probe.side_px) - without == layer.macs
        assert probe.side_px == layer.input_cells
        assert probe.graph.channels()[probe.graph.output] == layer.channels
        assert any(not name.endswith(BN_STATISTICS) for name in probe.graph.weight_shapes())


def macs_in_millions(graph: Graph, side_px: int) -> float:
    return 1.0 + count_macs(graph, side_px) / 1e6


def test_time_is_what_a_layer_adds_and_equal_layers_are_measured_once():
    deep = build_unet(UnetSettings(widths=(8, 16), depths=(0, 5)), 1, 3)
    asked = []

    def measure(graph, side_px):
        asked.append((graph, side_px))
        return macs_in_millions(graph, side_px)

    steps = []
    layers = time_layers(deep, 512, measure, lambda: steps.append(1))
    assert len(asked) == len(set(asked)) < len(layers)
    assert len(steps) == len(layers)
    for layer in layers:
        assert layer.ms == pytest.approx(layer.macs / 1e6 + (1.0 if layer.parameters else 0.0))


def test_noise_gives_no_negative_time():
    rng = np.random.default_rng(1)
    layers = time_layers(REGNET, 512, lambda graph, side_px: rng.uniform(1, 2), lambda: None)
    assert min(layer.ms for layer in layers) == 0.0
