"""Training by Paddle, float32 on the CPU, mixed precision where a GPU exists."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from tools.engines import ClassIds, Teacher, is_frozen
from tools.graph import FloatArray, Graph, Weights
from tools.paddle_first import paddle
from tools.paddle_network import PaddleNetwork, evaluating
from tools.runs import Distillation, TrainSettings

functional = paddle.nn.functional


class PaddleEngine:
    """`Engine` by Paddle's eager mode."""

    def __init__(self, settings: TrainSettings, graph: Graph, teacher: Teacher | None) -> None:
        self._settings = settings
        self._network = PaddleNetwork(graph)
        self._network.train()
        for node in graph:
            if node.op == "bn" and is_frozen(node.name, settings.frozen):
                self._network.layer(node.name).eval()
        self._names = list(graph.trained_shapes())
        self._teacher = evaluating(teacher.graph, teacher.weights) if teacher else None
        self._nodes = teacher.nodes if teacher else ()
        self._class_weights = paddle.to_tensor(settings.weights_of_classes(graph.class_count))

    def gradient(self, images: FloatArray, classes: ClassIds) -> tuple[Weights, float]:
        x = paddle.to_tensor(images)
        mixed = paddle.is_compiled_with_cuda() and self._settings.precision != "float32"
        with warnings.catch_warnings(), paddle.amp.auto_cast(enable=mixed):
            warnings.filterwarnings("ignore", message="When training, we now always track")
            outputs = self._network.features(x, self._nodes)
        loss = self._loss(x, [value.astype("float32") for value in outputs], paddle.to_tensor(classes))
        loss.backward()
        gradients = {name: self._gradient_of(name) for name in self._names}
        self._network.clear_gradients()
        return gradients, float(loss)

    def _loss(self, x: Any, outputs: list[Any], classes: Any) -> Any:
        labelled = segmentation_loss(outputs[0], classes, self._class_weights, self._settings.dice_weight)
        if self._teacher is None or self._settings.distillation is None:
            return labelled
        with paddle.no_grad():
            taught = self._teacher.features(x, self._nodes)
        return distillation_loss(labelled, outputs, taught, self._settings.distillation)

    def _gradient_of(self, name: str) -> FloatArray:
        tensor = self._network.tensor(name)
        if tensor.grad is None:
            return np.zeros(tensor.shape, np.float32)
        return np.asarray(tensor.grad.numpy(), np.float32)

    def set_weights(self, weights: Mapping[str, FloatArray]) -> None:
        self._network.set_weights(weights)

    def weights(self) -> Weights:
        return self._network.weights()


def segmentation_loss(logits: Any, classes: Any, class_weights: Any, dice_weight: float) -> Any:
    """Weighted cross-entropy, plus the mean Dice loss of the defect classes over the whole batch."""
    class_count = logits.shape[1]
    probabilities = functional.softmax(logits, axis=1)
    wanted = paddle.transpose(functional.one_hot(classes, class_count), [0, 3, 1, 2])
    entropy = -(wanted * functional.log_softmax(logits, axis=1)).sum(axis=[0, 2, 3])
    cross = (entropy * class_weights).sum() / (wanted.sum(axis=[0, 2, 3]) * class_weights).sum()
    shared = (probabilities * wanted).sum(axis=[0, 2, 3])[1:]
    total = (probabilities + wanted).sum(axis=[0, 2, 3])[1:]
    return cross + dice_weight * (1.0 - (2.0 * shared + 1.0) / (total + 1.0)).mean()


def distillation_loss(labelled: Any, outputs: Any, taught: Any, distillation: Distillation) -> Any:
    """Labels, the teacher's softened outputs (Hinton et al. 2015, arXiv:1503.02531), and its attention maps
    (Zagoruyko and Komodakis 2016, arXiv:1612.03928), which need no equal number of channels."""
    t = distillation.temperature
    soft = functional.softmax(taught[0] / t, axis=1)
    log_ratio = functional.log_softmax(taught[0] / t, axis=1) - functional.log_softmax(outputs[0] / t, axis=1)
    divergence = (soft * log_ratio).sum(axis=1).mean() * t * t
    loss = (1.0 - distillation.outputs) * labelled + distillation.outputs * divergence
    for student, teacher in zip(outputs[1:], taught[1:], strict=True):
        loss = loss + distillation.features * ((_attention(student) - _attention(teacher)) ** 2).mean(axis=-1).sum()
    return loss


def _attention(features: Any) -> Any:
    """(N, cells): where the features are strong, at unit length."""
    return functional.normalize(paddle.flatten((features**2).mean(axis=1), 1), axis=1)
