"""What a peer is, and those that take the whole frame at once."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from tools.benchmarks.peer.engines import fastest, onnx_session, openvino_model
from tools.benchmarks.peer.job import Job

HINTS = ("LATENCY", "THROUGHPUT")


class Peer:
    """`planes`: a frame to class ids and scores, uint8 (H, W) cells; `setting` says how it was tuned."""

    packages: tuple[str, ...] = ()

    def __init__(self, job: Job) -> None:
        self.job = job
        self.setting = ""

    def planes(self, frame: Any) -> tuple[Any, Any]:
        raise NotImplementedError


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
    """OpenVINO on the whole frame at once, with the hint that is faster for one frame."""

    packages = ("openvino",)
    precision = "f32"

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.setting, self._request = fastest(
            {f"{hint.lower()} hint": partial(self._open, hint) for hint in HINTS}, self._try, trials=1
        )

    def _open(self, hint: str) -> Any:
        return openvino_model(self.job, "whole.onnx", self.precision, hint).create_infer_request()

    def _try(self, request: Any) -> None:
        request.infer({"tile": np.zeros(tuple(request.get_input_tensor().shape), np.float32)}, share_inputs=True)

    def planes(self, frame: Any) -> tuple[Any, Any]:
        found = self._request.infer({"tile": self.job.input_of(frame)}, share_inputs=True)
        return found["class_ids"][0], found["scores"][0]


class WholeOpenVinoBf16(WholeOpenVino):
    precision = "bf16"
