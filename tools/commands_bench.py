"""`bench …`: what surrounds a model, side by side with the model alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

bench = typer.Typer(no_args_is_help=True, help="Measure what surrounds a model, side by side with the model alone.")


BUNDLE = Path("opt_models/board-unet/3")
RESULTS = Path("docs/benchmarks")
PEERS_PYTHON = Path(".venv-peers/bin/python")
OWN_BACKENDS = ("paddle_lite", "auto", "auto:coarse")
BundleFolder = Annotated[Path, typer.Option(help="Bundle folder.")]
Workers = Annotated[
    list[int] | None, typer.Option(min=1, max=64, help="Worker count; repeat for several (default 1 and 2).")
]
Rounds = Annotated[int, typer.Option(min=1, max=10_000, help="Rounds; the median is shown.")]
Backend = Annotated[str, typer.Option(help="What runs the network: a value of inspection.backend.")]


def _json_file(path: Path | None) -> Path | None:
    """Checked before hours of measuring."""
    if path is not None and path.is_dir():
        raise typer.BadParameter(f"{path} is a folder; name a file")
    return path


def _picture_file(path: Path | None) -> Path | None:
    if path is not None and path.suffix.lower() not in (".svg", ".png"):
        raise typer.BadParameter(f"{path}: pictures are svg or png; choose such a name")
    return path


JsonFile = Annotated[
    Path | None, typer.Option("--json", callback=_json_file, help="Write the result to this file; - prints it.")
]
PictureFile = Annotated[Path | None, typer.Option(callback=_picture_file, help="Draw the result: a file .svg or .png.")]


@bench.command()
def pipeline(
    bundle: BundleFolder = BUNDLE,
    side: Annotated[int, typer.Option(min=64, max=16384, help="Side of the picture in pixels.")] = 2048,
    workers: Workers = None,
    rounds: Rounds = 7,
    backend: Backend = "paddle_lite",
    daemon: Annotated[bool, typer.Option(help="Measure the whole path in the real daemon as well.")] = True,
    json: JsonFile = None,
    picture: PictureFile = None,
) -> None:
    """Frame time against the pure predictor time of its tiles, and the time of each stage."""
    from tools.benchmarks.output import deliver
    from tools.benchmarks.pipeline import PipelineWish, bench_pipeline

    wish = PipelineWish(bundle, side, workers or [1, 2], rounds, backend, daemon)
    deliver(bench_pipeline(wish), json, picture)


@bench.command()
def scaling(
    bundle: BundleFolder = BUNDLE,
    side: Annotated[
        list[int] | None,
        typer.Option(min=64, max=16384, help="Side in pixels; repeat (default 1024, 2048, 4096, 8192)."),
    ] = None,
    workers: Workers = None,
    rounds: Rounds = 5,
    backend: Backend = "paddle_lite",
    json: JsonFile = None,
    picture: PictureFile = None,
) -> None:
    """Milliseconds per megapixel from small pictures to large ones."""
    from tools.benchmarks.output import deliver
    from tools.benchmarks.scaling import ScalingWish, bench_scaling

    wish = ScalingWish(bundle, side or [1024, 2048, 4096, 8192], workers or [1, 2], rounds, backend)
    deliver(bench_scaling(wish), json, picture)


@bench.command()
def start(
    bundle: BundleFolder = BUNDLE,
    other: Annotated[
        Path | None, typer.Option(help="The bundle that a change of recipe goes to and back from; none: no changes.")
    ] = None,
    workers: Workers = None,
    rounds: Rounds = 7,
    backend: Backend = "paddle_lite",
    json: JsonFile = None,
    picture: PictureFile = None,
) -> None:
    """From the daemon's start to READY, step by step, and what a change of recipe and model costs."""
    from tools.benchmarks.output import deliver
    from tools.benchmarks.start import StartWish, bench_start

    deliver(bench_start(StartWish(bundle, other, workers or [1, 2], rounds, backend)), json, picture)


@bench.command()
def memory(
    bundle: BundleFolder = BUNDLE,
    side: Annotated[
        list[int] | None,
        typer.Option(min=64, max=16384, help="Side in pixels; repeat (default 512, 1024, 2048, 4096)."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Inspection processes.")] = 2,
    parts: Annotated[int, typer.Option(min=1, help="Parts for each size; at least one more than the ring has.")] = 10,
    backend: Backend = "paddle_lite",
    json: JsonFile = None,
    picture: PictureFile = None,
) -> None:
    """What all processes of the daemon hold together, and how it grows with the picture."""
    from tools.benchmarks.memory import MemoryWish, bench_memory
    from tools.benchmarks.output import deliver

    wish = MemoryWish(bundle, side or [512, 1024, 2048, 4096], workers, parts, backend)
    deliver(bench_memory(wish), json, picture)


@bench.command()
def limit(
    bundle: Annotated[list[Path] | None, typer.Option(help="Bundle folder; repeat for several.")] = None,
    backend: Annotated[
        list[str] | None, typer.Option(help="Value of inspection.backend; repeat for several (default paddle_lite).")
    ] = None,
    rounds: Rounds = 5,
    torch_python: Annotated[
        Path | None, typer.Option(help="An interpreter with torch, for the peaks in bfloat16 and int8.")
    ] = None,
    json: JsonFile = None,
    picture: PictureFile = None,
) -> None:
    """The predictor's GFLOP/s on one thread over those of a large float32 matrix product."""
    from tools.benchmarks.limit import LimitWish, bench_limit
    from tools.benchmarks.output import deliver

    deliver(bench_limit(LimitWish(bundle or [BUNDLE], backend or ["paddle_lite"], rounds, torch_python)), json, picture)


ClassicRun = Annotated[
    Path | None, typer.Option(help="Run of `train --settings tools/benchmarks/classic.toml`; without: untrained.")
]


@bench.command()
def peers(
    frames: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of pictures of one size, a data set for a template; without: made-up boards of 2048 px."
        ),
    ] = None,
    bundle: Annotated[Path, typer.Option(help="Bundle folder, one with an ONNX network.")] = BUNDLE,
    python: Annotated[Path, typer.Option(help="Interpreter of the peers; `make bench-peers` makes it.")] = PEERS_PYTHON,
    count: Annotated[int, typer.Option(min=1, max=100, help="How many of the pictures, by name.")] = 3,
    rounds: Rounds = 5,
    classic: ClassicRun = None,
    classic_rounds: Annotated[int, typer.Option(min=0, help="Rounds of UNet 64-512, which takes long; 0: none.")] = 2,
    cores: Annotated[
        list[int] | None, typer.Option(min=1, max=64, help="Processors; repeat for several (default 1 and 2).")
    ] = None,
    backend: Annotated[
        list[str] | None, typer.Option(help="Ours; repeat (default paddle_lite, auto, auto:coarse).")
    ] = None,
    peer: Annotated[list[str] | None, typer.Option(help="Only this peer; repeat for several.")] = None,
    window: Annotated[
        list[int] | None,
        typer.Option(help="Side of the peers' windows; repeat (default: the bundle's and the one planned here)."),
    ] = None,
    accuracy: Annotated[Path | None, typer.Option(help="Result of `bench accuracy`, for the column F.")] = None,
    json: JsonFile = None,
    picture: PictureFile = None,
) -> None:
    """The same frames and network through PaddleSeg, MONAI, SAHI, ONNX Runtime, OpenVINO and this runtime."""
    from tools.benchmarks.accuracy import read_accuracy
    from tools.benchmarks.contenders import PEERS, check_names
    from tools.benchmarks.output import deliver
    from tools.benchmarks.peers import PeersWish, bench_peers

    check_names(peer or [])
    wish = PeersWish(
        bundle=bundle,
        frames=frames,
        python=python,
        frame_count=count,
        rounds=rounds,
        classic_rounds=classic_rounds,
        cores=cores or [1, 2],
        backends=backend or OWN_BACKENDS,
        peers=tuple(peer or PEERS),
        classic=classic,
        accuracy={} if accuracy is None else read_accuracy(accuracy),
        windows_px=window or (),
    )
    deliver(bench_peers(wish), json, picture)


@bench.command()
def accuracy(
    data: Annotated[Path, typer.Argument(help="Data set folder (annotations.json, COCO style), pictures of one size.")],
    bundle: Annotated[Path, typer.Option(help="Bundle folder.")] = BUNDLE,
    backend: Annotated[
        list[str] | None, typer.Option(help="Ours; repeat (default paddle_lite, auto, auto:coarse).")
    ] = None,
    classic: ClassicRun = None,
    engine: Annotated[
        str, typer.Option(help="What runs the classic UNet: classic (PaddleSeg's slide), classic-openvino.")
    ] = "classic-openvino",
    python: Annotated[Path, typer.Option(help="Interpreter of the peers; `make bench-peers` makes it.")] = PEERS_PYTHON,
    cores: Annotated[int, typer.Option(min=1, max=64, help="Processors.")] = 2,
    count: Annotated[int | None, typer.Option(min=1, help="Only the first pictures, by name.")] = None,
    json: JsonFile = None,
    picture: PictureFile = None,
) -> None:
    """F of this runtime's backends and of the classic UNet on labelled pictures, scored alike."""
    from tools.benchmarks.accuracy import AccuracyWish, bench_accuracy
    from tools.benchmarks.contenders import check_names
    from tools.benchmarks.output import deliver

    check_names([engine])
    wish = AccuracyWish(bundle, data, backend or OWN_BACKENDS, classic, engine, python, cores, count)
    deliver(bench_accuracy(wish), json, picture)


@bench.command()
def report(
    results: Annotated[Path, typer.Argument(help="Folder with NAME.json of each benchmark.")] = RESULTS,
    page: Annotated[Path, typer.Option(help="The page whose figures are renewed.")] = Path("docs/performance.md"),
) -> None:
    """Write the figures of the last run into docs/performance.md, and draw their pictures."""
    from tools.benchmarks.page import write_page

    missing = write_page(page, results)
    typer.echo(f"{page}: renewed" + (f"; not measured: {', '.join(missing)}" if missing else ""))


@bench.command()
def modbus(
    bundle: Annotated[Path, typer.Option(help="Bundle folder.")] = Path("opt_models/board-unet/3"),
    workers: Annotated[int, typer.Option(min=1, max=64, help="Inspection processes, all kept busy.")] = 2,
    side: Annotated[int, typer.Option(min=256, max=8192, help="Side of the pictures in pixels.")] = 1024,
    minutes: Annotated[float, typer.Option(min=0.05, max=1440, help="How long to poll.")] = 5.0,
    polls: Annotated[float, typer.Option(min=1, max=1000, help="Readings a second, of each master.")] = 50.0,
    mbpoll: Annotated[bool, typer.Option(help="Let mbpoll read as well, where it is installed.")] = True,
    json: JsonFile = None,
    picture: PictureFile = None,
) -> None:
    """A Modbus master, and mbpoll where it is installed, poll the daemon while it inspects; 1 if anything is wrong."""
    from tools.benchmarks.modbus import ModbusLoad, bench_modbus
    from tools.benchmarks.output import deliver

    found = bench_modbus(ModbusLoad(bundle, workers, side, minutes, polls, mbpoll))
    deliver(found, json, picture)
    if any(row["faults"] for row in found.rows):
        raise typer.Exit(1)


@bench.command()
def line(
    triggers: Annotated[
        int, typer.Option(min=10, max=100_000, help="Triggers for each priority; 10000 take 8 minutes.")
    ] = 1500,
    rate: Annotated[float, typer.Option(min=1, max=100, help="Triggers a second.")] = 20.0,
    predict_ms: Annotated[float, typer.Option(min=0, max=1000, help="Processor time of one tile.")] = 25.0,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Inspection processes; each part has a tile for each.")
    ] = 2,
    priority: Annotated[
        list[int] | None, typer.Option(help="line.realtime_priority; repeat for several (default 0 and 10).")
    ] = None,
    json: JsonFile = None,
    picture: PictureFile = None,
) -> None:
    """From a trigger's stamp to its result on the wire, beyond the inference, while all workers compute."""
    from tools.benchmarks.line import LineWish, bench_line
    from tools.benchmarks.output import deliver

    deliver(bench_line(LineWish(triggers, rate, predict_ms, workers, priority or [0, 10])), json, picture)


@bench.callback()
def _bench() -> None:
    pass
