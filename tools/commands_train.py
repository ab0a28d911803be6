"""`train` and `distill`: from settings and options to a run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import tomli
import typer
from rich.console import Console

from tools.errors import ToolError
from tools.graph import Graph, Weights
from tools.runs import Distillation, TrainSettings, data_shares, parse_settings

OutRun = Annotated[Path, typer.Option(help="Folder of the run.")]
DataFolders = Annotated[list[Path] | None, typer.Option(help="Data set folder; repeat for several.")]
Shares = Annotated[list[float] | None, typer.Option(help="Share of crops, one per --data; together 1.")]
SettingsFile = Annotated[Path | None, typer.Option(help="TOML with any training setting and a table 'network'.")]
Steps = Annotated[int | None, typer.Option(min=1)]
Resume = Annotated[bool, typer.Option(help="Go on from the run's checkpoint with the run's settings.")]
EngineName = Annotated[str | None, typer.Option(help="paddle, or torch where PyTorch is installed.")]


def train(
    out: OutRun,
    data: DataFolders = None,
    share: Shares = None,
    settings: SettingsFile = None,
    network: Annotated[
        str | None, typer.Option(help="unet, a RegNet's name, or a network.npz or run to start from.")
    ] = None,
    template: Annotated[bool | None, typer.Option(help="Show the network the defect-free picture too.")] = None,
    steps: Steps = None,
    batch: Annotated[int | None, typer.Option(min=1)] = None,
    crop: Annotated[int | None, typer.Option(help="Side of a training crop in pixels.")] = None,
    seed: int | None = None,
    engine: EngineName = None,
    resume: Resume = False,
) -> None:
    """Train a network on crops of labelled pictures."""
    options = {"template": template, "steps": steps, "batch": batch, "crop_px": crop, "seed": seed, "engine": engine}
    if resume:
        _go_on(out)
        return
    values, table = read_settings_file(settings)
    where = str(settings) if settings else "training settings"
    chosen = training_settings(values, data, share, options, where)
    _begin(out, chosen, starting_network(network, table, chosen, where), None)


def distill(
    out: OutRun,
    student: Annotated[Path | None, typer.Option(help="Network to train: a network.npz or a folder with one.")] = None,
    teacher: Annotated[Path | None, typer.Option(help="Network to learn from, unpruned.")] = None,
    data: DataFolders = None,
    share: Shares = None,
    settings: SettingsFile = None,
    steps: Steps = None,
    engine: EngineName = None,
    resume: Resume = False,
) -> None:
    """Train a (pruned) network on labels and on the outputs and features of a teacher."""
    from tools.network_file import load_network

    if resume:
        _go_on(out)
        return
    if student is None or teacher is None:
        raise ToolError("distill needs --student and --teacher")
    values, _ = read_settings_file(settings)
    start = load_network(student)
    options = {"steps": steps, "engine": engine, "template": start[0].input_channels == 2}
    chosen = training_settings(values, data, share, options, str(settings) if settings else "training settings")
    _begin(out, replace(chosen, distillation=chosen.distillation or Distillation()), start, load_network(teacher))


def read_settings_file(path: Path | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """A TOML or JSON file's training settings and its `network` table; both empty without a file."""
    if path is None:
        return {}, {}
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix == ".json" else tomli.loads(text)
    except OSError as exc:
        raise ToolError(f"{path}: {exc.strerror}; give a TOML file of training settings") from exc
    except ValueError as exc:
        raise ToolError(f"{path}: not {'JSON' if path.suffix == '.json' else 'TOML'} ({exc})") from exc
    network = values.pop("network", {}) if isinstance(values, dict) else None
    if not isinstance(values, dict) or not isinstance(network, dict):
        raise ToolError(f"{path}: network must be a table, as in [network] kind = 'unet'")
    return values, network


def starting_network(
    named: str | None, table: dict[str, Any], settings: TrainSettings, where: str
) -> tuple[Graph, Weights]:
    """The network to begin with: a stored one with its weights, or a fresh one of the classes the data have.

    Raises ToolError; about `table` it begins with `where`, the file that holds it.
    """
    from tools.architectures.choice import build_network
    from tools.dataset import load_dataset
    from tools.graph import initial_weights
    from tools.network_file import load_network

    if named and Path(named).exists():
        return load_network(Path(named))
    classes = len(load_dataset(Path(settings.data[0].folder)).class_names) + 1
    described = {**table, "kind": named} if named else table
    graph = build_network(described, 2 if settings.template else 1, classes, f"{where}: network")
    return graph, initial_weights(graph, settings.seed)


def training_settings(
    values: dict[str, Any], data: list[Path] | None, share: list[float] | None, options: dict[str, Any], where: str
) -> TrainSettings:
    """A settings file's values under what the command line names. Raises ToolError, about values with `where`."""
    given = {name: value for name, value in options.items() if value is not None}
    sources = {"data": [vars(source) for source in data_shares(data, share)]} if data else {}
    if not data and "data" not in values:
        raise ToolError("give at least one --data, or data in the settings file")
    return parse_settings({**values, **given, **sources}, where)


def _begin(
    out: Path, settings: TrainSettings, start: tuple[Graph, Weights], teacher: tuple[Graph, Weights] | None
) -> None:
    from tools.train import run_training, start_run

    start_run(out, settings, start, teacher)
    run_training(out, settings, False, Console())


def _go_on(out: Path) -> None:
    from tools.train import resume_run, run_training

    run_training(out, resume_run(out), True, Console())
