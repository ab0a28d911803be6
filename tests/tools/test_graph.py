"""A graph's arithmetic against Paddle: what it counts is what Paddle computes."""

from math import prod

import numpy as np
import pytest

from tools.graph import (
    INPUT,
    Graph,
    Node,
    check_weights,
    count_macs,
    count_parameters,
    initial_weights,
    macs_by_node,
    receptive_radius_px,
)


def computed_shapes(graph, network, side_px):
    """Input and output shape of each node that has a layer, as Paddle computes them; the logits' shape last."""
    from tools.paddle_first import paddle

    seen = {}
    for node in graph:
        if node.op in ("conv", "deconv"):
            network.layer(node.name).register_forward_post_hook(
                lambda layer, x, y, name=node.name: seen.update({name: (tuple(x[0].shape), tuple(y.shape))})
            )
    with paddle.no_grad():
        logits = network(paddle.zeros([1, graph.input_channels, side_px, side_px]))
    return seen, tuple(logits.shape)


def test_counts_are_those_of_what_paddle_runs(graph):
    from tools.paddle_network import evaluating

    side_px = 2 * graph.total_stride_px
    network = evaluating(graph, None)
    shapes, logits = computed_shapes(graph, network, side_px)
    expected = {}
    for name, (inputs, outputs) in shapes.items():
        node, layer = graph[name], network.layer(name)
        cells = prod((outputs if node.op == "conv" else inputs)[1:])
        taps = node.kernel**2 * (inputs[1] // node.groups if node.op == "conv" else outputs[1])
        expected[name] = cells * taps
        assert layer.weight.size == prod(graph.weight_shapes()[f"{name}.weight"])
    assert macs_by_node(graph, side_px) == expected
    assert count_macs(graph, side_px) == sum(expected.values())
    assert count_parameters(graph) == sum(p.size for p in network.parameters() if p.trainable)
    cells = side_px // graph.output_stride_px
    assert logits == (1, graph.class_count, cells, cells)


def reaches_px(graph, weights, side_px, pixel):
    """How far before and behind a pixel's own cells the logits answer an impulse on an empty picture."""
    from tools.paddle_network import evaluating, predict_logits

    impulse = np.zeros((1, graph.input_channels, side_px, side_px), np.float32)
    impulse[..., side_px // 2, pixel] = 1.0
    logits = predict_logits(evaluating(graph, weights), impulse)
    columns = np.flatnonzero(logits.any(axis=(0, 1, 2)))
    stride_px = graph.output_stride_px
    first, last = int(columns[0]), int(columns[-1])
    return max(last * stride_px - pixel, pixel - ((first + 1) * stride_px - 1))


def test_the_receptive_radius_is_exactly_how_far_a_pixel_reaches(graph):
    rng, weights = np.random.default_rng(0), initial_weights(graph, 0)
    for name, shape in graph.weight_shapes().items():
        if name.endswith(".weight"):
            weights[name] = (rng.uniform(0.5, 1.0, shape) / np.sqrt(prod(shape[1:]))).astype(np.float32)
    radius_px, stride_px = receptive_radius_px(graph), graph.total_stride_px
    side_px = (2 * radius_px // stride_px + 4) * stride_px
    middle = side_px // 2 // stride_px * stride_px
    assert max(reaches_px(graph, weights, side_px, middle + phase) for phase in range(stride_px)) == radius_px


def conv(name, source, channels=8, **settings):
    return Node(name, "conv", (source,), channels, **{"kernel": 3, **settings})


def test_a_graph_that_cannot_run_is_refused_with_the_node():
    stem, half = conv("stem", INPUT), conv("half", "stem", stride=2)
    cases = {
        "node a: operation 'gelu'; known are conv": lambda: Node("a", "gelu", (INPUT,)),
        "node a: add takes 2 to 64 inputs, not 1": lambda: Node("a", "add", (INPUT,)),
        "node a: channels, kernel, stride and groups do not fit": lambda: conv("a", INPUT, 8, groups=3),
        "node a: kernel 2; only odd ones": lambda: conv("a", INPUT, kernel=2),
        "node a: a deconv has one group": lambda: Node("a", "deconv", (INPUT,), 8, 3, 2),
        "node a: a resize makes the size 1 times": lambda: Node("a", "resize", (INPUT,)),
        "node a: no earlier node gives b": lambda: Graph(1, (conv("a", "b"), conv("b", INPUT)), "a"),
        "node stem: the name is given twice": lambda: Graph(1, (stem, stem), "stem"),
        "node input: the name is given twice": lambda: Graph(1, (conv("input", INPUT),), "input"),
        "output 'nowhere' is no node": lambda: Graph(1, (stem,), "nowhere"),
        "node b: 8 input channels in 3 groups": lambda: Graph(1, (stem, conv("b", "stem", 9, groups=3)), "b"),
        "node b: add of \\[8, 4\\] channels": lambda: Graph(
            1, (stem, conv("a", INPUT, 4), Node("b", "add", ("stem", "a"))), "b"
        ),
        "node b: add of cells of \\[1.0, 2.0\\] px": lambda: Graph(
            1, (stem, half, Node("b", "add", ("stem", "half"))), "b"
        ),
        "node b: mul of cells of \\[1.0, 1.0\\] px": lambda: Graph(
            1, (stem, conv("a", INPUT), Node("b", "mul", ("stem", "a"))), "b"
        ),
        "output 'm' lies behind a global mean": lambda: Graph(1, (stem, Node("m", "mean", ("stem",))), "m"),
    }
    for message, build in cases.items():
        with pytest.raises(ValueError, match=message):
            build()


def test_weights_of_another_graph_are_refused(make_unet):
    graph = make_unet()
    weights = initial_weights(graph, 0)
    check_weights(graph, weights)
    bent = {**weights, "head.bias": weights["head.bias"].astype(np.float64)}
    broken = {**weights, "head.bias": np.full(7, np.nan, np.float32)}
    for wrong in (bent, broken, initial_weights(make_unet(block="plain"), 0), initial_weights(make_unet(2), 0)):
        with pytest.raises(ValueError, match="weight"):
            check_weights(graph, wrong)
