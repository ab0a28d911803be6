"""See the package. RKNN_STAND_IN says how it behaves, RKNN_STAND_IN_LOG names a file for a line at each start."""

import json
import os
import struct

import numpy as np

FRAME = struct.Struct("<4sIQQ")
NETWORK_START = 64
LENGTH = struct.Struct("<Q")


class RKNNLite:
    NPU_CORE_0 = 1
    NPU_CORE_1 = 2
    NPU_CORE_2 = 4

    def __init__(self):
        self._way = os.environ.get("RKNN_STAND_IN", "")
        self._session = None

    def load_rknn(self, path):
        if self._way == "no load" or not os.path.exists(path):
            return -1
        with open(path, "rb") as file:
            self._data = file.read()
        return 0

    def init_runtime(self, core_mask=0):
        _tell(f"started core_mask={core_mask}")
        if self._way == "no device":
            return -1
        if self._way == "abort":
            os.abort()
        from onnxruntime import InferenceSession

        size = FRAME.unpack_from(self._data)[3]
        network = self._data[NETWORK_START : NETWORK_START + size]
        head_bytes = LENGTH.unpack_from(network)[0]
        self._scale = json.loads(network[LENGTH.size : LENGTH.size + head_bytes])
        self._session = InferenceSession(network[LENGTH.size + head_bytes :], providers=["CPUExecutionProvider"])
        return 0

    def inference(self, inputs, data_format=None):
        if self._way == "no answer":
            return None
        (pixels,) = inputs
        assert (pixels.dtype, data_format) == (np.uint8, ["nhwc"])
        values = (pixels.astype(np.float32) - self._scale["mean"]) / self._scale["std"]
        tile = np.ascontiguousarray(values.transpose(0, 3, 1, 2), np.float32)
        (margins,) = self._session.run(None, {"tile": tile})
        if self._way == "not a number":
            margins[0, 0, 0, 0] = np.nan
        return [margins.astype(np.float64) if self._way == "other type" else margins]

    def release(self):
        _tell("released")


def _tell(line):
    if path := os.environ.get("RKNN_STAND_IN_LOG"):
        with open(path, "a") as file:
            file.write(f"{line}\n")


def network_file(onnx, tile, answer, mean, std, version="2.5.0", platform="rk3588"):
    """The frame of a `.rknn` file around what this stand-in runs. `mean`, `std`: of pixel values, one a channel."""
    head = json.dumps({"mean": list(mean), "std": list(std)}).encode()
    network = LENGTH.pack(len(head)) + head + onnx
    tensors = [{"tensor_id": number, "size": list(sides)} for number, sides in enumerate((tile, answer))]
    graph = [{"left": left, "right_tensor_id": number} for number, left in enumerate(("input", "output"))]
    told = {"version": version, "target_platform": [platform], "norm_tensor": tensors, "graph": graph}
    description = json.dumps(told).encode()
    frame = FRAME.pack(b"RKNN", 0, 6, len(network)).ljust(NETWORK_START, b"\0")
    return frame + network + LENGTH.pack(len(description)) + description
