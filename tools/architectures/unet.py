"""UNet of any width and depth. Source: Ronneberger, Fischer, Brox 2015, arXiv:1505.04597."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

from pydantic import ConfigDict

from tools.architectures.layers import GraphBuilder
from tools.errors import ToolError
from tools.graph import INPUT, Graph, Node

Block = Literal["plain", "separable", "residual"]


@dataclass(frozen=True)
class UnetSettings:
    """Channels and further blocks of each level, finest first; each level halves the resolution of the one before.

    `stem_stride` 2 makes the finest level and the answer half as fine as the picture. Skips are added (cheap) or
    concatenated (as published); upsampling is a transposed convolution or a bilinear resize.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    widths: tuple[int, ...] = (16, 32, 64)
    depths: tuple[int, ...] = (0, 1, 2)
    stem_stride: Literal[1, 2] = 2
    block: Block = "residual"
    upsampling: Literal["deconv", "resize"] = "deconv"
    skip: Literal["add", "concat"] = "add"

    def __post_init__(self) -> None:
        if not 1 <= len(self.widths) <= 8 or any(not 8 <= w <= 2048 or w % 8 for w in self.widths):
            raise ToolError(f"widths {self.widths}: 1 to 8 levels, each a multiple of 8 up to 2048")
        if len(self.depths) != len(self.widths) or any(not 0 <= d <= 32 for d in self.depths):
            raise ToolError(f"depths {self.depths}: one number from 0 to 32 for each of the {len(self.widths)} levels")


def build_unet(settings: UnetSettings, input_channels: int, class_count: int) -> Graph:
    builder = GraphBuilder(input_channels)
    x = builder.conv_bn_relu("stem", INPUT, settings.widths[0], stride=settings.stem_stride)
    levels = [_blocks(builder, "level0", x, settings.block, settings.depths[0])]
    for index, (width, depth) in enumerate(zip(settings.widths[1:], settings.depths[1:], strict=True), 1):
        x = _block(builder, f"down{index}", levels[-1], width, settings.block, stride=2)
        levels.append(_blocks(builder, f"level{index}", x, settings.block, depth))
    return builder.graph(builder.head(unet_decoder(builder, levels, settings), class_count))


def unet_decoder(builder: GraphBuilder, levels: list[str], settings: UnetSettings) -> str:
    """From the coarsest level up to the finest: upsample, join the skip, one merging block."""
    x = levels[-1]
    for index, (skip, _) in reversed(list(enumerate(pairwise(levels)))):
        width = builder.channels(skip)
        up = builder.upsample(f"up{index}", x, width, settings.upsampling)
        joined = builder.add(Node(f"join{index}", settings.skip, (up, skip)))
        if settings.skip == "add":
            joined = builder.relu(f"join{index}", joined)
        x = _block(builder, f"merge{index}", joined, width, settings.block, stride=1)
    return x


def _blocks(builder: GraphBuilder, name: str, source: str, block: Block, count: int) -> str:
    for index in range(count):
        if block == "residual":
            source = builder.residual(f"{name}.{index}", source)
        else:
            source = _block(builder, f"{name}.{index}", source, builder.channels(source), block, stride=1)
    return source


def _block(builder: GraphBuilder, name: str, source: str, channels: int, block: Block, stride: int) -> str:
    if block == "separable":
        return builder.separable(name, source, channels, stride)
    return builder.conv_bn_relu(name, source, channels, stride=stride)
