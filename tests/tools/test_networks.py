import numpy as np
import pytest

from tools.networks import (
    BytesOut,
    HalfUnet,
    NetworkShape,
    convolutions,
    count_macs,
    count_parameters,
    receptive_radius_px,
)
from tools.paddle_first import paddle


def changed_cells(network, pixel_yx, side_px=192):
    """Output cells that change with one input pixel, as (row, column) pairs."""
    noise = np.random.default_rng(1).standard_normal((1, 1, side_px, side_px), np.float32)
    other = noise.copy()
    other[0, 0, pixel_yx[0], pixel_yx[1]] += 100
    with paddle.no_grad():
        a, b = (network(paddle.to_tensor(x)).numpy() for x in (noise, other))
    return np.argwhere((a != b).any(axis=(0, 1)))


def linear_network(shape):
    """Every path open: positive weights, so that no rectifier hides a dependence."""
    network = HalfUnet(shape)
    network.eval()
    for layer in convolutions(network):
        layer.weight.set_value(np.abs(layer.weight.numpy()) + 0.1)
    return network


def test_radius_is_exactly_how_far_a_pixel_reaches():
    network = linear_network(NetworkShape(widths=(8, 8, 8), block_count=1))
    radius_px = receptive_radius_px(network)
    reached = []
    for pixel in range(92, 100):
        columns = changed_cells(network, (96, pixel))[:, 1]
        reached += [pixel - (2 * column + 1) for column in columns] + [2 * column - pixel for column in columns]
    assert max(reached) == radius_px


def test_the_standard_network_allows_five_tiles_a_side_on_2048_px():
    network = HalfUnet(NetworkShape())
    network.eval()
    assert receptive_radius_px(network) == 55
    assert count_macs(network, 512) < 1.35e9
    assert count_parameters(network) < 250_000


def test_macs_count_each_tap_of_each_cell():
    network = HalfUnet(NetworkShape(widths=(8, 16, 24), block_count=0, class_count=3))
    network.eval()
    at2, at4, at8 = 32 * 32, 16 * 16, 8 * 8
    down = 9 * (1 * 8 * at2 + 8 * 16 * at4 + 16 * 16 * at4 + 16 * 24 * at8)
    up = 4 * 24 * 16 * at8 + 9 * 16 * 16 * at4 + 4 * 16 * 8 * at4 + 9 * 8 * 8 * at2 + 8 * 3 * at2
    assert count_macs(network, 64) == down + up


@pytest.mark.parametrize("widths", [(12, 32, 64), (0, 8, 8), (8, 8, 20)])
def test_widths_that_leave_the_fast_path_are_refused(widths):
    with pytest.raises(ValueError, match="multiples of 8"):
        NetworkShape(widths=widths)


def test_bytes_out_gives_likeliest_defect_and_one_minus_background(tiny_network):
    tile = paddle.to_tensor(np.random.default_rng(2).standard_normal((1, 1, 64, 64), np.float32))
    with paddle.no_grad():
        logits = tiny_network(tile).numpy()[0].astype(np.float64)
        class_ids, scores = (plane.numpy()[0] for plane in BytesOut(tiny_network)(tile))
    shares = np.exp(logits) / np.exp(logits).sum(axis=0)
    assert class_ids.dtype == scores.dtype == np.uint8
    assert (class_ids == logits[1:].argmax(axis=0) + 1).all()
    assert np.abs(scores - (1 - shares[0]) * 255).max() <= 0.51
