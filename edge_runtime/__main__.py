"""Command line `edge-runtime`. Exit codes: 0 well, 1 the answer is no (a reject, a failed check), 2 trouble."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from edge_runtime import __version__
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.standard_streams import open_missing_streams

EXIT_NO, EXIT_TROUBLE = 1, 2
FORK_PROGRAM = "edge_runtime.fork_program"
DEFAULT_BUNDLE = Path("opt_models/board-unet/3")

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
bundle_app = typer.Typer(no_args_is_help=True, help="Look at model bundles.")
app.add_typer(bundle_app, name="bundle")

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="Settings file (TOML).")]
BundleOption = Annotated[Path, typer.Option("--bundle", "-b", help="Folder of the model bundle.")]
BackendOption = Annotated[str, typer.Option(help="What runs it: a value of inspection.backend.")]
WorkersOption = Annotated[int, typer.Option(min=1, max=64, help="Inspection processes.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edge-runtime {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")] = False,
) -> None:
    pass


@app.command()
def run(config: ConfigOption) -> None:
    """Run the daemon until SIGTERM. The outputs are safe before, and on every way out."""
    from edge_runtime.runtime.fork_server import ForkServer

    fork_server = ForkServer([sys.executable, "-m", FORK_PROGRAM])  # its imports go on beside ours
    from edge_runtime.app import build_line, put_line_first
    from edge_runtime.config import load_settings
    from edge_runtime.standard_streams import set_up_logging

    set_up_logging("line")
    settings = load_settings(config)
    put_line_first(settings.line.realtime_priority)
    raise typer.Exit(build_line(settings, fork_server, config).run())


@app.command("check-config")
def check_config(config: ConfigOption) -> None:
    """Check a settings file, its recipe and its bundle, without touching any device."""
    from edge_runtime.commands.check_config import check

    check(config)


@app.command()
def recipes(config: Annotated[Path, typer.Argument(help="Settings file (TOML).")]) -> None:
    """List number, name, digest and model of every recipe, as the controller is told them."""
    from edge_runtime.commands.recipes import list_recipes

    list_recipes(config)


@app.command("make-safe")
def make_safe(config: ConfigOption) -> None:
    """Drive the outputs to their safe level and tell the controller, while no daemon runs (systemd's ExecStopPost)."""
    from edge_runtime.config import load_settings
    from edge_runtime.runtime import guard
    from edge_runtime.standard_streams import set_up_logging
    from edge_runtime.wires import build_lines, build_serial_port, last_words

    set_up_logging("make-safe")
    settings = load_settings(config)
    if not guard.make_safe(build_serial_port(settings), build_lines(settings), last_words(settings)):
        raise typer.Exit(EXIT_TROUBLE)


@bundle_app.command("verify")
def bundle_verify(
    folder: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    backend: BackendOption = "paddle_lite",
    target: Annotated[str | None, typer.Option(help="Which of its networks, as inspection.target.")] = None,
    precision: Annotated[str, typer.Option(help="openvino only: f32, bf16 or f16.")] = "f32",
) -> None:
    """Check digests and target, and run the golden tiles on this machine."""
    from edge_runtime.commands.bundles import verify
    from edge_runtime.config_inspection import inspection_of

    verify(inspection_of(folder, backend, target, precision))


@bundle_app.command("measure")
def bundle_measure(
    folder: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    threads: Annotated[int, typer.Option(min=1, max=64, help="Threads of each engine.")] = 1,
    coarse: Annotated[bool, typer.Option("--coarse", help="INT8 and bf16, too, where the bundle allows them.")] = False,
    frame_size: Annotated[
        str | None, typer.Option(help="With the tiles that such a picture takes, 2448x2048; default: the usual ones.")
    ] = None,
) -> None:
    """How fast each engine that is installed here runs the bundle. Exit code 1: none can."""
    from edge_runtime.commands.bench import frame_hw_of
    from edge_runtime.commands.bundles import measure
    from edge_runtime.config_inspection import InspectionSettings

    told = InspectionSettings(bundle=folder.absolute(), backend="auto", threads=threads, auto_coarse=coarse)
    if not measure(told, frame_hw_of(frame_size) if frame_size else None):
        raise typer.Exit(EXIT_NO)


@app.command()
def inspect(
    pictures: Annotated[list[Path], typer.Argument(help="Pictures, or folders of pictures.")],
    bundle: BundleOption = DEFAULT_BUNDLE,
    recipe: Annotated[Path | None, typer.Option(help="Recipe file (TOML); default: every defect rejects.")] = None,
    template: Annotated[
        Path | None, typer.Option(help="Defect-free picture, or a folder with one of the same name for each.")
    ] = None,
    workers: WorkersOption = 2,
    overlays: Annotated[Path | None, typer.Option(help="Write an overlay picture for each here.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line for each picture.")] = False,
    backend: BackendOption = "paddle_lite",
) -> None:
    """Inspect picture files: 0 all passed, 1 any reject, 2 trouble."""
    from edge_runtime.commands.inspect import inspect_files

    raise typer.Exit(inspect_files(pictures, bundle, recipe, template, workers, overlays, json, backend))


@app.command()
def demo(
    parts: Annotated[int, typer.Option(min=1, max=100_000, help="Parts to send down the line.")] = 40,
    pictures: Annotated[Path | None, typer.Option(help="Inspect the pictures of this folder instead.")] = None,
    bundle: BundleOption = DEFAULT_BUNDLE,
    workers: WorkersOption = 2,
    side_px: Annotated[int, typer.Option(min=256, max=8192, help="Side of the synthetic boards.")] = 1024,
    rate_hz: Annotated[float, typer.Option(min=0.05, max=100, help="Parts a second.")] = 2.0,
    seed: Annotated[int, typer.Option(min=0, help="Which boards and defects.")] = 1,
    output: Annotated[Path, typer.Option(help="Folder for records, pictures and the log.")] = Path("demo-output"),
) -> None:
    """A line of boards, a real model, and a controller at the other end of a serial line."""
    from edge_runtime.commands.demo import DemoOptions, run_demo

    raise typer.Exit(run_demo(DemoOptions(parts, pictures, bundle, workers, side_px, rate_hz, seed, output)))


@app.command("modbus-map")
def modbus_map(
    settings: Annotated[Path | None, typer.Argument(help="Settings file (TOML), for its word order.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="As CSV, for the controller's programmer.")] = False,
) -> None:
    """The Modbus register map."""
    from edge_runtime.commands.modbus_map import print_map

    print_map(settings, csv)


@app.command()
def simulate(
    parts: Annotated[int, typer.Option(min=1, max=60_000, help="Parts on the belt.")] = 400,
    rate: Annotated[float, typer.Option(min=0.2, max=50, help="Parts a second.")] = 5.0,
    faults: Annotated[str, typer.Option(help="all, none, or names separated by commas.")] = "all",
    mode: Annotated[
        Literal["delay", "encoder"], typer.Option(help="How the ejector is timed, without --settings.")
    ] = "encoder",
    trigger: Annotated[
        Literal["gpio", "serial"], typer.Option(help="How the daemon hears of a part, without --settings.")
    ] = "gpio",
    wires: Annotated[
        Literal["recording", "gpio-sim"], typer.Option(help="gpio-sim: the real driver on the kernel's simulated chip.")
    ] = "recording",
    settings: Annotated[
        Path | None,
        typer.Option(
            "--settings", "--config", "-c", help="Take line, ejection and wires of this file; else fitting ones."
        ),
    ] = None,
    speed: Annotated[float, typer.Option(min=1, max=20_000, help="Belt speed, mm/s.")] = 500.0,
    eye_to_ejector: Annotated[float, typer.Option(min=1, max=100_000, help="From photo-eye to ejector, mm.")] = 500.0,
    second_eye: Annotated[float, typer.Option(min=0, max=100_000, help="To a second photo-eye, mm; 0: none.")] = 0.0,
    pulses_per_mm: Annotated[float, typer.Option(min=0.001, max=100, help="Encoder periods a millimetre.")] = 0.5,
    defects: Annotated[float, typer.Option(min=0, max=1, help="Share of defective parts.")] = 0.15,
    seed: Annotated[int, typer.Option(min=0, help="The same seed plans the same run.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    keep: Annotated[
        Path | None, typer.Option(help="Keep the daemon's settings, log and records in this folder.")
    ] = None,
) -> None:
    """A belt, its parts and a controller around the real daemon: 0 when nothing was wrong or missed, 1 otherwise."""
    from edge_runtime.commands.simulate import able_faults, mode_of, run_simulation
    from edge_runtime.simulation.plan import RunWish
    from edge_runtime.simulation.run import RunOptions

    mode = mode_of(settings, mode)
    kinds = able_faults(faults, mode, second_eye, wires)
    wish = RunWish(parts, rate, speed, eye_to_ejector, pulses_per_mm, defects, kinds, seed, second_eye)
    raise typer.Exit(run_simulation(RunOptions(wish, mode, trigger, settings, keep, wires), json))


@app.command()
def bench(
    settings: Annotated[
        Path | None, typer.Option("--settings", "--config", "-c", help="Settings file (TOML): camera, model, deadline.")
    ] = None,
    bundle: Annotated[Path | None, typer.Option("--bundle", "-b", help="A bundle instead, without settings.")] = None,
    frame_size: Annotated[
        str | None, typer.Option(help="WIDTHxHEIGHT of the pictures in pixels; default: the camera's, or 2048x2048.")
    ] = None,
    pictures: Annotated[Path | None, typer.Option(help="Take the pictures of this folder, not made-up ones.")] = None,
    seconds: Annotated[
        float | None, typer.Option(min=1, max=86_400, help="How long; default 15, or at most 210 to tune.")
    ] = None,
    backend: Annotated[str | None, typer.Option(help="Instead of the settings'; with --bundle default auto.")] = None,
    precision: Annotated[str, typer.Option(help="With --bundle, openvino only: f32, bf16 or f16.")] = "f32",
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Instead of the settings'.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, max=64, help="Instead of the settings'.")] = None,
    reserve: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share of a core that something else takes, as line and office do.")
    ] = 0.1,
    tune: Annotated[
        bool, typer.Option("--tune", help="Find engine, workers, threads, processors and tiles; write them.")
    ] = False,
    goal: Annotated[Literal["latency", "throughput"], typer.Option(help="--tune: what counts.")] = "latency",
    warm_up: Annotated[
        float, typer.Option(min=0, max=7200, help="--tune: seconds to become warm, at most a quarter of all.")
    ] = 45.0,
    keep_engine: Annotated[bool, typer.Option("--keep-engine", help="--tune: only the configured engine.")] = False,
    keep_tiles: Annotated[bool, typer.Option("--keep-tiles", help="--tune: only the configured tiles.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="--tune: change no file.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also while the daemon runs: its parts will be late.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """What a frame takes on this device, and whether the deadline holds: 0 it does, 1 not. No wire is touched."""
    from edge_runtime.commands.bench import BenchOptions, frame_hw_of, run_bench

    if (settings is None) == (bundle is None):
        raise typer.BadParameter("name either --settings or --bundle")
    if tune and settings is not None and (backend, workers, threads) != (None, None, None):
        raise typer.BadParameter("--tune finds workers, threads and engine: leave them out")
    frame_hw = frame_hw_of(frame_size) if frame_size else None
    options = BenchOptions(settings, bundle, backend, precision, workers, threads, frame_hw, pictures, reserve, force)
    if tune:
        from edge_runtime.commands.tune import TuneOptions, run_tune
        from edge_runtime.tuning.tune import TuneRules

        rules = TuneRules(goal, seconds or 210.0, warm_up)
        run_tune(options, TuneOptions(rules, keep_engine, keep_tiles, dry_run), json)
    elif not run_bench(options, seconds or 15.0, json):
        raise typer.Exit(EXIT_NO)


@app.command()
def doctor(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Also check what this file needs.")] = None,
) -> None:
    """What hardware, ports, cameras, wheels and permissions are here, and what is missing."""
    from edge_runtime.commands.doctor import diagnose

    raise typer.Exit(diagnose(config))


def main() -> None:
    """Run the command line; an expected error is one line on stderr and exit code 2."""
    open_missing_streams()
    try:
        app()
    except EdgeRuntimeError as exc:
        typer.echo(f"error: {exc}", err=True)
        sys.exit(EXIT_TROUBLE)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
