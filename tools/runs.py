"""A training run on disk: settings.json, checkpoint.npz, log.csv and, at the end, result.json."""

from __future__ import annotations

import fcntl
import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_runtime.files import write_atomically
from tools.errors import ToolError
from tools.networks import NetworkShape

Vector = npt.NDArray[np.float32]


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
class TrainSettings:
    """Everything that decides the result of a run, together with the pictures and the replica count."""

    data: tuple[DataShare, ...]
    shape: NetworkShape = field(default_factory=NetworkShape)
    steps: int = 3000
    batch: int = 16
    crop_px: int = 256
    seed: int = 1
    replicas: int = 2
    peak_rate: float = 3e-3
    warmup_steps: int = 150
    weight_decay: float = 1e-3
    defect_weight: float = 3.0
    ema_decay: float = 0.998
    holdout_every: int = 16
    checkpoint_every: int = 100
    validate_every: int = 500

    def __post_init__(self) -> None:
        if not self.data or abs(sum(source.share for source in self.data) - 1.0) > 1e-6:
            raise ToolError("give at least one --data; the shares must add up to 1")
        if self.steps < 1 or self.replicas < 1 or self.batch % self.replicas or self.batch < self.replicas:
            raise ToolError(f"batch {self.batch} must be a positive multiple of the {self.replicas} replicas")
        if self.crop_px < 32 or self.crop_px % 8:
            raise ToolError(f"crop {self.crop_px} px must be a multiple of 8 and at least 32")
        if self.holdout_every < 2:
            raise ToolError("holdout_every must be at least 2, or nothing is left to train on")


@dataclass(frozen=True)
class Checkpoint:
    """A run's state after `step` steps; every vector is flat, in the order of the network's parameters.

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


def save_settings(run: Path, settings: TrainSettings) -> None:
    run.mkdir(parents=True, exist_ok=True)
    write_atomically(run / "settings.json", json.dumps(asdict(settings), indent=1).encode() + b"\n")


def load_settings(run: Path) -> TrainSettings:
    """The settings of a run. Raises ToolError when `run` is none."""
    path = run / "settings.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        raw["data"] = tuple(DataShare(**source) for source in raw["data"])
        raw["shape"]["widths"] = tuple(raw["shape"]["widths"])
        raw["shape"] = NetworkShape(**raw["shape"])
        return TrainSettings(**raw)
    except (OSError, ValueError, TypeError, KeyError) as exc:
        raise ToolError(f"{path}: no training run's settings ({exc}); give the folder that `train --out` made") from exc


def save_checkpoint(run: Path, checkpoint: Checkpoint) -> None:
    stream = io.BytesIO()
    np.savez(stream, **vars(checkpoint))
    write_atomically(run / "checkpoint.npz", stream.getvalue())


def load_checkpoint(run: Path) -> Checkpoint:
    """The last checkpoint of a run. Raises ToolError when there is none or it is damaged."""
    path = run / "checkpoint.npz"
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            vectors = {name: stored[name] for name in stored.files}
        return Checkpoint(step=int(vectors.pop("step")), **vectors)
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as exc:
        raise ToolError(f"{path}: no readable checkpoint ({exc}); train the run first") from exc
