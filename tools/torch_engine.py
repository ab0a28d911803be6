"""Training by PyTorch: bfloat16 on processors that multiply it in hardware, mixed precision on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from tools.engines import ClassIds, Teacher, is_frozen
from tools.graph import FloatArray, Graph, Weights
from tools.runs import Distillation, TrainSettings
from tools.torch_network import TorchNetwork

BFLOAT16_FLAGS = ("amx_bf16", "avx512_bf16")


class TorchEngine:
    """`Engine` by PyTorch's eager mode, channels last."""

    def __init__(self, settings: TrainSettings, graph: Graph, teacher: Teacher | None) -> None:
        torch.set_num_threads(settings.threads)
        torch.manual_seed(settings.seed)
        self._settings = settings
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._low_precision = uses_bfloat16(settings.precision, self._device)
        self._network = self._place(TorchNetwork(graph)).train()
        for node in graph:
            if node.op == "bn" and is_frozen(node.name, settings.frozen):
                self._network.layer(node.name).eval()
        self._names = list(graph.trained_shapes())
        self._nodes = teacher.nodes if teacher else ()
        self._teacher = None
        if teacher:
            self._teacher = self._place(TorchNetwork(teacher.graph)).eval()
            self._teacher.set_weights(teacher.weights)
        self._class_weights = torch.tensor(settings.weights_of_classes(graph.class_count), device=self._device)

    def _place(self, network: TorchNetwork) -> Any:
        return network.to(self._device, memory_format=torch.channels_last)

    def gradient(self, images: FloatArray, classes: ClassIds) -> tuple[Weights, float]:
        x = torch.from_numpy(images).to(self._device, memory_format=torch.channels_last)
        outputs = self._features(self._network, x)
        loss = self._loss(x, outputs, torch.from_numpy(classes).to(self._device))
        self._network.zero_grad(set_to_none=True)
        loss.backward()
        return {name: self._gradient_of(name) for name in self._names}, loss.item()

    def _features(self, network: Any, x: Any) -> list[Any]:
        with torch.autocast(self._device, torch.bfloat16, enabled=self._low_precision):
            return [value.float() for value in network.features(x, self._nodes)]

    def _loss(self, x: Any, outputs: list[Any], classes: Any) -> Any:
        labelled = segmentation_loss(outputs[0], classes, self._class_weights, self._settings.dice_weight)
        if self._teacher is None or self._settings.distillation is None:
            return labelled
        with torch.no_grad():
            taught = self._features(self._teacher, x)
        return distillation_loss(labelled, outputs, taught, self._settings.distillation)

    def _gradient_of(self, name: str) -> FloatArray:
        tensor = self._network.tensor(name)
        gradient = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
        return np.asarray(gradient.float().cpu().contiguous().numpy(), np.float32)

    def set_weights(self, weights: Mapping[str, FloatArray]) -> None:
        self._network.set_weights(weights)

    def weights(self) -> Weights:
        return self._network.weights()  # type: ignore[no-any-return]


def uses_bfloat16(precision: str, device: str) -> bool:
    """Whether to multiply in bfloat16: as asked for, and by itself on a GPU or where the processor has units for it."""
    if precision != "auto":
        return precision == "bfloat16"
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8") if device == "cpu" else BFLOAT16_FLAGS[0]
    return any(flag in flags for flag in BFLOAT16_FLAGS)


def torch_predictor(graph: Graph, weights: Weights) -> Callable[[FloatArray], FloatArray]:
    """Logits in float32 by PyTorch, for validation during training."""
    network: Any = TorchNetwork(graph).eval()
    network.set_weights(weights)
    network.to(memory_format=torch.channels_last)

    def predict(images: FloatArray) -> FloatArray:
        with torch.no_grad():
            x = torch.from_numpy(images).to(memory_format=torch.channels_last)
            return np.asarray(network(x).contiguous().numpy(), np.float32)

    return predict


def segmentation_loss(logits: Any, classes: Any, class_weights: Any, dice_weight: float) -> Any:
    """Weighted cross-entropy, plus the mean Dice loss of the defect classes over the whole batch."""
    cross = functional.cross_entropy(logits, classes, class_weights)
    probabilities = torch.softmax(logits, 1)
    wanted = functional.one_hot(classes, logits.shape[1]).permute(0, 3, 1, 2).float()
    shared = (probabilities * wanted).sum((0, 2, 3))[1:]
    total = (probabilities + wanted).sum((0, 2, 3))[1:]
    return cross + dice_weight * (1.0 - (2.0 * shared + 1.0) / (total + 1.0)).mean()


def distillation_loss(labelled: Any, outputs: Any, taught: Any, distillation: Distillation) -> Any:
    """Labels, the teacher's softened outputs (Hinton et al. 2015, arXiv:1503.02531), and its attention maps
    (Zagoruyko and Komodakis 2016, arXiv:1612.03928), which need no equal number of channels."""
    t = distillation.temperature
    soft, own = torch.log_softmax(taught[0] / t, 1), torch.log_softmax(outputs[0] / t, 1)
    divergence = (soft.exp() * (soft - own)).sum(1).mean() * t * t
    loss = (1.0 - distillation.outputs) * labelled + distillation.outputs * divergence
    for student, teacher in zip(outputs[1:], taught[1:], strict=True):
        loss = loss + distillation.features * ((_attention(student) - _attention(teacher)) ** 2).mean(-1).sum()
    return loss


def _attention(features: Any) -> Any:
    """(N, cells): where the features are strong, at unit length."""
    return functional.normalize((features**2).mean(1).flatten(1), dim=1)
