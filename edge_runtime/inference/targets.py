"""What a network is compiled for, what kind of file that makes, and which backend reads it."""

from __future__ import annotations

from typing import Literal

# What opt calls `valid_targets`; +fp16 and +int8 tell CPU networks apart. The ONNX ones run on any machine that has an
# engine for them, the RKNN ones on RK3588's NPU. The last ones are devices of NNAdapter.
Target = Literal[
    "x86",
    "arm",
    "arm+fp16",
    "arm+int8",
    "onnx",
    "onnx+int8",
    "rknn",
    "rknn+int8",
    "opencl,arm",
    "rockchip_npu,arm",
    "amlogic_npu,arm",
    "verisilicon_timvx,arm",
    "imagination_nna,arm",
]
ONNX_TARGETS = ("onnx", "onnx+int8")
RKNN_TARGETS = ("rknn", "rknn+int8")
# Coarser than float32 whatever runs them: only who asks for it gets that.
COARSE_TARGETS = ("onnx+int8", *RKNN_TARGETS)
Form = Literal["nb", "onnx", "rknn"]
FORMS: dict[Form, str] = {"nb": "Paddle Lite's", "onnx": "ONNX", "rknn": "RKNN"}
READS: dict[str, Form] = {"paddle_lite": "nb", "onnxruntime": "onnx", "openvino": "onnx", "rknn": "rknn"}


def form_of(target: str) -> Form:
    """The kind of file that a target's network is."""
    if target in RKNN_TARGETS:
        return "rknn"
    return "onnx" if target in ONNX_TARGETS else "nb"
