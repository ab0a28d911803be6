"""What an evaluation is asked for, and what it found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_runtime.inference.bundle import Bundle
from edge_runtime.values import DefectClass
from tools.dataset import Dataset
from tools.evaluation.examine import Examined
from tools.evaluation.summary import Figures
from tools.predictors import PADDLE_LITE, Predictor
from tools.scoring import Scores


@dataclass(frozen=True)
class Request:
    """What to evaluate; `overlays` pictures are drawn at most."""

    bundle: Path
    data: Path
    out: Path
    workers: int = 1
    overlays: int = 20
    choose_thresholds: bool = False
    allow_absent: bool = False
    predictor: Predictor = PADDLE_LITE


@dataclass(frozen=True)
class Thresholds:
    """What was tried, what was chosen, and the scores of the chosen ones together."""

    tried: dict[int, list[tuple[int, Scores]]]
    chosen: tuple[DefectClass, ...]
    scores: dict[str, Scores]


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found; the same is on disk in `folder`."""

    folder: Path
    bundle: Bundle
    dataset: Dataset
    examined: tuple[Examined, ...]
    figures: Figures
    thresholds: Thresholds | None
    seconds: float
    predictor: Predictor = PADDLE_LITE
