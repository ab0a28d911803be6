"""Options that several commands share: how a bundle is run."""

from __future__ import annotations

from typing import Annotated

import typer

from tools.predictors import Backend, OpenVinoPrecision, Predictor

BundleTarget = Annotated[
    str | None, typer.Option(help="Which of its networks: x86, onnx, onnx+int8. Default: as the backend reads.")
]
OpenVinoForm = Annotated[OpenVinoPrecision, typer.Option(help="openvino only: what it computes in.")]
OneBackend = Annotated[
    Backend | None, typer.Option(help="What runs it. Default: paddle_lite, or onnxruntime for an ONNX --target.")
]


def predictor_of(backend: str | None, target: str | None, precision: OpenVinoPrecision) -> Predictor:
    """The predictor that a command's options name."""
    known = "onnxruntime" if target is not None and target.startswith("onnx") else "paddle_lite"
    return Predictor(backend or known, target, precision if backend == "openvino" else "f32")
