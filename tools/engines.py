"""What training asks of a tensor library, and the choice between Paddle and PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tools.errors import ToolError
from tools.graph import FloatArray, Graph, Weights
from tools.runs import TrainSettings

ClassIds = npt.NDArray[np.int64]
EXTRAS = {"paddle": "tools", "torch": "torch"}


@dataclass(frozen=True)
class Teacher:
    """The network to learn from and the nodes whose outputs are compared, present in both networks."""

    graph: Graph
    weights: Weights
    nodes: tuple[str, ...]


class Engine(Protocol):
    """One network in training mode; a process owns it."""

    def gradient(self, images: FloatArray, classes: ClassIds) -> tuple[Weights, float]:
        """Gradient by weight name, and the loss, of one batch at the present weights; statistics move along."""

    def set_weights(self, weights: Mapping[str, FloatArray]) -> None: ...

    def weights(self) -> Weights:
        """Every weight and statistic."""


def open_engine(settings: TrainSettings, graph: Graph, teacher: Teacher | None) -> Engine:
    """Raises ToolError when the engine's library is not installed."""
    check_engine(settings.engine)
    if settings.engine == "torch":
        from tools.torch_engine import TorchEngine

        return TorchEngine(settings, graph, teacher)
    from tools.paddle_engine import PaddleEngine

    return PaddleEngine(settings, graph, teacher)


def check_engine(name: str) -> None:
    """Raise ToolError unless there is such an engine and its library is installed; does not load it."""
    if name not in EXTRAS:
        raise ToolError(f"engine {name!r}: there are {' and '.join(EXTRAS)}")
    if find_spec(name) is None:
        raise ToolError(f"engine {name!r} is not installed; pip install '.[{EXTRAS[name]}]'")


def predictor(engine_name: str, graph: Graph, weights: Weights) -> Any:
    """A function from images float32 (N, C, H, W) to logits, by the library that trains."""
    if engine_name == "torch":
        from tools.torch_engine import torch_predictor

        return torch_predictor(graph, weights)
    from tools.paddle_network import evaluating, predict_logits

    network = evaluating(graph, weights)
    return lambda images: predict_logits(network, images)


def is_frozen(node_name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(node_name, pattern) for pattern in patterns)


def feature_nodes(graph: Graph) -> tuple[str, ...]:
    """Nodes worth comparing with a teacher's: the last relu of each run of equal resolution, where it is coarser than
    the answer (there the answers themselves are compared)."""
    sides = graph.cell_px()
    relus = [node.name for node in graph if node.op == "relu" and np.isfinite(sides[node.name])]
    ends = [
        name for name, after in zip(relus, [*relus[1:], None], strict=True) if sides.get(after or "") != sides[name]
    ]
    return tuple(name for name in ends if sides[name] > graph.output_stride_px)


def as_teacher(student: Graph, graph: Graph, weights: Weights) -> Teacher:
    """The network as a teacher, compared with `student` at the nodes both have."""
    return Teacher(graph, weights, tuple(name for name in feature_nodes(graph) if name in student.channels()))
