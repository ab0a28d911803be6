"""Small networks of every kind that the pruner must understand, and weights without zeros or identities."""

from itertools import product

import numpy as np
import pytest

from tools.architectures.layers import GraphBuilder
from tools.architectures.regnet import RegnetSettings, build_regnet
from tools.architectures.unet import UnetSettings, build_unet
from tools.graph import INPUT, Node, initial_weights
from tools.pruning.groups import find_dependencies


def unet(**changes):
    return build_unet(UnetSettings(**{"widths": (16, 24, 32), "depths": (1, 1, 0), **changes}), 1, 3)


def regnet(**changes):
    settings = {"w_0": 16, "w_a": 12.0, "w_m": 2.0, "depth": 4, "group_width": 8, "stem_width": 16, "fpn_width": 16}
    return build_regnet(RegnetSettings(**{**settings, **changes}), 3, 2)


def mixed_groups():
    """Groups of 4 and 6 channels that overlap, a concatenation through a depthwise layer, a channel given twice."""
    builder = GraphBuilder(2)
    stem = builder.conv_bn_relu("stem", INPUT, 48)
    fours = builder.conv_bn_relu("fours", stem, 96, groups=12)
    sixes = builder.conv_bn_relu("sixes", fours, 48, groups=16)
    both = builder.add(Node("both", "concat", (stem, sixes, stem)))
    deep = builder.conv_bn_relu("deep", both, 144, groups=144)
    pooled = builder.add(Node("pooled", "maxpool", (deep,)))
    narrow = builder.conv_bn_relu("narrow", pooled, 48)
    twice = builder.add(Node("twice", "concat", (narrow, narrow, narrow)))
    summed = builder.add(Node("summed", "add", (pooled, twice)))
    eights = builder.conv_bn_relu("eights", summed, 16)
    return builder.graph(builder.head(eights, 3))


NETWORKS = {
    f"unet-{block}-{upsampling}-{skip}": unet(block=block, upsampling=upsampling, skip=skip)
    for block, upsampling, skip in product(("plain", "separable", "residual"), ("deconv", "resize"), ("add", "concat"))
} | {
    "regnetx-unet": regnet(),
    "regnetx-unet-concat": regnet(skip="concat", upsampling="resize", group_width=16),
    "regnetx-fpn": regnet(decoder="fpn", group_width=16, bottleneck=2.0),
    "regnety-unet": regnet(se_ratio=0.25),
    "regnety-fpn": regnet(se_ratio=0.5, decoder="fpn", upsampling="resize"),
    "mixed-groups": mixed_groups(),
}  # fmt: skip


@pytest.fixture(scope="session")
def networks():
    """Name to graph."""
    return NETWORKS


@pytest.fixture(scope="session", params=NETWORKS)
def dependencies(request):
    """Those of one network after the other."""
    return find_dependencies(NETWORKS[request.param])


@pytest.fixture(scope="session")
def lively_weights():
    return _lively_weights


@pytest.fixture(scope="session")
def logits():
    return _logits


def _lively_weights(graph, seed):
    """Random everything: no offset is 0 and no scale 1."""
    rng = np.random.default_rng(seed)
    weights = initial_weights(graph, seed)
    for name, values in weights.items():
        part = name.rpartition(".")[2]
        if part in ("scale", "variance"):
            weights[name] = rng.uniform(0.5, 1.5, values.shape).astype(np.float32)
        elif part != "weight":
            weights[name] = rng.normal(0, 0.3, values.shape).astype(np.float32)
    return weights


def _logits(graph, weights, seed=0):
    """What Paddle computes on noise two total strides wide."""
    from tools.paddle_network import evaluating, predict_logits

    side_px = 2 * graph.total_stride_px
    noise = np.random.default_rng(seed).standard_normal((1, graph.input_channels, side_px, side_px), np.float32)
    return predict_logits(evaluating(graph, weights), noise)
