"""Child process: one run of a float Paddle model as it was exported, with no graph optimisation.

Arguments: program, parameters, an .npz with inputs `0`, `1`, …, the .npz to write with outputs `0`, `1`, …
"""

import sys
from pathlib import Path

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
        for index, name in enumerate(predictor.get_input_names()):
            predictor.get_input_handle(name).copy_from_cpu(stored[str(index)])
    predictor.run()
    handles = [predictor.get_output_handle(name) for name in predictor.get_output_names()]
    np.savez(outputs, **{str(index): handle.copy_to_cpu() for index, handle in enumerate(handles)})


if __name__ == "__main__":
    main()
