"""Child process: runs of a Paddle program as it was exported or quantised, with no graph optimisation.

Arguments: program, parameters, an .npz with inputs `0`, `1`, … whose first axis counts the runs, the .npz to write with
outputs `0`, `1`, … of the same kind.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))


def main() -> None:
    from tools.paddle_first import paddle

    program, params, inputs, outputs = sys.argv[1:]
    config = paddle.inference.Config(program, params)
    config.switch_ir_optim(False)
    config.disable_glog_info()
    predictor = paddle.inference.create_predictor(config)
    with np.load(inputs, allow_pickle=False) as stored:
        values = [stored[str(index)] for index in range(len(stored.files))]
    answers = [run_once(predictor, [value[run] for value in values]) for run in range(len(values[0]))]
    stacked: dict[str, Any] = {str(index): np.stack(runs) for index, runs in enumerate(zip(*answers, strict=True))}
    np.savez(outputs, **stacked)


def run_once(predictor: Any, inputs: list[Any]) -> list[Any]:
    for name, values in zip(predictor.get_input_names(), inputs, strict=True):
        predictor.get_input_handle(name).copy_from_cpu(np.ascontiguousarray(values))
    predictor.run()
    return [predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names()]


if __name__ == "__main__":
    main()
