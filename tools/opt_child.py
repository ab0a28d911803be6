"""Child process: Paddle Lite's opt, which answers every mistake with abort().

Arguments: program, parameters, target, output without `.nb`.
"""

import sys


def main() -> None:
    from paddlelite.lite import Opt

    program, params, target, output = sys.argv[1:]
    opt = Opt()
    opt.set_model_file(program)
    opt.set_param_file(params)
    opt.set_valid_places(target)
    opt.set_model_type("naive_buffer")
    opt.set_optimize_out(output)
    opt.run()


if __name__ == "__main__":
    main()
