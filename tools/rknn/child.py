"""Child process, run by the interpreter that has rknn-toolkit2: one network built, then run in its simulator.

Arguments: a JSON file, the fields of `simulator.Order`, and the descriptor for the answers. Writes one line of JSON
there, the toolkit's version or the problem; then, for each tile on standard input, the network's answer as float32.
The end of the input ends the process. The toolkit prints and drops files where it stands: the parent chose both.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    order = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    with os.fdopen(int(sys.argv[2]), "wb", buffering=0) as answers:
        try:
            network = _build(order)
            told = {"version": version("rknn-toolkit2")}
        except Exception as exc:  # noqa: BLE001  # the toolkit's errors have no common base
            told = {"problem": f"{type(exc).__name__}: {exc}"}
        answers.write(json.dumps(told).encode() + b"\n")
        if "problem" not in told:
            _serve(network, order, answers)


def _build(order: dict[str, Any]) -> Any:
    from rknn.api import RKNN

    network = RKNN(verbose=True)
    _must(
        "config",
        network.config(
            target_platform=order["platform"],
            mean_values=[order["mean"]],
            std_values=[order["std"]],
            quantized_algorithm="normal",
            quantized_method="channel",
            single_core_mode=True,
        ),
    )
    _must("load_onnx", network.load_onnx(order["onnx"]))
    wanted = order["calibration"] is not None
    _must("build", network.build(do_quantization=wanted, dataset=_dataset(order["calibration"]) if wanted else None))
    _must("export_rknn", network.export_rknn(order["out"]))
    _must("init_runtime", network.init_runtime())
    return network


def _must(step: str, code: int) -> None:
    if code != 0:
        raise RuntimeError(f"{step} answered {code}")


def _dataset(path: str) -> str:
    """The toolkit wants a text file that names a file for each tile, uint8 (1, C, H, W), and scales them itself."""
    folder, names = Path("calibration"), []
    folder.mkdir()
    for number, tile in enumerate(np.load(path, allow_pickle=False)):
        names.append(str((folder / f"{number}.npy").resolve()))
        np.save(names[-1], np.ascontiguousarray(tile.transpose(2, 0, 1)[None]))
    (folder / "list.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    return str(folder / "list.txt")


def _serve(network: Any, order: dict[str, Any], answers: Any) -> None:
    shape = tuple(order["tile_hwc"])
    while tile := sys.stdin.buffer.read(int(np.prod(shape))):
        pixels = np.frombuffer(tile, np.uint8).reshape(1, *shape)
        (answer,) = network.inference(inputs=[pixels], data_format=["nhwc"])
        data = np.ascontiguousarray(answer, np.float32).tobytes()
        if len(data) != order["answer_bytes"]:
            raise RuntimeError(f"the simulator answers {answer.shape}, {order['answer_bytes']} bytes were expected")
        answers.write(data)


if __name__ == "__main__":
    main()
