"""`bench …`: what surrounds a model, side by side with the model alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

bench = typer.Typer(no_args_is_help=True, help="Measure what surrounds a model, side by side with the model alone.")


@bench.command()
def pipeline(
    bundle: Annotated[Path, typer.Option(help="Bundle folder.")] = Path("opt_models/board-unet/1"),
    side: Annotated[int, typer.Option(help="Side of the picture in pixels.")] = 2048,
    workers: Annotated[
        list[int] | None, typer.Option(help="Worker count; repeat for several (default 1 and 2).")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the median is shown.")] = 7,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line for each worker count.")] = False,
) -> None:
    """Frame time against the pure predictor time of its tiles."""
    from tools.bench import bench_pipeline

    bench_pipeline(bundle, side, workers or [1, 2], rounds, json)


@bench.command()
def modbus(
    bundle: Annotated[Path, typer.Option(help="Bundle folder.")] = Path("opt_models/board-unet/1"),
    workers: Annotated[int, typer.Option(min=1, max=64, help="Inspection processes, all kept busy.")] = 2,
    side: Annotated[int, typer.Option(min=256, max=8192, help="Side of the pictures in pixels.")] = 1024,
    minutes: Annotated[float, typer.Option(min=0.05, max=1440, help="How long to poll.")] = 5.0,
    polls: Annotated[float, typer.Option(min=1, max=1000, help="Readings a second, of each master.")] = 50.0,
    mbpoll: Annotated[bool, typer.Option(help="Let mbpoll read as well, where it is installed.")] = True,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """A Modbus master, and mbpoll where it is installed, poll the daemon while it inspects; 1 if anything is wrong."""
    from tools.bench_modbus import ModbusLoad, bench_modbus

    if not bench_modbus(ModbusLoad(bundle, workers, side, minutes, polls, mbpoll), json):
        raise typer.Exit(1)


@bench.command()
def line(
    triggers: Annotated[int, typer.Option(min=10, max=100_000, help="Triggers for each priority.")] = 10_000,
    rate: Annotated[float, typer.Option(min=1, max=100, help="Triggers a second.")] = 20.0,
    predict_ms: Annotated[float, typer.Option(min=0, max=1000, help="Processor time of one tile.")] = 35.0,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Inspection processes; each part has a tile for each.")
    ] = 2,
    priority: Annotated[
        list[int] | None, typer.Option(help="line.realtime_priority; repeat for several (default 0 and 10).")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line for each priority.")] = False,
) -> None:
    """From a trigger's stamp to its result on the wire, beyond the inference, while all workers compute."""
    from tools.bench_line import bench_line

    bench_line(triggers, rate, predict_ms, workers, priority or [0, 10], json)


@bench.callback()
def _bench() -> None:
    pass
