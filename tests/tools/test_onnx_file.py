"""The ONNX file computes what Paddle computes from the same graph, for every kind of node."""

import numpy as np
import onnx
import onnxruntime
import pytest

from tools.errors import CalibrationError, ToolError
from tools.graph import initial_weights
from tools.onnx_file import OPSET, fold_batch_norm, onnx_bytes
from tools.onnx_quantize import quantize_onnx
from tools.tile_form import with_prior

SIDE_PX = 64


def lively_weights(graph):
    """Batch norms that do something, and logits far from equal."""
    rng = np.random.default_rng(8)
    weights = initial_weights(graph, 8)
    for name, values in weights.items():
        if name.endswith((".scale", ".variance")):
            weights[name] = rng.uniform(0.6, 1.5, values.shape).astype(np.float32)
        elif not name.endswith(".weight"):
            weights[name] = rng.normal(0, 0.2, values.shape).astype(np.float32)
    return weights


def run(data, tile):
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(["class_ids", "scores"], {"tile": tile})


def noise(graph, seed):
    return np.random.default_rng(seed).standard_normal((1, graph.input_channels, SIDE_PX, SIDE_PX), np.float32)


def test_it_answers_what_paddle_answers(graph):
    from tools.export import exported_network
    from tools.paddle_first import paddle

    weights = lively_weights(graph)
    tile = noise(graph, 1)
    with paddle.no_grad():
        wanted_ids, wanted_scores = (
            plane.numpy() for plane in exported_network(graph, weights)(paddle.to_tensor(tile))
        )
    class_ids, scores = run(onnx_bytes(graph, weights, SIDE_PX), tile)
    assert (class_ids.dtype, class_ids.shape) == (np.uint8, wanted_ids.shape)
    assert (scores.dtype, scores.shape) == (np.uint8, wanted_scores.shape)
    assert np.abs(scores.astype(int) - wanted_scores).max() <= 1
    assert np.mean(class_ids != wanted_ids) < 1e-3
    assert np.ptp(scores) > 20


def test_it_is_one_file_of_a_fixed_opset_that_depends_on_the_network_alone(tiny):
    data = onnx_bytes(*tiny, SIDE_PX)
    assert data == onnx_bytes(*tiny, SIDE_PX)
    model = onnx.load_from_string(data)
    assert [(one.domain, one.version) for one in model.opset_import] == [("", OPSET)]
    assert [port.name for port in (*model.graph.input, *model.graph.output)] == ["tile", "class_ids", "scores"]
    assert not any(constant.external_data for constant in model.graph.initializer)


def test_batch_norm_disappears_where_a_convolution_alone_feeds_it(tiny):
    graph, weights = tiny
    folded, alias = fold_batch_norm(graph, weights)
    assert set(alias) == {node.name for node in graph if node.op == "bn"}
    assert all(graph[source].op in ("conv", "deconv") for source in alias.values())
    assert set(folded) >= {f"{source}.bias" for source in alias.values()}
    ops = {node.op_type for node in onnx.load_from_string(onnx_bytes(graph, weights, SIDE_PX)).graph.node}
    assert "BatchNormalization" not in ops


def test_the_prior_is_in_the_file(tiny):
    graph, weights = tiny
    tile = noise(graph, 2)
    plain, shy = (run(onnx_bytes(graph, each, SIDE_PX), tile)[1] for each in (weights, with_prior(graph, weights, 3.0)))
    assert shy.mean() < plain.mean() - 10


def test_a_side_the_network_cannot_take_is_refused(tiny):
    with pytest.raises(ToolError, match="tile 60 px: must be a multiple of the network's total stride"):
        onnx_bytes(*tiny, 60)


def test_int8_is_smaller_and_stays_near(tiny):
    graph, _ = tiny
    data = onnx_bytes(*tiny, SIDE_PX)
    tiles = np.concatenate([noise(graph, seed) for seed in range(8)])
    small = quantize_onnx(data, tiles)
    assert small == quantize_onnx(data, tiles)
    assert len(small) < len(data)
    assert "DequantizeLinear" in {node.op_type for node in onnx.load_from_string(small).graph.node}
    tile = noise(graph, 3)
    difference = np.abs(run(small, tile)[1].astype(int) - run(data, tile)[1])
    assert 0 < difference.mean() < 6


def test_tiles_that_cannot_teach_are_refused(tiny):
    graph, _ = tiny
    data = onnx_bytes(*tiny, SIDE_PX)
    with pytest.raises(CalibrationError, match="takes"):
        quantize_onnx(data, np.zeros((8, graph.input_channels, 32, 32), np.float32))
    with pytest.raises(CalibrationError, match="2 tiles; at least"):
        quantize_onnx(data, np.concatenate([noise(graph, seed) for seed in range(2)]))
