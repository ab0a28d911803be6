"""Child process: one run of an x86 `.nb`, whose predictor aborts or crashes on what it dislikes.

Arguments: the .nb file, an .npz with inputs `0`, `1`, … (float32), the .npz to write with outputs `0`, `1`, …
"""

import sys

import numpy as np


def main() -> None:
    from paddlelite.lite import MobileConfig, create_paddle_predictor

    model, inputs, outputs = sys.argv[1:]
    config = MobileConfig()
    config.set_model_from_file(model)
    predictor = create_paddle_predictor(config)
    with np.load(inputs, allow_pickle=False) as stored:
        for index in range(len(stored.files)):
            values = stored[str(index)]
            tensor = predictor.get_input(index)
            tensor.resize(list(values.shape))
            # from_numpy copies nothing under NumPy 2; only the list setter and the view are sound.
            tensor.set_float_data([0.0] * values.size)
            np.copyto(tensor.numpy(), values)
    predictor.run()
    count = len(predictor.get_output_names())
    np.savez(outputs, **{str(index): predictor.get_output(index).numpy().copy() for index in range(count)})


if __name__ == "__main__":
    main()
