"""Run as a process of its own: export the tests' tiny network with Paddle and convert it with opt.

Argument: a folder, which then holds two.x86.nb and two.arm.nb (class ids and scores), one.x86.nb (class ids), and
template.x86.nb (class ids and scores of what the picture is brighter than its template).
The weights are chosen so that a plain formula, `tiny_answer` in conftest.py, gives the same.
"""

import sys
import zlib  # noqa: F401  (before paddle, which brings its own)
from pathlib import Path

import numpy as np
import paddle
from paddle import nn
from paddlelite.lite import Opt


class TwoOutputs(nn.Layer):
    """Looks at every other pixel v: logits 4, 8 v and 24 v - 12 for background, class 1 and class 2."""

    taps = (1.0,)

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2D(len(self.taps), 8, 3, stride=2, padding=1)
        self.head = nn.Conv2D(8, 3, 1)
        stem, head = np.zeros((8, len(self.taps), 3, 3), np.float32), np.zeros((3, 8, 1, 1), np.float32)
        stem[:, :, 1, 1] = self.taps
        head[:, 0, 0, 0] = (0.0, 8.0, 24.0)
        self.stem.weight.set_value(stem)
        self.stem.bias.set_value(np.zeros(8, np.float32))
        self.head.weight.set_value(head)
        self.head.bias.set_value(np.array([4.0, 0.0, -12.0], np.float32))

    def planes(self, tile):
        logits = self.head(nn.functional.relu(self.stem(tile)))
        likeliest = paddle.cast(paddle.argmax(logits[:, 1:], axis=1), "float32") + 1.0
        background = nn.functional.softmax(logits, axis=1)[:, 0]
        return paddle.cast(likeliest, "uint8"), paddle.cast((1.0 - background) * 255.0 + 0.5, "uint8")

    def forward(self, tile):
        return self.planes(tile)


class OneOutput(TwoOutputs):
    def forward(self, tile):
        return self.planes(tile)[0]


class Comparing(TwoOutputs):
    """Its v is picture - template, at least 0."""

    taps = (1.0, -1.0)


NETWORKS = (
    ("two", TwoOutputs, ("x86", "arm", "rockchip_npu,arm")),
    ("one", OneOutput, ("x86",)),
    ("template", Comparing, ("x86",)),
)


def main():
    folder, tile_px = Path(sys.argv[1]), int(sys.argv[2])
    for name, network, targets in NETWORKS:
        layer = network()
        layer.eval()
        spec = paddle.static.InputSpec([1, len(network.taps), tile_px, tile_px], "float32", "tile")
        paddle.jit.save(layer, str(folder / name), input_spec=[spec], clip_extra=False)
        for target in targets:
            convert(folder / name, target)


def convert(prefix, target):
    opt = Opt()
    opt.set_model_file(f"{prefix}.pdmodel")
    opt.set_param_file(f"{prefix}.pdiparams")
    opt.set_valid_places(target)
    opt.set_model_type("naive_buffer")
    opt.set_optimize_out(f"{prefix}.{target}")
    opt.run()


if __name__ == "__main__":
    main()
