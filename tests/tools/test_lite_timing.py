"""Whether a layer alone runs in Paddle Lite; how long it takes is the machine's matter."""

import pytest

from tools.architectures.regnet import RegnetSettings, build_regnet
from tools.errors import ToolError
from tools.graph import INPUT, Graph, Node
from tools.layers import probe_layer, split_layers
from tools.lite_timing import measure_ms

REGNET = build_regnet(RegnetSettings(8, 8.0, 2.0, 2, 8, se_ratio=0.25, stem_width=8), 1, 3)


@pytest.mark.parametrize("ops", ["conv+bn+relu", "mul", "add+relu", "sigmoid"])
def test_a_layer_of_any_kind_takes_some_time(ops):
    nodes = next(nodes for nodes in split_layers(REGNET) if "+".join(node.op for node in nodes) == ops)
    probe = probe_layer(REGNET, nodes, 64)
    assert measure_ms(probe.graph, probe.side_px, runs=1) > 0


def test_a_graph_that_opt_cannot_read_is_refused():
    with pytest.raises(ToolError, match="no program without weights"):
        measure_ms(Graph(3, (Node("r", "relu", (INPUT,)),), "r"), 16, runs=1)
