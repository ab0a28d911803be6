"""RegNet as encoder of a UNet or FPN decoder.

Sources: Radosavovic et al. 2020, arXiv:2003.13678 (design space, X and Y blocks, named networks of its appendix); Hu et
al. 2017, arXiv:1709.01507 (squeeze-excitation); Lin et al. 2016, arXiv:1612.03144, and Kirillov et al. 2019,
arXiv:1901.02446 (FPN and its use for segmentation).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from math import lcm
from typing import ClassVar, Literal

import numpy as np
from pydantic import ConfigDict

from tools.architectures.layers import GraphBuilder
from tools.architectures.unet import UnetSettings, unet_decoder
from tools.errors import ToolError
from tools.graph import INPUT, Graph, Node


@dataclass(frozen=True)
class RegnetSettings:
    """The design space's parameters: block j has width w_0 + w_a * j before it is quantised by w_m.

    `se_ratio` 0 gives RegNetX, 0.25 RegNetY. The stem halves the resolution and each of the stages does again, so
    the answer has half the picture's resolution for the `unet` decoder and a quarter for `fpn`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    w_0: int
    w_a: float
    w_m: float
    depth: int
    group_width: int
    bottleneck: float = 1.0
    se_ratio: float = 0.0
    stem_width: int = 32
    decoder: Literal["unet", "fpn"] = "unet"
    upsampling: Literal["deconv", "resize"] = "deconv"
    skip: Literal["add", "concat"] = "add"
    fpn_width: int = 64

    def __post_init__(self) -> None:
        positive = self.w_0 >= 8 and self.w_a >= 0 and self.w_m > 1 and 1 <= self.depth <= 64
        if not positive or self.w_0 % 8 or self.group_width % 8 or self.group_width < 8:
            raise ToolError(
                f"RegNet needs w_0 a multiple of 8, w_a >= 0, w_m > 1, depth 1 to 64 and group_width a multiple of 8: "
                f"{self}"
            )
        if self.stem_width % 8 or self.stem_width < 8 or self.fpn_width % 8 or self.fpn_width < 8:
            raise ToolError(f"stem_width {self.stem_width} and fpn_width {self.fpn_width} must be multiples of 8")
        if not 0 <= self.se_ratio <= 1 or self.bottleneck not in (0.25, 0.5, 1, 2, 4):
            raise ToolError(
                f"se_ratio {self.se_ratio} must lie in 0..1 and bottleneck {self.bottleneck} be 0.25, 0.5, 1, 2 or 4"
            )


def _x(w_0: int, w_a: float, w_m: float, depth: int, group_width: int) -> RegnetSettings:
    return RegnetSettings(w_0, w_a, w_m, depth, group_width)


def _y(w_0: int, w_a: float, w_m: float, depth: int, group_width: int) -> RegnetSettings:
    return RegnetSettings(w_0, w_a, w_m, depth, group_width, se_ratio=0.25)


NAMED = {
    "regnetx-200mf": _x(24, 36.44, 2.49, 13, 8),
    "regnetx-400mf": _x(24, 24.48, 2.54, 22, 16),
    "regnetx-600mf": _x(48, 36.97, 2.24, 16, 24),
    "regnetx-800mf": _x(56, 35.73, 2.28, 16, 16),
    "regnetx-1.6gf": _x(80, 34.01, 2.25, 18, 24),
    "regnetx-3.2gf": _x(88, 26.31, 2.25, 25, 48),
    "regnetx-4.0gf": _x(96, 38.65, 2.43, 23, 40),
    "regnetx-6.4gf": _x(184, 60.83, 2.07, 17, 56),
    "regnetx-8.0gf": _x(80, 49.56, 2.88, 23, 120),
    "regnety-200mf": _y(24, 36.44, 2.49, 13, 8),
    "regnety-400mf": _y(48, 27.89, 2.09, 16, 8),
    "regnety-600mf": _y(48, 32.54, 2.32, 15, 16),
    "regnety-800mf": _y(56, 38.84, 2.4, 14, 16),
    "regnety-1.6gf": _y(48, 20.71, 2.65, 27, 24),
    "regnety-3.2gf": _y(80, 42.63, 2.66, 21, 24),
    "regnety-4.0gf": _y(96, 31.41, 2.24, 22, 64),
    "regnety-6.4gf": _y(112, 33.22, 2.27, 25, 72),
    "regnety-8.0gf": _y(192, 76.82, 2.19, 17, 56),
}


def stage_shapes(settings: RegnetSettings) -> list[tuple[int, int]]:
    """(width, depth) of each stage: widths w_0 * w_m ** round(s_j) as multiples of 8, made to fit the groups."""
    linear = settings.w_0 + settings.w_a * np.arange(settings.depth)
    powers = np.round(np.log(linear / settings.w_0) / np.log(settings.w_m))
    widths = (np.round(settings.w_0 * settings.w_m**powers / 8) * 8).astype(int).tolist()
    fitted = [_fitted(width, settings) for width in widths]
    return [(width, len(list(blocks))) for width, blocks in groupby(fitted)]


def _fitted(width: int, settings: RegnetSettings) -> int:
    """The nearest width of which it and its inner width are multiples of 8, and the latter whole groups."""
    inner, step = round(width * settings.bottleneck), round(8 * max(1.0, settings.bottleneck))
    unit = lcm(settings.group_width, step) if inner >= settings.group_width else step
    return round(max(1, round(inner / unit)) * unit / settings.bottleneck)


def build_regnet(settings: RegnetSettings, input_channels: int, class_count: int) -> Graph:
    builder = GraphBuilder(input_channels)
    levels = [builder.conv_bn_relu("stem", INPUT, settings.stem_width, stride=2)]
    for number, (width, depth) in enumerate(stage_shapes(settings), 1):
        x = levels[-1]
        for index in range(depth):
            x = _block(builder, f"stage{number}.{index}", x, width, 2 if index == 0 else 1, settings)
        levels.append(x)
    if settings.decoder == "fpn":
        return builder.graph(builder.head(_fpn_decoder(builder, levels[1:], settings), class_count))
    decoder = UnetSettings(block="plain", upsampling=settings.upsampling, skip=settings.skip)
    return builder.graph(builder.head(unet_decoder(builder, levels, decoder), class_count))


def _block(builder: GraphBuilder, name: str, source: str, width: int, stride: int, settings: RegnetSettings) -> str:
    """1x1, grouped 3x3, squeeze-excitation (Y only) and 1x1 around an identity or a projecting 1x1 convolution."""
    inner = round(width * settings.bottleneck)
    groups = inner // min(settings.group_width, inner)
    x = builder.conv_bn_relu(f"{name}.a", source, inner, kernel=1)
    x = builder.conv_bn_relu(f"{name}.b", x, inner, stride=stride, groups=groups)
    if settings.se_ratio:
        x = _squeeze_excitation(builder, f"{name}.se", x, round(builder.channels(source) * settings.se_ratio))
    x = builder.conv_bn(f"{name}.c", x, width, kernel=1)
    if stride != 1 or builder.channels(source) != width:
        source = builder.conv_bn(f"{name}.project", source, width, kernel=1, stride=stride)
    return builder.relu(name, builder.add(Node(f"{name}.add", "add", (source, x))))


def _squeeze_excitation(builder: GraphBuilder, name: str, source: str, squeezed: int) -> str:
    mean = builder.add(Node(f"{name}.mean", "mean", (source,)))
    narrow = builder.add(Node(f"{name}.squeeze", "conv", (mean,), max(8, -(-squeezed // 8) * 8), bias=True))
    wide = builder.add(
        Node(f"{name}.excite", "conv", (builder.relu(name, narrow),), builder.channels(source), bias=True)
    )
    gate = builder.add(Node(f"{name}.sigmoid", "sigmoid", (wide,)))
    return builder.add(Node(f"{name}.mul", "mul", (source, gate)))


def _fpn_decoder(builder: GraphBuilder, levels: list[str], settings: RegnetSettings) -> str:
    """Lateral 1x1 convolutions added on the way up, then one 3x3 convolution at the finest stage."""
    width = settings.fpn_width
    x = builder.conv_bn(f"lateral{len(levels) - 1}", levels[-1], width, kernel=1)
    for index in reversed(range(len(levels) - 1)):
        lateral = builder.conv_bn(f"lateral{index}", levels[index], width, kernel=1)
        up = builder.upsample(f"up{index}", x, width, settings.upsampling)
        x = builder.relu(f"sum{index}", builder.add(Node(f"sum{index}", "add", (up, lateral))))
    return builder.conv_bn_relu("smooth", x, width)
