"""Run as a process of its own: a network shaped like the shipped one, with random weights and float scores, for x86.

Arguments: a folder, which then holds scores.nb, and the side of its tiles. Batch norms are set by one made-up board,
and the last layer is steep, so that the scores spread over 0..1.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from edge_runtime.values import InputContract
from edge_runtime.vision.boards import paint_board
from edge_runtime.vision.preprocess import TilePreprocessor
from tools.architectures.unet import UnetSettings, build_unet
from tools.convert import run_opt
from tools.crops import MEAN, STD
from tools.graph import initial_weights, receptive_radius_px
from tools.model_files import find_model
from tools.paddle_first import paddle
from tools.paddle_network import PaddleNetwork

STEEPNESS = 4.0


class FloatScores(paddle.nn.Layer):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return 1.0 - paddle.nn.functional.softmax(self.network(x), axis=1)[:, 0]


def lively_network(tile_px):
    graph = build_unet(UnetSettings(), input_channels=1, class_count=7)
    network = PaddleNetwork(graph, initial_weights(graph, seed=3))
    for layer in network.sublayers():
        if isinstance(layer, paddle.nn.BatchNorm2D):
            layer._momentum = 0.0
    contract = InputContract("GRAY", (MEAN,), (STD,), tile_px, graph.total_stride_px, 0)
    tile = TilePreprocessor(contract).tile(paint_board(3, 0, (tile_px, tile_px)).image, (0, 0))
    network.train()
    with paddle.no_grad():
        network(paddle.to_tensor(tile))
    head = network.layer(graph.output).weight
    head.set_value(head * STEEPNESS)
    return network


def main():
    folder, tile_px = Path(sys.argv[1]), int(sys.argv[2])
    exported = FloatScores(lively_network(tile_px))
    exported.eval()
    spec = paddle.static.InputSpec([1, 1, tile_px, tile_px], "float32", "tile")
    paddle.jit.save(exported, str(folder / "scores"), input_spec=[spec], clip_extra=False)
    run_opt(find_model(folder / "scores.pdmodel"), "x86", folder).rename(folder / "scores.nb")
    print(receptive_radius_px(exported.network.graph))


if __name__ == "__main__":
    main()
