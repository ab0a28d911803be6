"""One peer, run as a script by the interpreter of `.venv-peers`: frames and networks come and masks go as files.

Arguments: the exchange folder, the peer's name, threads. Answers one line of JSON on standard output when ready, then
one for each line it reads: `{"frame": FILE, "out": FILE}`. Only what the peer needs is imported; nothing of this
repository is. Timed is what a user of the peer would do: from the frame in memory (uint8 H, W, 3) to the class ids and
scores of all its cells, in one process that may use `threads` processors.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

BATCHES = (1, 4)
TRIALS = 3


class Job:
    """The exchange folder's `job.json`, and how a frame becomes an input."""

    def __init__(self, folder: Path, threads: int) -> None:
        self.folder, self.threads = folder, threads
        raw = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        self.tile_px, self.margin_px = int(raw["tile_px"]), int(raw["margin_px"])
        self.mask_stride_px = int(raw["mask_stride_px"])
        self._order = str(raw["channels"])
        self._tables = [np.array(table, np.float32) for table in raw["tables"]]

    @property
    def channels(self) -> int:
        return len(self._tables)

    @property
    def step_px(self) -> int:
        """From one tile to the next, so that neighbours share twice the margin."""
        return self.tile_px - 2 * self.margin_px

    def input_of(self, frame: Any) -> Any:
        """float32 (1, C, H, W) by one table look-up a channel, the fastest way known here."""
        if self._order == "GRAY":
            planes = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)]
        else:
            planes = list(cv2.split(frame))[:: 1 if self._order == "BGR" else -1]
        out = np.empty((1, len(planes), *frame.shape[:2]), np.float32)
        for plane, table, scaled in zip(planes, self._tables, out[0], strict=True):
            cv2.LUT(plane, table, dst=scaled)
        return out


class Peer:
    """`planes`: a frame to class ids and scores, uint8 (H, W) cells; `setting` says how it was tuned."""

    packages: tuple[str, ...] = ()

    def __init__(self, job: Job) -> None:
        self.job = job
        self.setting = ""

    def planes(self, frame: Any) -> tuple[Any, Any]:
        raise NotImplementedError


# -- engines ----------------------------------------------------------------------------------------------------


def onnx_session(job: Job, file: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = job.threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(job.folder / file), options, providers=["CPUExecutionProvider"])


class PaddlePredictor:
    """Paddle Inference; of its ways to compute on a processor, the one that is fastest on one tile."""

    def __init__(self, job: Job, folder: str) -> None:
        self._job, self._prefix = job, str(job.folder / folder / "model")
        trial = np.zeros((1, job.channels, job.tile_px, job.tile_px), np.float32)
        self.setting, self._predictor = fastest(
            {"oneDNN": lambda: self._open(True), "own kernels": lambda: self._open(False)},
            lambda predictor: self._run(predictor, trial),
        )

    def __call__(self, tiles: Any) -> Any:
        return self._run(self._predictor, tiles)

    def _open(self, one_dnn: bool) -> Any:
        from paddle import inference

        config = inference.Config(f"{self._prefix}.pdmodel", f"{self._prefix}.pdiparams")
        config.disable_gpu()
        config.disable_glog_info()
        config.set_cpu_math_library_num_threads(self._job.threads)
        config.switch_ir_optim(True)
        config.enable_memory_optim()
        if one_dnn:
            config.enable_mkldnn()
        return inference.create_predictor(config)

    def _run(self, predictor: Any, tiles: Any) -> Any:
        handle = predictor.get_input_handle(predictor.get_input_names()[0])
        handle.copy_from_cpu(np.ascontiguousarray(tiles))
        predictor.run()
        return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()


def fastest(openers: Mapping[str, Callable[[], Any]], use: Callable[[Any], Any]) -> tuple[str, Any]:
    """The name and the thing of the opener whose thing is used fastest."""
    times: dict[str, float] = {}
    things = {name: opener() for name, opener in openers.items()}
    for name, thing in things.items():
        use(thing)
        times[name] = min(timed(partial(use, thing)) for _ in range(TRIALS))
    best = min(times, key=lambda name: times[name])
    return best, things[best]


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def answer(logits: Any) -> tuple[Any, Any]:
    """Class ids and scores of (1, classes, H, W) logits, as the bundle's network answers them."""
    (classes,) = logits
    shifted = np.exp(classes - classes.max(axis=0))
    scores = (1 - shifted[0] / shifted.sum(axis=0)) * 255 + 0.5
    return (classes[1:].argmax(axis=0) + 1).astype(np.uint8), scores.astype(np.uint8)


# -- peers ------------------------------------------------------------------------------------------------------


class WholeOnnx(Peer):
    """ONNX Runtime on the whole frame at once."""

    packages = ("onnxruntime",)

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._session = onnx_session(job, "whole.onnx")

    def planes(self, frame: Any) -> tuple[Any, Any]:
        class_ids, scores = self._session.run(["class_ids", "scores"], {"tile": self.job.input_of(frame)})
        return class_ids[0], scores[0]


class WholeOpenVino(Peer):
    """OpenVINO on the whole frame at once, its precision told: with AMX it would take bfloat16 of itself."""

    packages = ("openvino",)
    precision = "f32"

    def __init__(self, job: Job) -> None:
        import openvino

        super().__init__(job)
        options = {
            "INFERENCE_PRECISION_HINT": self.precision,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": job.threads,
        }
        compiled = openvino.Core().compile_model(str(job.folder / "whole.onnx"), "CPU", options)
        took = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        self.setting = f"latency hint, {took}"
        self._request = compiled.create_infer_request()

    def planes(self, frame: Any) -> tuple[Any, Any]:
        found = self._request.infer({"tile": self.job.input_of(frame)}, share_inputs=True)
        return found["class_ids"][0], found["scores"][0]


class WholeOpenVinoBf16(WholeOpenVino):
    precision = "bf16"


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
    program = "paddle"

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._predict = PaddlePredictor(job, self.program)
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


class PaddleSegClassic(PaddleSeg):
    program = "classic"


class PaddleSegOnCells(Peer):
    """Our own writing of PaddleSeg's algorithm (sum of logits over count), on the mask's cells instead of pixels."""

    packages = ("paddlepaddle",)

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._predict = PaddlePredictor(job, "paddle")
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


PEERS: dict[str, type[Peer]] = {
    "onnxruntime": WholeOnnx,
    "openvino-f32": WholeOpenVino,
    "openvino-bf16": WholeOpenVinoBf16,
    "paddleseg": PaddleSeg,
    "paddleseg-cells": PaddleSegOnCells,
    "monai": Monai,
    "sahi": Sahi,
    "paddleseg-classic": PaddleSegClassic,
}


# -- the conversation -------------------------------------------------------------------------------------------


def main() -> None:
    folder, name, threads = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    voice = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    try:
        peer = PEERS[name](Job(folder, threads))
        versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in peer.packages)
    except Exception as exc:  # noqa: BLE001 - whatever a peer raises is told to the one who asks
        say(voice, failure(exc))
        return
    say(voice, {"versions": versions, "setting": peer.setting})
    for line in sys.stdin:
        say(voice, serve(peer, json.loads(line)))


def serve(peer: Peer, request: dict[str, str]) -> dict[str, Any]:
    frame = np.load(request["frame"])
    try:
        began = time.perf_counter()
        class_ids, scores = peer.planes(frame)
        took_ms = (time.perf_counter() - began) * 1000
    except Exception as exc:  # noqa: BLE001
        return failure(exc)
    np.savez(request["out"], class_ids=np.array(class_ids), scores=np.array(scores))
    return {"ms": took_ms}


def failure(exc: Exception) -> dict[str, Any]:
    return {"failed": " ".join(f"{type(exc).__name__}: {exc}".split())}


def say(voice: Any, message: dict[str, Any]) -> None:
    voice.write(json.dumps(message) + "\n")
    voice.flush()


if __name__ == "__main__":
    main()
