"""The network: a small UNet that answers at half the input resolution, and its bytes-out export head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tools.paddle_first import paddle

nn = paddle.nn

MEAN = 0.5
STD = 0.25
OUTPUT_STRIDE_PX = 2
TOTAL_STRIDE_PX = 8


@dataclass(frozen=True)
class NetworkShape:
    """What defines a network: channels at stride 2, 4 and 8 (multiples of 8), residual blocks at stride 8, classes.

    `class_count` includes the background, which is class 0.
    """

    widths: tuple[int, int, int] = (16, 32, 64)
    block_count: int = 2
    class_count: int = 7

    def __post_init__(self) -> None:
        if any(width < 8 or width % 8 for width in self.widths):
            raise ValueError(f"widths must be multiples of 8, not {self.widths}")
        if self.block_count < 0 or not 2 <= self.class_count <= 256:
            raise ValueError(f"network shape out of range: {self}")


def conv_bn(inputs: int, outputs: int, stride: int = 1) -> Any:
    """3x3 convolution and batch norm, padded so that only the stride changes the size."""
    return nn.Sequential(
        nn.Conv2D(inputs, outputs, 3, stride=stride, padding=1, bias_attr=False),
        nn.BatchNorm2D(outputs),
    )


def deconv_bn(inputs: int, outputs: int) -> Any:
    """Twice the resolution by a 2x2 transposed convolution without overlap, and batch norm."""
    return nn.Sequential(
        nn.Conv2DTranspose(inputs, outputs, 2, stride=2, bias_attr=False),
        nn.BatchNorm2D(outputs),
    )


class Residual(nn.Layer):  # type: ignore[misc,name-defined]
    """Two 3x3 convolutions around an identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = conv_bn(width, width)
        self.second = conv_bn(width, width)

    def forward(self, x: Any) -> Any:
        return nn.functional.relu(x + self.second(nn.functional.relu(self.first(x))))


class HalfUnet(nn.Layer):  # type: ignore[misc,name-defined]
    """(N, 1, H, W) float32 with H and W multiples of 8 → logits (N, class_count, H/2, W/2).

    Skips are added, not concatenated: the sum costs a fraction of the wider convolution behind a concatenation.
    Convolutions are created in the order they run; `receptive_radius_px` relies on that.
    """

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        fine, middle, coarse = shape.widths
        self.stem = conv_bn(1, fine, stride=2)
        self.down4 = conv_bn(fine, middle, stride=2)
        self.body4 = conv_bn(middle, middle)
        self.down8 = conv_bn(middle, coarse, stride=2)
        self.body8 = nn.Sequential(*(Residual(coarse) for _ in range(shape.block_count)))
        self.up4 = deconv_bn(coarse, middle)
        self.merge4 = conv_bn(middle, middle)
        self.up2 = deconv_bn(middle, fine)
        self.merge2 = conv_bn(fine, fine)
        self.head = nn.Conv2D(fine, shape.class_count, 1)

    def forward(self, x: Any) -> Any:
        relu = nn.functional.relu
        at2 = relu(self.stem(x))
        at4 = relu(self.body4(relu(self.down4(at2))))
        at8 = self.body8(relu(self.down8(at4)))
        at4 = relu(self.merge4(relu(self.up4(at8) + at4)))
        at2 = relu(self.merge2(relu(self.up2(at4) + at2)))
        return self.head(at2)


class BytesOut(nn.Layer):  # type: ignore[misc,name-defined]
    """The exported form: class_ids and scores, uint8 (N, H/2, W/2).

    score = 1 - P(background), 255 = certain; the class is the likeliest defect, whatever the score, so that the
    threshold stays adjustable on the device. argmax goes to uint8 by way of float32: Paddle Lite lacks int32 → uint8.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Any) -> Any:
        logits = self.network(x)
        background = nn.functional.softmax(logits, axis=1)[:, 0]
        scores = paddle.cast((1.0 - background) * 255.0 + 0.5, "uint8")
        likeliest = paddle.cast(paddle.argmax(logits[:, 1:], axis=1), "float32")
        return paddle.cast(likeliest + 1.0, "uint8"), scores


def convolutions(network: Any) -> list[Any]:
    """Every convolution in the order they run."""
    return [layer for layer in network.sublayers() if isinstance(layer, nn.Conv2D | nn.Conv2DTranspose)]


def receptive_radius_px(network: Any) -> int:
    """How far outside an output cell's own pixels an input pixel can still change it, at worst over all cells."""
    return max(_cell_radius_px(network, cell) for cell in range(TOTAL_STRIDE_PX // OUTPUT_STRIDE_PX))


def _cell_radius_px(network: Any, cell: int) -> int:
    low, high = cell, cell
    for layer in reversed(convolutions(network)):
        kernel, stride = layer._kernel_size[0], layer._stride[0]
        if isinstance(layer, nn.Conv2DTranspose):
            low, high = low // stride, high // stride
        else:
            pad = kernel // 2
            low, high = low * stride - pad, high * stride - pad + kernel - 1
    first, last = cell * OUTPUT_STRIDE_PX, (cell + 1) * OUTPUT_STRIDE_PX - 1
    return int(max(first - low, high - last))


def count_parameters(network: Any) -> int:
    return sum(int(np.prod(p.shape)) for p in network.parameters() if not p.stop_gradient)


def count_macs(network: Any, tile_px: int) -> int:
    """Multiply-adds of all convolutions for one tile of `tile_px`; everything else is below a few per cent."""
    counts: list[int] = []

    def note(layer: Any, inputs: Any, output: Any) -> None:
        taps = int(np.prod(layer.weight.shape))
        cells = inputs[0].shape if isinstance(layer, nn.Conv2DTranspose) else output.shape
        counts.append(taps * cells[2] * cells[3])

    hooks = [layer.register_forward_post_hook(note) for layer in convolutions(network)]
    try:
        with paddle.no_grad():
            network(paddle.zeros([1, 1, tile_px, tile_px]))
    finally:
        for hook in hooks:
            hook.remove()
    return sum(counts)
