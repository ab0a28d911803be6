"""A training run on disk: settings.json, start.npz, teacher.npz, checkpoint.npz, network.npz, log.csv, result.json."""

from __future__ import annotations

import fcntl
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, TypeAdapter, ValidationError

from edge_runtime.files import write_atomically
from edge_runtime.validation import describe
from tools.arrays_file import DAMAGED, read_arrays
from tools.checked import checked
from tools.crops import Augmentation
from tools.errors import ToolError

Vector = npt.NDArray[np.float32]

START_NAME, TEACHER_NAME = "start.npz", "teacher.npz"


@dataclass(frozen=True)
class DataShare:
    """A data set folder and the share of crops that come from it."""

    folder: str
    share: float


def data_shares(folders: Sequence[Path], shares: Sequence[float] | None) -> tuple[DataShare, ...]:
    """The folders with their shares, equal ones where none are given. Raises ToolError unless they pair up."""
    if shares and len(shares) != len(folders):
        raise ToolError(f"{len(folders)} data sets but {len(shares)} shares; give one --share per --data")
    parts = shares or [1.0 / len(folders) for _ in folders]
    return tuple(DataShare(str(folder), part) for folder, part in zip(folders, parts, strict=True))


@dataclass(frozen=True)
class Distillation:
    """How much of the loss comes from the teacher: of its outputs (the rest is the labels), and of its features."""

    outputs: float = 0.5
    features: float = 20.0
    temperature: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.outputs <= 1 or not self.features >= 0 or not self.temperature > 0:
            raise ToolError(f"distillation: outputs 0 to 1, features at least 0, temperature above 0, not {self}")


@dataclass(frozen=True)
class TrainSettings:
    """Everything that decides the result of a run, together with the pictures and the network it starts from.

    `engine` computes gradients: `paddle`, or `torch` where PyTorch is installed; `precision` auto takes bfloat16 where
    the processor multiplies it in hardware. `frozen`: patterns of node names whose weights and statistics stay.
    `class_weights`: background first; empty gives the background 1 and every defect `defect_weight`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    data: tuple[DataShare, ...]
    template: bool = False
    engine: Literal["paddle", "torch"] = "paddle"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    threads: int = 1
    replicas: int = 2
    loaders: int = 1
    steps: int = 3000
    batch: int = 16
    crop_px: int = 256
    seed: int = 1
    peak_rate: float = 3e-3
    warmup_steps: int = 150
    weight_decay: float = 1e-3
    defect_weight: float = 3.0
    class_weights: tuple[float, ...] = ()
    dice_weight: float = 1.0
    ema_decay: float = 0.998
    frozen: tuple[str, ...] = ()
    augmentation: Augmentation = field(default_factory=Augmentation)
    distillation: Distillation | None = None
    holdout_every: int = 16
    checkpoint_every: int = 100
    validate_every: int = 500

    def __post_init__(self) -> None:
        shares = [source.share for source in self.data]
        if not shares or not abs(sum(shares) - 1.0) < 1e-6 or min(shares) < 0:
            raise ToolError("give at least one --data; the shares must add up to 1 and none be negative")
        self._check_limits()
        if self.batch % self.replicas or self.batch < self.replicas:
            raise ToolError(f"batch {self.batch} must be a positive multiple of the {self.replicas} replicas")
        if self.crop_px < 32 or self.crop_px % 8:
            raise ToolError(f"crop {self.crop_px} px must be a multiple of 8 and at least 32")
        if self.holdout_every < 2:
            raise ToolError("holdout_every must be at least 2, or nothing is left to train on")

    def _check_limits(self) -> None:
        zero, one = ("loaders", "seed", "warmup_steps"), ("steps", "replicas", "threads")
        for names, low in ((zero, 0), ((*one, "checkpoint_every", "validate_every"), 1)):
            for name in names:
                if getattr(self, name) < low:
                    raise ToolError(f"{name} {getattr(self, name)}: must be at least {low}")
        if not 0 < self.peak_rate <= 1 or not 0 <= self.ema_decay < 1:
            raise ToolError(
                f"peak_rate {self.peak_rate} must lie in 0..1, ema_decay {self.ema_decay} in 0..1 without 1"
            )
        weights = (self.weight_decay, self.dice_weight, self.defect_weight, *self.class_weights)
        if not all(0 <= weight < float("inf") for weight in weights):
            raise ToolError("weight_decay, dice_weight, defect_weight and class_weights must not be negative")
        if self.class_weights and not max(self.class_weights) > 0:
            raise ToolError("class_weights: at least one must be above 0")

    def weights_of_classes(self, class_count: int) -> tuple[float, ...]:
        """The loss's weight of each class, background first. Raises ToolError when a wrong number is set."""
        if self.class_weights and len(self.class_weights) != class_count:
            raise ToolError(
                f"class_weights has {len(self.class_weights)} entries; background and classes need {class_count}"
            )
        return self.class_weights or (1.0, *[self.defect_weight] * (class_count - 1))


@dataclass(frozen=True)
class Checkpoint:
    """A run's state after `step` steps; every vector is flat, in the order of the graph's weights.

    `buffers` are the batch norm statistics; `ema_*` are the averaged weights and statistics, which get exported.
    """

    step: int
    weights: Vector
    first_moment: Vector
    second_moment: Vector
    buffers: Vector
    ema_weights: Vector
    ema_buffers: Vector


@contextmanager
def only_trainer(run: Path) -> Iterator[None]:
    """Hold the run's lock. Raises ToolError while another process trains it: they would overwrite each other."""
    with open(run / "lock", "wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise ToolError(f"{run}: another process is training this run; wait for it or stop it") from exc
        yield


_SETTINGS: TypeAdapter[TrainSettings] = TypeAdapter(TrainSettings)


def save_settings(run: Path, settings: TrainSettings) -> None:
    run.mkdir(parents=True, exist_ok=True)
    write_atomically(run / "settings.json", _SETTINGS.dump_json(settings, indent=1) + b"\n")


def load_settings(run: Path) -> TrainSettings:
    """The settings of a run. Raises ToolError when `run` is none."""
    path = run / "settings.json"
    try:
        return _SETTINGS.validate_json(path.read_bytes())
    except OSError as exc:
        raise ToolError(
            f"{path}: no training run's settings ({exc.strerror}); give the folder of `train --out`"
        ) from exc
    except ValidationError as exc:
        raise ToolError(
            f"{path}: no training run's settings: {describe(exc)}; give the folder of `train --out`"
        ) from exc


def parse_settings(values: dict[str, object], where: str) -> TrainSettings:
    """Settings from plain values, as a TOML table holds them. Raises ToolError that names the key."""
    return checked(TrainSettings, values, where)


def save_checkpoint(run: Path, checkpoint: Checkpoint) -> None:
    stream = io.BytesIO()
    np.savez(stream, **vars(checkpoint))
    write_atomically(run / "checkpoint.npz", stream.getvalue())


def load_checkpoint(run: Path) -> Checkpoint:
    """The last checkpoint of a run. Raises ToolError when there is none or it is damaged."""
    path = run / "checkpoint.npz"
    try:
        vectors = read_arrays(path)
        return Checkpoint(step=int(vectors.pop("step")), **vectors)
    except OSError as exc:
        raise ToolError(f"{path}: no checkpoint yet ({exc.strerror}); remove the folder and train anew") from exc
    except DAMAGED as exc:
        raise ToolError(f"{path}: no readable checkpoint ({exc}); remove the folder and train anew") from exc
