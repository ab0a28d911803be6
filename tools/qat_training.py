"""`qat`: a network fine-tuned in simulated INT8 and written as the program that INT8 targets are converted from."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from edge_runtime.files import sync_folder
from tools.batches import batches
from tools.dataset import load_dataset
from tools.engines import Teacher, as_teacher, is_frozen
from tools.errors import ToolError
from tools.export import MODEL_NAME, Exported
from tools.graph import Graph, Weights
from tools.learner import Learner
from tools.paddle_engine import PaddleEngine
from tools.paddle_first import paddle
from tools.paddle_network import PaddleNetwork, evaluating, predict_logits, sublayer_name
from tools.qat import export_qat, wrap_for_qat
from tools.runs import TrainSettings
from tools.tile_form import TILE_PX, check_tile, with_prior
from tools.train import NetworkAndWeights, check_start, training_progress
from tools.validation import mean_iou


@dataclass(frozen=True)
class QatRequest:
    """What to fine-tune and how; without a teacher the float network itself is the teacher.

    `float_layers`: names or patterns of convolutions that stay float. `prior_shift`: as for `export`.
    """

    network: NetworkAndWeights
    settings: TrainSettings
    teacher: NetworkAndWeights | None = None
    float_layers: tuple[str, ...] = ()
    prior_shift: float = 0.0


class QatEngine(PaddleEngine):
    """`Engine` whose convolutions compute in simulated INT8; its weights keep the graph's names."""

    def __init__(
        self, settings: TrainSettings, graph: Graph, teacher: Teacher | None, float_nodes: Sequence[str]
    ) -> None:
        super().__init__(settings, graph, teacher)
        frozen = [self._network.layer(n.name) for n in graph if n.op == "bn" and is_frozen(n.name, settings.frozen)]
        wrap_for_qat(self._network, [sublayer_name(name) for name in float_nodes])
        for layer in frozen:
            layer.eval()

    def finished(self, weights: Weights) -> PaddleNetwork:
        """The wrapped network in evaluation mode, with `weights`."""
        self._network.set_weights(weights)
        self._network.eval()
        return self._network


def run_qat(request: QatRequest, out: Path, console: Console) -> Path:
    """Fine-tune and write `out`/model.pdmodel and .pdiparams, for 512 px tiles; returns the .pdmodel.

    Raises ToolError before anything is computed when `out` is in use or the parts of `request` do not fit each other,
    and when the loss is lost or the user stops it. `out` is whole or not there.
    """
    check_request(request, out)
    try:
        network = fine_tune(request, console)
        _say_accuracy(request, network, console)
        return write_program(network, request.prior_shift, out)
    except KeyboardInterrupt as exc:
        raise ToolError(f"{out}: stopped; nothing was written") from exc


def check_request(request: QatRequest, out: Path) -> None:
    """Raise DatasetError or ToolError for all that can be known to be wrong before training."""
    graph, weights = request.network
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ToolError(f"{out}: exists and is no empty folder; choose another --out")
    if request.settings.engine != "paddle":
        raise ToolError(
            f"engine {request.settings.engine!r}: quantisation-aware training is Paddle's alone; "
            "set engine to 'paddle' or leave it out"
        )
    check_tile(graph, TILE_PX)
    with_prior(graph, weights, request.prior_shift)
    float_nodes(graph, request.float_layers)
    check_start(request.settings, graph, request.teacher[0] if request.teacher else None)


def float_nodes(graph: Graph, patterns: Sequence[str]) -> list[str]:
    """The convolutions that match one of `patterns`. Raises ToolError when a pattern matches none, or all match."""
    names = [node.name for node in graph if node.op == "conv"]
    for pattern in patterns:
        if not any(is_frozen(name, (pattern,)) for name in names):
            raise ToolError(f"--float-layer {pattern}: no convolution is called so; they are {', '.join(names)}")
    found = [name for name in names if is_frozen(name, tuple(patterns))]
    if len(found) == len(names):
        raise ToolError(f"--float-layer {' '.join(patterns)}: no convolution is left for INT8; name fewer")
    return found


def fine_tune(request: QatRequest, console: Console) -> PaddleNetwork:
    """The wrapped network after the last step, in evaluation mode, with its averaged weights."""
    (graph, weights), settings = request.network, request.settings
    teacher = as_teacher(graph, *(request.teacher or request.network))
    engine = QatEngine(settings, graph, teacher, float_nodes(graph, request.float_layers))
    learner = Learner(settings, graph, weights, engine)
    with batches(settings, graph.output_stride_px, 0, 0) as prepared, training_progress(console) as progress:
        task = progress.add_task("INT8 training", total=settings.steps, loss=float("nan"))
        for images, classes in prepared:
            gradient, loss = learner.gradient(images, classes)
            if not math.isfinite(loss):
                raise ToolError(f"the loss is {loss} at step {learner.step + 1}; train with a lower peak_rate")
            learner.update(gradient)
            progress.update(task, completed=learner.step, loss=loss)
    return engine.finished(learner.averaged())


def write_program(network: PaddleNetwork, prior_shift: float, out: Path) -> Path:
    """The wrapped network in the form that leaves the tools, the background made likelier; `out` appears whole."""
    graph = network.graph
    network.set_weights(with_prior(graph, network.weights(), prior_shift))
    tile = paddle.static.InputSpec([1, graph.input_channels, TILE_PX, TILE_PX], "float32", "tile")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        made = export_qat(Exported(network, "float32", "class_and_score"), Path(scratch) / "new" / MODEL_NAME, tile)
        os.rename(made.parent, out)
    sync_folder(out.parent)
    return out / made.name


def _say_accuracy(request: QatRequest, network: PaddleNetwork, console: Console) -> None:
    graph, settings = network.graph, request.settings
    held = [load_dataset(Path(source.folder)).split(settings.holdout_every)[1] for source in settings.data]
    networks = (evaluating(*request.network), network)
    before, after = (mean_iou(partial(predict_logits, each), graph, held) for each in networks)
    console.print(f"mean IoU on the held-out pictures: float {before:.3f}, INT8 {after:.3f}")
