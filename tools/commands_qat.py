"""`qat`: from a float network and pictures to an INT8 program."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tools.commands_train import DataFolders, SettingsFile, Shares, Steps, read_settings_file, training_settings
from tools.forms import PRIOR_SHIFT
from tools.runs import Distillation, TrainSettings

DEFAULTS = {"steps": 200, "warmup_steps": 20, "peak_rate": TrainSettings.peak_rate / 10}


def qat(
    network: Annotated[Path, typer.Argument(help="network.npz, or the folder of a run.")],
    out: Annotated[Path, typer.Option(help="New folder for the INT8 model.pdmodel and model.pdiparams.")],
    data: DataFolders = None,
    share: Shares = None,
    settings: SettingsFile = None,
    steps: Steps = None,
    teacher: Annotated[Path | None, typer.Option(help="Network to learn from; default: the float network.")] = None,
    float_layer: Annotated[
        list[str] | None, typer.Option(help="Convolution that stays float, by name or pattern; repeat.")
    ] = None,
    prior_shift: Annotated[
        float, typer.Option(help="How much likelier the background is made, on its logit.")
    ] = PRIOR_SHIFT,
) -> None:
    """Fine-tune a network in simulated INT8 with Paddle, in one process, and write it as an INT8 program.

    Default: 200 steps at a tenth of training's rate.
    """
    from tools.network_file import load_network
    from tools.qat_training import QatRequest, run_qat

    values, _ = read_settings_file(settings)
    start = load_network(network)
    fitting = {**DEFAULTS, "template": start[0].input_channels == 2}
    where = str(settings) if settings else "training settings"
    # The batch is not divided: one process is enough for so few steps.
    chosen = training_settings({**fitting, **values, "replicas": 1}, data, share, {"steps": steps}, where)
    chosen = replace(chosen, distillation=chosen.distillation or Distillation())
    taught_by = load_network(teacher) if teacher else None
    request = QatRequest(start, chosen, taught_by, tuple(float_layer or ()), prior_shift)
    Console().print(str(run_qat(request, out, Console())), highlight=False)
