"""Child process: runs of an x86 `.nb`, whose predictor aborts or crashes on what it dislikes.

Arguments: the .nb file, an .npz with inputs `0`, `1`, … (float32) whose first axis counts the runs, the .npz to write
with outputs `0`, `1`, … of the same kind.
"""

import sys
from typing import Any

import numpy as np


def main() -> None:
    from paddlelite.lite import MobileConfig, create_paddle_predictor

    model, inputs, outputs = sys.argv[1:]
    config = MobileConfig()
    config.set_model_from_file(model)
    predictor = create_paddle_predictor(config)
    with np.load(inputs, allow_pickle=False) as stored:
        values = [stored[str(index)] for index in range(len(stored.files))]
    answers = [run_once(predictor, [value[run] for value in values]) for run in range(len(values[0]))]
    stacked: dict[str, Any] = {str(index): np.stack(runs) for index, runs in enumerate(zip(*answers, strict=True))}
    np.savez(outputs, **stacked)


def run_once(predictor: Any, inputs: list[Any]) -> list[Any]:
    for index, values in enumerate(inputs):
        tensor = predictor.get_input(index)
        tensor.resize(list(values.shape))
        # from_numpy copies nothing under NumPy 2; only the list setter and the view are sound.
        tensor.set_float_data([0.0] * values.size)
        np.copyto(tensor.numpy(), values)
    predictor.run()
    return [predictor.get_output(index).numpy().copy() for index in range(len(predictor.get_output_names()))]


if __name__ == "__main__":
    main()
