"""The peers that cut a frame into windows and put the answers together."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tools.benchmarks.peer.engines import PaddlePredictor, fastest, onnx_session, openvino_model
from tools.benchmarks.peer.job import Job, answer
from tools.benchmarks.peer.whole import Peer

BATCHES = (1, 4)


class Sahi(Peer):
    """SAHI's slices on ONNX Runtime; SAHI merges boxes, not masks, so a later slice writes over an earlier one."""

    packages = ("sahi", "onnxruntime")

    def __init__(self, job: Job) -> None:
        from sahi.slicing import get_slice_bboxes

        super().__init__(job)
        self._session = onnx_session(job, "tile.onnx")
        self._slices = get_slice_bboxes

    def planes(self, frame: Any) -> tuple[Any, Any]:
        stride_px, side_px = self.job.mask_stride_px, self.job.tile_px
        overlap = 2 * self.job.margin_px / side_px
        height_px, width_px = frame.shape[:2]
        whole = self.job.input_of(frame)
        class_ids, scores = (np.zeros((height_px // stride_px, width_px // stride_px), np.uint8) for _ in range(2))
        for x0, y0, x1, y1 in self._slices(height_px, width_px, side_px, side_px, False, overlap, overlap):
            tile = np.ascontiguousarray(whole[:, :, y0:y1, x0:x1])
            found = self._session.run(["class_ids", "scores"], {"tile": tile})
            place = slice(y0 // stride_px, y1 // stride_px), slice(x0 // stride_px, x1 // stride_px)
            class_ids[place], scores[place] = found[0][0], found[1][0]
        return class_ids, scores


class OpenVinoTiles(Peer):
    """Our own writing of what OpenVINO's guide says for many small inputs: requests in flight, as many as it wants.

    A later tile writes over an earlier one.
    """

    packages = ("openvino",)
    precision = "f32"

    def __init__(self, job: Job) -> None:
        import openvino

        super().__init__(job)
        self._queue = openvino.AsyncInferQueue(openvino_model(job, "tile.onnx", self.precision, "THROUGHPUT"))
        self._queue.set_callback(self._place)
        self._planes: tuple[Any, Any] = (None, None)
        self.setting = f"throughput hint, {len(self._queue)} requests"

    def planes(self, frame: Any) -> tuple[Any, Any]:
        stride_px, side_px = self.job.mask_stride_px, self.job.tile_px
        height_px, width_px = frame.shape[:2]
        whole = self.job.input_of(frame)
        cells_hw = height_px // stride_px, width_px // stride_px
        self._planes = np.zeros(cells_hw, np.uint8), np.zeros(cells_hw, np.uint8)
        for y in starts(height_px, side_px, self.job.step_px):
            for x in starts(width_px, side_px, self.job.step_px):
                tile = np.ascontiguousarray(whole[:, :, y : y + side_px, x : x + side_px])
                self._queue.start_async({"tile": tile}, (y, x))
        self._queue.wait_all()
        return self._planes

    def _place(self, request: Any, origin_yx: tuple[int, int]) -> None:
        stride_px, side_px = self.job.mask_stride_px, self.job.tile_px
        place = tuple(slice(start // stride_px, (start + side_px) // stride_px) for start in origin_yx)
        for plane, name in zip(self._planes, ("class_ids", "scores"), strict=True):
            plane[place] = request.get_tensor(name).data[0]


class OpenVinoTilesBf16(OpenVinoTiles):
    precision = "bf16"


class Monai(Peer):
    """MONAI's sliding_window_inference on ONNX Runtime, blending constantly, with its faster number of windows."""

    packages = ("monai", "torch", "onnxruntime")

    def __init__(self, job: Job) -> None:
        import torch
        from monai.inferers import sliding_window_inference

        super().__init__(job)
        torch.set_num_threads(job.threads)
        self._torch, self._slide = torch, sliding_window_inference
        self._session = onnx_session(job, "logits.onnx")
        self._output = self._session.get_outputs()[0].name
        side_px = job.tile_px
        trials = {f"windows at a time: {count}": partial(int, count) for count in BATCHES}
        picture = torch.zeros(1, job.channels, 2 * side_px, 2 * side_px)
        self.setting, self._windows = fastest(trials, lambda count: self._logits(picture, count))

    def planes(self, frame: Any) -> tuple[Any, Any]:
        return answer(self._logits(self._torch.from_numpy(self.job.input_of(frame)), self._windows).numpy())

    def _logits(self, picture: Any, windows: int) -> Any:
        side_px = self.job.tile_px
        return self._slide(
            picture,
            (side_px, side_px),
            windows,
            self._predict,
            overlap=2 * self.job.margin_px / side_px,
            mode="constant",
        )

    def _predict(self, tiles: Any) -> Any:
        return self._torch.from_numpy(self._session.run([self._output], {"tile": tiles.numpy()})[0])


class PaddleSeg(Peer):
    """PaddleSeg's own `slide_inference`, its model run by Paddle Inference.

    It wants logits as fine as the picture, so each cell is repeated, which is less work than the interpolation that
    PaddleSeg's models end with, and keeps the cells as they are.
    """

    packages = ("paddleseg", "paddlepaddle")
    bf16 = False

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._predict = PaddlePredictor(job, self.bf16)
        self.setting = self._predict.setting
        self._slide = paddleseg_slide()

    def planes(self, frame: Any) -> tuple[Any, Any]:
        import paddle

        side_px, step_px, stride_px = self.job.tile_px, self.job.step_px, self.job.mask_stride_px
        picture = paddle.to_tensor(self.job.input_of(frame))
        logits = self._slide(self._model, picture, (side_px, side_px), (step_px, step_px))
        return answer(logits.numpy()[:, :, ::stride_px, ::stride_px])

    def _model(self, crop: Any) -> list[Any]:
        logits = self._predict(crop.numpy())
        finer = crop.shape[-1] // logits.shape[-1]
        return [Fine(logits.repeat(finer, axis=2).repeat(finer, axis=3) if finer > 1 else logits)]


class Fine:
    """Logits that answer to the one method of a tensor that `slide_inference` calls, without a copy."""

    def __init__(self, values: Any) -> None:
        self._values = values

    def numpy(self) -> Any:
        return self._values


class PaddleSegBf16(PaddleSeg):
    bf16 = True


class PaddleSegOnCells(Peer):
    """Our own writing of PaddleSeg's algorithm (sum of logits over count), on the mask's cells instead of pixels."""

    packages = ("paddlepaddle",)

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._predict = PaddlePredictor(job)
        self.setting = self._predict.setting

    def planes(self, frame: Any) -> tuple[Any, Any]:
        whole, stride_px, side_px = self.job.input_of(frame), self.job.mask_stride_px, self.job.tile_px
        cells_hw = whole.shape[2] // stride_px, whole.shape[3] // stride_px
        total = np.zeros((1, 0, *cells_hw), np.float32)
        count = np.zeros(cells_hw, np.float32)
        for y in starts(whole.shape[2], side_px, self.job.step_px):
            for x in starts(whole.shape[3], side_px, self.job.step_px):
                logits = self._predict(whole[:, :, y : y + side_px, x : x + side_px])
                if not total.size:
                    total = np.zeros((1, logits.shape[1], *cells_hw), np.float32)
                rows = slice(y // stride_px, y // stride_px + logits.shape[2])
                columns = slice(x // stride_px, x // stride_px + logits.shape[3])
                total[:, :, rows, columns] += logits
                count[rows, columns] += 1
        return answer(total / count)


def starts(length_px: int, side_px: int, step_px: int) -> list[int]:
    """PaddleSeg's window starts along an axis: in steps, the last one moved back to end with the picture."""
    count = max(1, -(-(length_px - side_px) // step_px) + 1)
    return [max(0, min(index * step_px, length_px - side_px)) for index in range(count)]


def paddleseg_slide() -> Any:
    """The function from PaddleSeg's file alone: its package imports half a training framework.

    It says np.int, which NumPy has dropped since.
    """
    if not hasattr(np, "int"):
        np.int = int  # type: ignore[attr-defined]
    found = importlib.util.find_spec("paddleseg")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'paddleseg'", name="paddleseg")
    file = Path(found.submodule_search_locations[0]) / "core" / "infer.py"
    spec = importlib.util.spec_from_file_location("paddleseg_infer", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.slide_inference
