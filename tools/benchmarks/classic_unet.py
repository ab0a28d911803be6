"""The UNet as it is usually taken, for comparison: two 3x3 convolutions a level, pooling, full resolution throughout.

Source: Ronneberger, Fischer, Brox 2015, arXiv:1505.04597, with batch norm and padding as PaddleSeg has them.
"""

from __future__ import annotations

from itertools import pairwise

from tools.architectures.layers import GraphBuilder
from tools.graph import INPUT, Graph, Node

WIDTHS = (64, 128, 256, 512)


def classic_unet(input_channels: int, class_count: int, widths: tuple[int, ...] = WIDTHS) -> Graph:
    builder, levels = GraphBuilder(input_channels), []
    x = INPUT
    for index, width in enumerate(widths):
        if index:
            x = builder.add(Node(f"pool{index}", "maxpool", (x,)))
        x = _two_convolutions(builder, f"level{index}", x, width)
        levels.append(x)
    for index, (skip, _) in reversed(list(enumerate(pairwise(levels)))):
        up = builder.upsample(f"up{index}", x, widths[index], "deconv")
        joined = builder.add(Node(f"join{index}", "concat", (up, skip)))
        x = _two_convolutions(builder, f"merge{index}", joined, widths[index])
    return builder.graph(builder.head(x, class_count))


def _two_convolutions(builder: GraphBuilder, name: str, source: str, width: int) -> str:
    first = builder.conv_bn_relu(f"{name}.first", source, width)
    return builder.conv_bn_relu(f"{name}.second", first, width)
