"""The compiler's table of layers, read from a log as it prints one, and the estimate that follows from it."""

from pathlib import Path

import pytest

from tools.errors import ConversionError
from tools.rknn.layers import SLOWER, estimate, read_layers

LOG = Path(__file__).with_name("compiler.txt").read_text()
MACS = {"stem.conv": 9_437_184, "level1.0.second.conv": 113_246_208, "margins": 1}


def test_each_row_is_read_and_named_as_its_node():
    layers = read_layers(LOG, MACS)
    assert [(layer.name, layer.place, layer.macs) for layer in layers] == [
        ("tile", "CPU", 0),
        ("stem.conv", "NPU", 9_437_184),
        ("level1.0.second.conv", "NPU", 113_246_208),
        ("join1", "NPU", 0),
        ("turn", "CPU", 0),
        ("margins", "CPU", 0),
    ]
    assert (layers[1].ddr_cycles, layers[1].npu_cycles, layers[1].ms) == (110925, 589824, pytest.approx(0.589824))


def test_a_sum_without_cycles_is_charged_what_it_reads_and_writes_in_whole_groups_of_channels():
    join = read_layers(LOG, MACS)[3]
    assert join.ms == pytest.approx((2048 * 1024 + 32 * 128 * 128 * 2) / 23.6 / 1e6)


def test_the_estimate_is_the_sum_times_what_published_networks_take_longer():
    layers = read_layers(LOG, MACS)
    told = estimate(layers)
    assert told.table_ms == pytest.approx(sum(layer.ms for layer in layers[1:-1]))
    assert (told.from_ms, told.to_ms) == pytest.approx((told.table_ms * SLOWER[0], told.table_ms * SLOWER[1]))
    assert told.peak_ms == pytest.approx((9_437_184 + 113_246_208) / 512 / 1e6)
    assert told.on_cpu == ("turn",)


@pytest.mark.parametrize("log", ["", "E RKNN: aborted", LOG.replace("Network Layer", "Some other")])
def test_a_log_without_the_table_is_an_error(log):
    with pytest.raises(ConversionError, match="no table of layers"):
        read_layers(log, MACS)
