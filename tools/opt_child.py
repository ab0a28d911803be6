"""Child process: Paddle Lite's opt, which answers every mistake with abort().

Arguments: program, parameters, valid places, 0 or 1 for fp16 kernels, quant type of the weights (empty: as they are),
output without `.nb`.
"""

import sys


def main() -> None:
    from paddlelite.lite import Opt

    program, params, places, fp16, weight_type, output = sys.argv[1:]
    opt = Opt()
    opt.set_model_file(program)
    opt.set_param_file(params)
    # opt reads this when the places are set.
    if fp16 == "1":
        opt.enable_fp16()
    if weight_type:
        opt.set_quant_model(True)
        opt.set_quant_type(weight_type)
    opt.set_valid_places(places)
    opt.set_model_type("naive_buffer")
    opt.set_optimize_out(output)
    opt.run()


if __name__ == "__main__":
    main()
