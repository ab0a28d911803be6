"""One replica's network, loss and optimiser.

The optimiser works on flat vectors, because the replicas exchange gradients as one flat vector and a checkpoint is a
handful of them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tools.networks import HalfUnet
from tools.paddle_first import paddle
from tools.runs import Checkpoint, TrainSettings, Vector

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
GRADIENT_NORM_MAX = 5.0


def learning_rate(settings: TrainSettings, step: int) -> float:
    """Linear warm-up to `peak_rate`, then half a cosine down to a hundredth of it."""
    if step < settings.warmup_steps:
        return settings.peak_rate * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return settings.peak_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def segmentation_loss(logits: Any, classes: Any, defect_weight: float) -> Any:
    """Cross-entropy with defects weighted up, plus the mean Dice loss of the defect classes over the whole batch."""
    class_count = logits.shape[1]
    weights = paddle.to_tensor([1.0] + [defect_weight] * (class_count - 1))
    probabilities = paddle.nn.functional.softmax(logits, axis=1)
    wanted = paddle.transpose(paddle.nn.functional.one_hot(classes, class_count), [0, 3, 1, 2])
    entropy = -(wanted * paddle.log(probabilities + 1e-7)).sum(axis=[0, 2, 3])
    cross = (entropy * weights).sum() / (wanted.sum(axis=[0, 2, 3]) * weights).sum()
    shared = (probabilities * wanted).sum(axis=[0, 2, 3])[1:]
    total = (probabilities + wanted).sum(axis=[0, 2, 3])[1:]
    return cross + (1.0 - (2.0 * shared + 1.0) / (total + 1.0)).mean()


def flatten(tensors: Sequence[Any]) -> Vector:
    return np.concatenate([tensor.numpy().ravel() for tensor in tensors])


def assign(tensors: Sequence[Any], values: Vector) -> None:
    """Write `values` into `tensors` one after another; the sizes must match exactly."""
    sizes = [int(np.prod(tensor.shape)) for tensor in tensors]
    if sum(sizes) != values.size:
        raise ValueError(f"{values.size} values for tensors of {sum(sizes)}")
    for tensor, part in zip(tensors, np.split(values, np.cumsum(sizes)[:-1]), strict=True):
        tensor.set_value(part.reshape(tensor.shape))


def trainable(network: Any) -> list[Any]:
    return [p for p in network.parameters() if not p.stop_gradient]


def statistics(network: Any) -> list[Any]:
    """Batch norm's running means and variances."""
    return [value for name, value in network.state_dict().items() if name.endswith(("._mean", "._variance"))]


class Learner:
    """A network in training; every replica holds an identical one, batch norm statistics excepted."""

    def __init__(self, settings: TrainSettings) -> None:
        paddle.seed(settings.seed)
        self._settings = settings
        self._network = HalfUnet(settings.shape)
        self._parameters = trainable(self._network)
        self._decayed = np.concatenate([np.full(p.numpy().size, p.ndim > 1, np.float32) for p in self._parameters])
        self._step = 0
        self._weights = flatten(self._parameters)
        self._first = np.zeros_like(self._weights)
        self._second = np.zeros_like(self._weights)
        self._ema_weights = self._weights.copy()
        self._ema_buffers = flatten(statistics(self._network))

    @property
    def step(self) -> int:
        return self._step

    def gradient(self, images: npt.NDArray[np.float32], classes: npt.NDArray[np.int64]) -> tuple[Vector, float]:
        """Gradient and loss of one batch at the present weights."""
        self._network.train()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="When training, we now always track")
            logits = self._network(paddle.to_tensor(images))
        loss = segmentation_loss(logits, paddle.to_tensor(classes), self._settings.defect_weight)
        loss.backward()
        vector = flatten([p.grad for p in self._parameters])
        self._network.clear_gradients()
        return vector, float(loss)

    def update(self, gradient: Vector) -> None:
        """One AdamW step with clipped gradient, and the moving averages."""
        settings, rate = self._settings, learning_rate(self._settings, self._step)
        self._step += 1
        gradient = gradient * min(1.0, GRADIENT_NORM_MAX / (float(np.linalg.norm(gradient)) + EPSILON))
        self._first = BETA1 * self._first + (1 - BETA1) * gradient
        self._second = BETA2 * self._second + (1 - BETA2) * gradient * gradient
        first = self._first / (1 - BETA1**self._step)
        second = self._second / (1 - BETA2**self._step)
        decay = settings.weight_decay * self._decayed * self._weights
        self._weights = (self._weights - rate * (first / (np.sqrt(second) + EPSILON) + decay)).astype(np.float32)
        assign(self._parameters, self._weights)
        keep = np.float32(min(settings.ema_decay, (1 + self._step) / (10 + self._step)))
        self._ema_weights = keep * self._ema_weights + (1 - keep) * self._weights
        self._ema_buffers = keep * self._ema_buffers + (1 - keep) * flatten(statistics(self._network))

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(
            step=self._step,
            weights=self._weights,
            first_moment=self._first,
            second_moment=self._second,
            buffers=flatten(statistics(self._network)),
            ema_weights=self._ema_weights,
            ema_buffers=self._ema_buffers,
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        self._step = checkpoint.step
        self._weights = checkpoint.weights
        self._first, self._second = checkpoint.first_moment, checkpoint.second_moment
        self._ema_weights, self._ema_buffers = checkpoint.ema_weights, checkpoint.ema_buffers
        assign(self._parameters, self._weights)
        assign(statistics(self._network), checkpoint.buffers)


def averaged_network(settings: TrainSettings, checkpoint: Checkpoint) -> Any:
    """The network to validate and export: averaged weights, in evaluation mode."""
    network = HalfUnet(settings.shape)
    assign(trainable(network), checkpoint.ema_weights)
    assign(statistics(network), checkpoint.ema_buffers)
    network.eval()
    return network
