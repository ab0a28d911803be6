"""Child process: how long an x86 `.nb` computes, in CPU time of its one thread, which busy neighbours do not lengthen.

Arguments: the .nb file, the input's sides as `N,C,H,W`, the number of runs. Prints the median in milliseconds.
"""

import statistics
import sys
import time

import numpy as np

WARM_UP_RUNS = 2


def main() -> None:
    from paddlelite.lite import MobileConfig, create_paddle_predictor

    model, dims, runs = sys.argv[1:]
    config = MobileConfig()
    config.set_model_from_file(model)
    predictor = create_paddle_predictor(config)
    sides = [int(side) for side in dims.split(",")]
    tensor = predictor.get_input(0)
    tensor.resize(sides)
    # from_numpy copies nothing under NumPy 2; only the list setter and the view are sound.
    tensor.set_float_data([0.0] * int(np.prod(sides)))
    np.copyto(tensor.numpy(), np.random.default_rng(0).standard_normal(sides, np.float32))
    taken_ns = []
    for _ in range(WARM_UP_RUNS + int(runs)):
        started_ns = time.thread_time_ns()
        predictor.run()
        taken_ns.append(time.thread_time_ns() - started_ns)
    print(statistics.median(taken_ns[WARM_UP_RUNS:]) / 1e6)


if __name__ == "__main__":
    main()
