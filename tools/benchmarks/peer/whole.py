"""What a peer is, and those that take the whole frame at once."""

from __future__ import annotations

from typing import Any

from tools.benchmarks.peer.engines import onnx_session
from tools.benchmarks.peer.job import Job


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
