"""`edge-runtime demo`: the real daemon on a line of boards, and a controller at the other end of a serial line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tty
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edge_runtime.clock import SystemClock
from edge_runtime.commands.controller import Controller
from edge_runtime.commands.demo_report import print_summary
from edge_runtime.commands.inspect import find_pictures
from edge_runtime.errors import ConfigError, EdgeRuntimeError
from edge_runtime.inference.bundle import load_bundle
from edge_runtime.pictures import read_picture
from edge_runtime.protocol.messages import Result
from edge_runtime.values import Outcome

READY_WITHIN_S = 60.0
STOP_WITHIN_S = 5.0
DEADLINE_MS = 4000
MARKER_NAME = ".edge-runtime-demo"
SIGNS = {
    Outcome.PASS: "[green]pass[/]",
    Outcome.REJECT: "[red]REJECT[/]",
    Outcome.NOT_INSPECTED: "[yellow]NOT INSPECTED[/]",
}


@dataclass(frozen=True)
class DemoOptions:
    """What the command line asked for."""

    parts: int
    pictures: Path | None
    bundle: Path
    workers: int
    side_px: int
    rate_hz: float
    seed: int
    output: Path


def run_demo(options: DemoOptions) -> int:
    """Run all of it and print the summary; 0 when every part got its verdict and the daemon stopped cleanly."""
    console = Console()
    bundle = load_bundle(options.bundle)
    if bundle.input_contract.template:
        raise ConfigError(f"{options.bundle}: the model needs a defect-free picture, which the demo does not have")
    parts = len(find_pictures([options.pictures])) if options.pictures else options.parts
    master_fd, slave_fd = os.openpty()
    tty.setraw(slave_fd)
    config = _write_config(options, os.ttyname(slave_fd))
    log_file = options.output / "daemon.log"
    console.print(f"model {bundle.model_id}, {parts} parts, {options.workers} workers, log in {log_file}")
    with open(log_file, "wb") as log:
        command = [sys.executable, "-m", "edge_runtime", "run", "--config", str(config)]
        daemon = subprocess.Popen(command, stdout=log, stderr=log)
        controller = Controller(master_fd, SystemClock())
        try:
            complete = _send_parts(controller, daemon, parts, options.rate_hz, console)
        finally:
            clean = _stop(daemon)
    print_summary(console, options.output, controller.protocol, None if options.pictures else options.side_px)
    console.print(
        f"{'every part has its verdict' if complete else '[red]verdicts are missing[/]'}, "
        f"{'the daemon stopped cleanly' if clean else '[red]the daemon did not stop cleanly[/]'}"
    )
    return 0 if complete and clean else 1


def _write_config(options: DemoOptions, port: str) -> Path:
    """A fresh output folder with the settings of the demo's daemon; any integrator's file looks like it."""
    text, config = demo_config(options, port), options.output / "demo.toml"
    try:
        _make_fresh(options.output)
        config.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise ConfigError(f"{options.output}: cannot be written: {exc.strerror}; choose another --output") from exc
    return config


def demo_config(options: DemoOptions, port: str) -> str:
    """The settings file as text; JSON strings are TOML strings."""
    if options.pictures:
        height_px, width_px = _largest(options.pictures)
        camera = f'driver = "folder"\npath = {json.dumps(str(options.pictures.absolute()))}'
    else:
        height_px = width_px = options.side_px
        camera = f'driver = "synthetic"\nseed = {options.seed}'
    return f"""\
[station]
name = "demo"
data_dir = "data"

[camera]
{camera}
width_px = {width_px}
height_px = {height_px}

[inspection]
bundle = {json.dumps(str(options.bundle.absolute()))}
workers = {options.workers}

[line]
trigger = "serial"
deadline_ms = {DEADLINE_MS}
heartbeat_ms = 200

[serial]
port = {json.dumps(port)}

[archive]
keep_ok_every = 1

[recipe]
name = "demo"
join_px = 6
"""


def _largest(folder: Path) -> tuple[int, int]:
    sizes = [read_picture(file).shape[:2] for file in find_pictures([folder])]
    return max(height for height, _ in sizes), max(width for _, width in sizes)


def _make_fresh(folder: Path) -> None:
    """Empty the output folder of an earlier demo; any other folder with something in it is left alone."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER_NAME).exists():
            raise ConfigError(f"{folder}: is not empty and not the output of a demo; choose another --output")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER_NAME).touch()


def _send_parts(
    controller: Controller, daemon: subprocess.Popen[bytes], parts: int, rate_hz: float, console: Console
) -> bool:
    if not controller.wait_until_able(READY_WITHIN_S, gave_up=lambda: daemon.poll() is not None):
        raise EdgeRuntimeError(f"the daemon did not become ready (state {controller.state or 'unknown'}); see its log")
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("on the wire", total=parts)

        def show(result: Result) -> None:
            line_ms = controller.protocol.latency_ms[result.line_seqno or 0]
            progress.print(f"part {result.part_id:5}  {SIGNS[result.outcome]:22}  {line_ms:6.0f} ms  {_detail(result)}")
            progress.advance(task)

        return controller.run(parts, rate_hz, parts / rate_hz + DEADLINE_MS / 1000 + 10, show)


def _detail(result: Result) -> str:
    if not result.defect_count:
        return result.reason
    return f"{result.defect_count} defects, the largest: {result.class_name}"


def _stop(daemon: subprocess.Popen[bytes]) -> bool:
    daemon.send_signal(signal.SIGTERM)
    try:
        return daemon.wait(STOP_WITHIN_S) == 0
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
        return False
