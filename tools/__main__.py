"""The model engineer's commands: from labelled pictures to a bundle that can be trusted.

`python -m tools RECIPE.toml` runs a whole chain from one file.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import NoReturn

import typer

from edge_runtime.errors import EdgeRuntimeError

COMMANDS = {
    "synthesize": "tools.commands_synthesize",
    "train": "tools.commands_train",
    "analyse": "tools.commands_analyse",
    "prune": "tools.commands_prune",
    "distill": "tools.commands_train",
    "export": "tools.commands_pack",
    "tiles": "tools.commands_pack",
    "quantize": "tools.commands_convert",
    "qat": "tools.commands_qat",
    "convert": "tools.commands_convert",
    "verify": "tools.commands_verify",
    "evaluate": "tools.commands_evaluate",
    "compare-stages": "tools.commands_verify",
    "pack": "tools.commands_pack",
    "repack": "tools.commands_pack",
    "gate": "tools.commands_gate",
    "diff": "tools.commands_evaluate",
    "recipe": "tools.commands_pack",
    "reinspect": "tools.reinspection.command",
    "bench": "tools.commands_bench",
    "rknn": "tools.rknn.command",
}


def build_app(wanted: str | None) -> typer.Typer:
    """The command line with the command `wanted`, or with all of them when it is none of `COMMANDS`.

    Only what the command needs is imported: training runs where Paddle is not installed.
    """
    app = typer.Typer(no_args_is_help=True, add_completion=False)
    app.callback(help=__doc__)(_all)
    for name in [wanted] if wanted in COMMANDS else COMMANDS:
        command = getattr(import_module(COMMANDS[name]), name.replace("-", "_"))
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def _all() -> None:
    pass


def main() -> None:
    """Run one command; an expected error, or a file that cannot be read or written, is one line and exit code 2."""
    arguments = sys.argv[1:]
    if arguments and arguments[0].endswith(".toml"):
        arguments = ["recipe", *arguments]
    try:
        build_app(arguments[0] if arguments else None)(arguments, prog_name="python -m tools")
    except EdgeRuntimeError as exc:
        _give_up(str(exc))
    except OSError as exc:
        if exc.filename is None:
            raise
        _give_up(f"{exc.filename}: {exc.strerror}; check the path, the rights and the disk")


def _give_up(message: str) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
