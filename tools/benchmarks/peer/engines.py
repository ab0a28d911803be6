"""The engines that peers compute with, each at its best documented setting for a processor."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from tools.benchmarks.peer.job import Job

TRIALS = 3


def onnx_session(job: Job, file: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = job.threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(job.folder / file), options, providers=["CPUExecutionProvider"])


class PaddlePredictor:
    """Paddle Inference; of its ways to compute on a processor, the one that is fastest on one tile."""

    def __init__(self, job: Job, bf16: bool = False) -> None:
        self._job, self._prefix = job, str(job.folder / "paddle" / "model")
        trial = np.zeros((1, job.channels, job.tile_px, job.tile_px), np.float32)
        ways: dict[str, Callable[[], Any]] = {
            "oneDNN": lambda: self._open(True, False),
            "own kernels": lambda: self._open(False, False),
        }
        if bf16:
            ways = {"oneDNN in bfloat16": lambda: self._open(True, True)}
        self.setting, self._predictor = fastest(ways, lambda predictor: self._run(predictor, trial))

    def __call__(self, tiles: Any) -> Any:
        return self._run(self._predictor, tiles)

    def _open(self, one_dnn: bool, bf16: bool) -> Any:
        from paddle import inference

        config = inference.Config(f"{self._prefix}.pdmodel", f"{self._prefix}.pdiparams")
        config.disable_gpu()
        config.disable_glog_info()
        config.set_cpu_math_library_num_threads(self._job.threads)
        config.switch_ir_optim(True)
        config.enable_memory_optim()
        if one_dnn:
            config.enable_mkldnn()
        if bf16:
            config.enable_mkldnn_bfloat16()
        return inference.create_predictor(config)

    def _run(self, predictor: Any, tiles: Any) -> Any:
        handle = predictor.get_input_handle(predictor.get_input_names()[0])
        handle.copy_from_cpu(np.ascontiguousarray(tiles))
        predictor.run()
        return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()


def openvino_model(job: Job, file: str, precision: str, hint: str) -> Any:
    """Compiled for the processor, its precision told: with AMX it would take bfloat16 of itself."""
    import openvino

    options = {
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": hint,
        "INFERENCE_NUM_THREADS": job.threads,
    }
    return openvino.Core().compile_model(str(job.folder / file), "CPU", options)


def fastest(
    openers: Mapping[str, Callable[[], Any]], use: Callable[[Any], Any], trials: int = TRIALS
) -> tuple[str, Any]:
    """The name and the thing of the opener whose thing is used fastest; each is used once before."""
    times: dict[str, float] = {}
    things = {name: opener() for name, opener in openers.items()}
    for name, thing in things.items():
        use(thing)
        times[name] = min(timed(partial(use, thing)) for _ in range(trials))
    best = min(times, key=lambda name: times[name])
    return best, things[best]


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
