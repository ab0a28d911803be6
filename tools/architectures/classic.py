"""The UNet as it is usually taken, layer by layer as PaddleSeg's model `UNet` has it: four levels and a bottleneck of
512 channels, two 3x3 convolutions each, bilinear upsampling, full resolution throughout.

Source: Ronneberger, Fischer, Brox 2015, arXiv:1505.04597; PaddleSeg 2.8, paddleseg/models/unet.py.
"""

from __future__ import annotations

from tools.architectures.layers import GraphBuilder
from tools.graph import INPUT, Graph, Node

DOWN = (64, 128, 256, 512, 512)
UP = (64, 64, 128, 256)


def classic_unet(input_channels: int, class_count: int) -> Graph:
    builder, levels = GraphBuilder(input_channels), []
    x = INPUT
    for index, width in enumerate(DOWN):
        if index:
            x = builder.add(Node(f"pool{index}", "maxpool", (x,)))
        x = _two_convolutions(builder, f"level{index}", x, width)
        levels.append(x)
    for index in reversed(range(len(UP))):
        up = builder.add(Node(f"up{index}.resize", "resize", (x,), stride=2))
        joined = builder.add(Node(f"join{index}", "concat", (up, levels[index])))
        x = _two_convolutions(builder, f"merge{index}", joined, UP[index])
    return builder.graph(builder.add(Node("head", "conv", (x,), class_count, kernel=3, bias=True)))


def _two_convolutions(builder: GraphBuilder, name: str, source: str, width: int) -> str:
    first = builder.conv_bn_relu(f"{name}.first", source, width)
    return builder.conv_bn_relu(f"{name}.second", first, width)
