"""A small network with all that INT8 and conversion must cope with, and its exports."""

import numpy as np
import pytest

from tools.paddle_first import paddle

nn = paddle.nn
SIDE_PX = 64


def conv_bn(inputs, outputs, stride=1):
    return nn.Sequential(nn.Conv2D(inputs, outputs, 3, stride, padding=1), nn.BatchNorm2D(outputs), nn.ReLU())


class Small(nn.Layer):
    """Strided convolutions with batch norm, a transposed one, a skip by concatenation, logits at half resolution."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2D(1, 8, 3, stride=2, padding=1, bias_attr=False), nn.BatchNorm2D(8), nn.ReLU()
        )
        self.down = nn.Sequential(
            nn.Conv2D(8, 16, 3, stride=2, padding=1, bias_attr=False), nn.BatchNorm2D(16), nn.ReLU()
        )
        self.up = nn.Conv2DTranspose(16, 8, 2, stride=2)
        self.merge = nn.Sequential(nn.Conv2D(16, 8, 3, padding=1), nn.BatchNorm2D(8), nn.ReLU())
        self.head = nn.Conv2D(8, 3, 1)

    def forward(self, x):
        fine = self.stem(x)
        return self.head(self.merge(paddle.concat([self.up(self.down(fine)), fine], axis=1)))


class Bytes(nn.Layer):
    """Class ids and scores as bytes, as a bundle wants them."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        logits = self.network(x)
        ids = paddle.cast(paddle.cast(paddle.argmax(logits[:, 1:], axis=1), "float32") + 1.0, "uint8")
        return ids, paddle.cast((1.0 - nn.functional.softmax(logits, axis=1)[:, 0]) * 255.0 + 0.5, "uint8")


def save(layer, prefix, side=SIDE_PX, clip_extra=False):
    layer.eval()
    spec = paddle.static.InputSpec([1, 1, side, side], "float32", "tile")
    paddle.jit.save(layer, str(prefix), input_spec=[spec], clip_extra=clip_extra)
    return prefix.with_name(f"{prefix.name}.pdmodel")


@pytest.fixture(scope="session")
def small_class():
    return Small


@pytest.fixture(scope="session")
def bytes_class():
    return Bytes


@pytest.fixture(scope="session")
def save_layer():
    """save_layer(layer, prefix, side=64, clip_extra=False) → the .pdmodel."""
    return save


def seeded_network():
    """The same random weights each time; Paddle can export a network only once."""
    paddle.seed(0)
    return Small()


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """The .pdmodel of the bytes-out network for tiles of 64 px."""
    return save(Bytes(seeded_network()), tmp_path_factory.mktemp("exported") / "tiny")


@pytest.fixture(scope="session")
def logits_program(tmp_path_factory):
    """The .pdmodel of the network with float answers."""
    return save(seeded_network(), tmp_path_factory.mktemp("logits") / "logits")


@pytest.fixture(scope="session")
def free_program(tmp_path_factory):
    """The .pdmodel of the network with free height and width."""
    return save(seeded_network(), tmp_path_factory.mktemp("free") / "free", side=-1)


@pytest.fixture(scope="session")
def tiles():
    """Eight tiles of noise, float32 (8, 1, 64, 64)."""
    return np.random.default_rng(1).standard_normal((8, 1, SIDE_PX, SIDE_PX), np.float32)


@pytest.fixture(scope="session")
def quantized(exported, tiles, tmp_path_factory):
    """The bytes-out network in INT8, all layers, as `quantize_model` reports it."""
    from tools.quantize import quantize_model

    return quantize_model(exported, tiles, tmp_path_factory.mktemp("quantized"))
