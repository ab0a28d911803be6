"""The optimiser: AdamW, learning rate and moving averages on flat vectors, whatever computes the gradients.

Source: Loshchilov and Hutter 2017, arXiv:1711.05101 (AdamW) and arXiv:1608.03983 (cosine).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from math import prod

import numpy as np

from tools.engines import ClassIds, Engine, is_frozen
from tools.graph import FloatArray, Graph, Weights
from tools.runs import Checkpoint, TrainSettings, Vector

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
GRADIENT_NORM_MAX = 5.0


def learning_rate(settings: TrainSettings, step: int) -> float:
    """Linear warm-up to `peak_rate`, then half a cosine down to a hundredth of it."""
    if step < settings.warmup_steps:
        return settings.peak_rate * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return settings.peak_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def flatten(weights: Mapping[str, FloatArray], shapes: Mapping[str, tuple[int, ...]]) -> Vector:
    """The arrays named in `shapes`, one after another in its order."""
    if not shapes:
        return np.zeros(0, np.float32)
    return np.concatenate([weights[name].ravel() for name in shapes])


def unflatten(vector: Vector, shapes: Mapping[str, tuple[int, ...]]) -> Weights:
    """The inverse of `flatten`. Raises ValueError unless the sizes match exactly."""
    sizes = [prod(shape) for shape in shapes.values()]
    if sum(sizes) != vector.size:
        raise ValueError(f"{vector.size} values for tensors of {sum(sizes)}")
    parts = np.split(vector, np.cumsum(sizes)[:-1]) if sizes else []
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


class Learner:
    """A network in training; every replica holds an identical one, batch norm statistics excepted."""

    def __init__(self, settings: TrainSettings, graph: Graph, start: Weights, engine: Engine) -> None:
        self._settings, self._engine = settings, engine
        self._trained, self._statistics = graph.trained_shapes(), graph.statistic_shapes()
        engine.set_weights(start)
        moving = {n: not is_frozen(n.rpartition(".")[0], settings.frozen) for n in self._trained}
        ones = {n: np.full(shape, moving[n], np.float32) for n, shape in self._trained.items()}
        self._moving = flatten(ones, self._trained)
        decayed = {n: values * np.float32(values.ndim > 1) for n, values in ones.items()}
        self._decayed = flatten(decayed, self._trained)
        self._step = 0
        self._weights = flatten(start, self._trained)
        self._first = np.zeros_like(self._weights)
        self._second = np.zeros_like(self._weights)
        self._ema_weights = self._weights.copy()
        self._ema_buffers = flatten(start, self._statistics)

    @property
    def step(self) -> int:
        return self._step

    def gradient(self, images: FloatArray, classes: ClassIds) -> tuple[Vector, float]:
        """Gradient and loss of one batch at the present weights."""
        gradients, loss = self._engine.gradient(images, classes)
        return flatten(gradients, self._trained) * self._moving, loss

    def update(self, gradient: Vector) -> None:
        """One AdamW step with clipped gradient, and the moving averages."""
        settings, rate = self._settings, learning_rate(self._settings, self._step)
        self._step += 1
        gradient = gradient * np.float32(min(1.0, GRADIENT_NORM_MAX / (float(np.linalg.norm(gradient)) + EPSILON)))
        self._first = np.float32(BETA1) * self._first + np.float32(1 - BETA1) * gradient
        self._second = np.float32(BETA2) * self._second + np.float32(1 - BETA2) * gradient * gradient
        first = self._first / np.float32(1 - BETA1**self._step)
        second = self._second / np.float32(1 - BETA2**self._step)
        decay = np.float32(settings.weight_decay) * self._decayed * self._weights
        self._weights = self._weights - np.float32(rate) * (first / (np.sqrt(second) + np.float32(EPSILON)) + decay)
        self._engine.set_weights(unflatten(self._weights, self._trained))
        # Written as a step towards the new value: what is frozen then keeps its bits.
        new = np.float32(1 - min(settings.ema_decay, (1 + self._step) / (10 + self._step)))
        self._ema_weights = self._ema_weights + new * (self._weights - self._ema_weights)
        self._ema_buffers = self._ema_buffers + new * (self._buffers() - self._ema_buffers)

    def _buffers(self) -> Vector:
        return flatten(self._engine.weights(), self._statistics)

    def averaged(self) -> Weights:
        """The weights to validate and export."""
        return {**unflatten(self._ema_weights, self._trained), **unflatten(self._ema_buffers, self._statistics)}

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(
            step=self._step,
            weights=self._weights,
            first_moment=self._first,
            second_moment=self._second,
            buffers=self._buffers(),
            ema_weights=self._ema_weights,
            ema_buffers=self._ema_buffers,
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        self._step = checkpoint.step
        self._weights = checkpoint.weights
        self._first, self._second = checkpoint.first_moment, checkpoint.second_moment
        self._ema_weights, self._ema_buffers = checkpoint.ema_weights, checkpoint.ema_buffers
        self._engine.set_weights(unflatten(self._weights, self._trained))
        self._engine.set_weights(unflatten(checkpoint.buffers, self._statistics))
