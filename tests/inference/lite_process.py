"""Run as a process of its own: one Paddle Lite predictor, which answers tiles from a pipe until the pipe is closed.

Arguments: a bundle's folder (run as the device runs it, on pictures) or a bare `.nb` file, and the pipe's file
descriptor. A bare file takes float tiles, may give planes of any type, and every tile must have the first one's size.
"""

import sys
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from edge_runtime.inference.bundle import load_bundle
from edge_runtime.inference.paddle_lite import PaddleLiteSegmenter


class BareNetwork:
    def __init__(self, path):
        from paddlelite.lite import MobileConfig, create_paddle_predictor

        config = MobileConfig()
        config.set_model_from_file(str(path))
        self._predictor = create_paddle_predictor(config)
        self._shape = None

    def predict(self, tile):
        tensor = self._predictor.get_input(0)
        if self._shape is None:
            self._shape = tile.shape
            tensor.resize(list(tile.shape))
            tensor.set_float_data([0.0] * tile.size)
        if tile.shape != self._shape:
            raise ValueError(f"this predictor was compiled for {self._shape}, not for {tile.shape}")
        np.copyto(tensor.numpy(), tile)
        self._predictor.run()
        count = len(self._predictor.get_output_names())
        planes = [self._predictor.get_output(index).numpy().copy() for index in range(count)]
        return [plane.reshape(plane.shape[-2:]) for plane in planes]


def main():
    model, pipe = Path(sys.argv[1]), Connection(int(sys.argv[2]))
    network = PaddleLiteSegmenter(load_bundle(model)) if model.is_dir() else BareNetwork(model)
    while True:
        try:
            tile = pipe.recv()
        except EOFError:
            return
        pipe.send(network.predict(tile))


if __name__ == "__main__":
    main()
