"""The float network behind the device's own seam: the reference that artefacts are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_runtime.values import InputContract
from edge_runtime.vision.preprocess import TilePreprocessor
from tools.export import exported_network
from tools.graph import Graph, Weights
from tools.model_files import ModelFiles
from tools.paddle_first import paddle

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8


class _Reference:
    """What both references have in common: a contract, and nothing to close."""

    def __init__(self, contract: InputContract, mask_stride_px: int) -> None:
        self._contract, self._stride_px = contract, mask_stride_px
        self._preprocessor = TilePreprocessor(contract)

    @property
    def input_contract(self) -> InputContract:
        return self._contract

    @property
    def mask_stride_px(self) -> int:
        return self._stride_px

    def close(self) -> None:
        pass


class PaddleSegmenter(_Reference):
    """`interfaces.Segmenter` by the float network in Paddle."""

    def __init__(self, graph: Graph, weights: Weights, contract: InputContract) -> None:
        super().__init__(contract, graph.output_stride_px)
        self._network = exported_network(graph, weights)

    def predict(self, picture: ImageU8, template: ImageU8 | None = None) -> tuple[ImageU8, ImageU8]:
        tile = self._preprocessor.tile(np.ascontiguousarray(picture), (0, 0), template)
        with paddle.no_grad():
            class_ids, scores = self._network(paddle.to_tensor(tile))
        return np.asarray(class_ids.numpy()[0], np.uint8), np.asarray(scores.numpy()[0], np.uint8)


class ProgramSegmenter(_Reference):
    """`interfaces.Segmenter` by a program file, as Paddle defines it: INT8 programs are simulated, not optimised.

    Paddle can abort on a damaged program: find it with `model_files.find_model`, and run this in a child process.
    """

    def __init__(self, model: ModelFiles, contract: InputContract, mask_stride_px: int) -> None:
        super().__init__(contract, mask_stride_px)
        config = paddle.inference.Config(str(model.program_path), str(model.params_path))
        config.switch_ir_optim(False)
        config.disable_glog_info()
        self._predictor = paddle.inference.create_predictor(config)

    def predict(self, picture: ImageU8, template: ImageU8 | None = None) -> tuple[ImageU8, ImageU8]:
        predictor, tile = self._predictor, self._preprocessor.tile(np.ascontiguousarray(picture), (0, 0), template)
        predictor.get_input_handle(predictor.get_input_names()[0]).copy_from_cpu(tile)
        predictor.run()
        planes = [predictor.get_output_handle(name).copy_to_cpu()[0] for name in predictor.get_output_names()]
        return planes[0].astype(np.uint8), planes[1].astype(np.uint8)
