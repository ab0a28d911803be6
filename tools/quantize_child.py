"""Child process: Paddle's post-training quantisation, whose static mode and global state stay in here.

Argument: a JSON file, the fields of `quantize.Request`. Tasks: `calibrate` measures and writes all scales, the program
with every layer quantised, and the error of each layer when it alone is; `write` makes the program again with some
layers left in float.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

ONE_TILE = 1
SCALES_GIVEN = "abs_max"


def main() -> None:
    from tools.paddle_first import paddle

    paddle.enable_static()
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    job = _Job(paddle, request)
    {"calibrate": job.calibrate, "write": job.write}[request["task"]]()


class _Job:
    """One float program and its tiles; Paddle's quantiser is made anew for each choice of layers."""

    def __init__(self, paddle: Any, request: dict[str, Any]) -> None:
        self.paddle = paddle
        self.request = request
        self.tiles = np.load(request["tiles"], allow_pickle=False)

    def calibrate(self) -> None:
        quantiser = self._quantised(self.request["algorithm"], len(self.tiles))
        scales = quantiser._quantized_var_threshold or quantiser._quantized_threshold
        plain = {name: np.asarray(scale, np.float64).tolist() for name, scale in scales.items()}
        Path(self.request["scales"]).write_text(json.dumps(plain), encoding="utf-8")
        self._save(quantiser)
        self._rank()

    def write(self) -> None:
        self._save(self._with_known_scales(self.request["float_layers"]))

    def _rank(self) -> None:
        layers = self.request["layers"]
        wanted = self._answers(*self._float_program())
        errors = {}
        for layer in ("", *layers):
            kept = [name for name in layers if layer and name != layer]
            quantiser = self._with_known_scales(kept)
            errors[layer] = _error(wanted, self._answers(quantiser._program, quantiser._scope))
        Path(self.request["errors"]).write_text(json.dumps(errors), encoding="utf-8")

    def _with_known_scales(self, float_layers: list[str]) -> Any:
        scales = json.loads(Path(self.request["scales"]).read_text(encoding="utf-8"))
        return self._quantised(SCALES_GIVEN, ONE_TILE, scale_dict=scales, skip_tensor_list=float_layers)

    def _quantised(self, algorithm: str, tile_count: int, **options: Any) -> Any:
        scope, program = self.paddle.static.Scope(), Path(self.request["program"])
        with self.paddle.static.scope_guard(scope):
            quantiser = self.paddle.static.quantization.PostTrainingQuantization(
                executor=self._executor(),
                scope=scope,
                model_dir=str(program.parent),
                model_filename=program.name,
                params_filename=Path(self.request["params"]).name,
                data_loader=self._loader(tile_count),
                batch_size=1,
                batch_nums=tile_count,
                algo=algorithm,
                quantizable_op_type=self.request["kinds"],
                onnx_format=True,
                weight_quantize_type="channel_wise_abs_max",
                **options,
            )
            quantiser.quantize()
        return quantiser

    def _save(self, quantiser: Any) -> None:
        from tools.program_edit import mend_program

        out = Path(self.request["out"])
        with self.paddle.static.scope_guard(quantiser._scope):
            quantiser.save_quantized_model(str(out.parent), out.name, out.with_suffix(".pdiparams").name)
        mend_program(out)

    def _float_program(self) -> tuple[Any, Any]:
        scope, program = self.paddle.static.Scope(), Path(self.request["program"])
        with self.paddle.static.scope_guard(scope):
            loaded, _, _ = self.paddle.static.load_inference_model(
                str(program.parent),
                self._executor(),
                model_filename=program.name,
                params_filename=Path(self.request["params"]).name,
            )
        return loaded, scope

    def _answers(self, program: Any, scope: Any) -> list[list[Any]]:
        """The probes' values for each of the ranking tiles."""
        executor, probes = self._executor(), self.request["probes"]
        feeds = ({self.request["input"]: tile[None]} for tile in self.tiles[: self.request["rank_tiles"]])
        return [executor.run(program, feed=feed, fetch_list=probes, scope=scope) for feed in feeds]

    def _executor(self) -> Any:
        return self.paddle.static.Executor(self.paddle.CPUPlace())

    def _loader(self, tile_count: int) -> Any:
        samples = [{self.request["input"]: tile} for tile in self.tiles[:tile_count]]
        places = [self.paddle.CPUPlace()]
        return self.paddle.io.DataLoader(_Samples(samples), places=places, batch_size=1, return_list=True)


class _Samples:
    """A list as Paddle's DataLoader wants it."""

    def __init__(self, samples: list[dict[str, Any]]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.samples[index]


def _error(wanted: list[list[Any]], found: list[list[Any]]) -> float:
    """Root mean square difference over the standard deviation of the float values, at the worst probe."""
    errors = []
    for probe in range(len(wanted[0])):
        before = np.stack([answer[probe] for answer in wanted])
        after = np.stack([answer[probe] for answer in found])
        errors.append(float(np.sqrt(np.mean((after - before) ** 2)) / max(float(before.std()), 1e-12)))
    return max(errors)


if __name__ == "__main__":
    main()
