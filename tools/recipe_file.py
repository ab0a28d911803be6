"""A recipe's file: one TOML that says how a bundle is made, every table and key checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli
from pydantic import Field, ValidationError, model_validator
from typing_extensions import Self

from edge_runtime.inference.manifest import Version
from edge_runtime.inference.targets import Target
from edge_runtime.validation import StrictModel, describe
from tools.errors import ToolError

Table = dict[str, Any]
Share = Annotated[float, Field(gt=0, le=1)]
# How a training runs, which `qat` chooses for itself: it is short, slow and Paddle's.
PACE = {"engine", "precision", "threads", "replicas", "steps", "warmup_steps", "peak_rate"}


class Synthesize(StrictModel):
    """Boards to paint before training; the options of `python -m tools synthesize`."""

    out: Path
    count: Annotated[int, Field(ge=2)] = 200
    side: int = 640
    seed: int = 1
    defects: float = 8.0
    binary: bool = False


class Data(StrictModel):
    """A data set folder and its share of the crops."""

    folder: Path
    share: Share = 1.0


class Validation(StrictModel):
    """A data set that is only measured, under the name that the bundle states."""

    label: Annotated[str, Field(min_length=1, max_length=100)]
    folder: Path


class Prune(StrictModel):
    """One pruning step and the fine-tuning after it. Exactly one target; a share is of the network before this step."""

    method: Literal["l1", "fpgm", "bn"] = "l1"
    macs: Annotated[float, Field(gt=0)] | None = None
    parameters: Annotated[float, Field(gt=0)] | None = None
    ratio: Annotated[float, Field(gt=0, lt=1)] | None = None
    milliseconds: Annotated[float, Field(gt=0)] | None = None
    align: Annotated[int, Field(ge=1)] = 8
    spare: tuple[str, ...] = ()
    train: Table = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if len(self.target()) != 1:
            raise ValueError("give exactly one of macs, parameters, ratio and milliseconds")
        return self

    def target(self) -> dict[str, float]:
        values = {name: getattr(self, name) for name in ("macs", "parameters", "ratio", "milliseconds")}
        return {name: value for name, value in values.items() if value is not None}


class Quantize(StrictModel):
    """INT8 after training: calibration algorithm, number of tiles, and the share of scores that may move.

    Or in training, where `train` holds the settings of `qat`; it inherits like the other training tables, save `PACE`.
    """

    algorithm: Literal["avg", "hist", "KL"] = "avg"
    tiles: Annotated[int, Field(ge=8, le=1000)] = 32
    tolerance: Annotated[float, Field(ge=0, le=1)] = 0.005
    train: Table | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.train is None:
            return self
        if self.model_fields_set != {"train"}:
            raise ValueError("algorithm, tiles and tolerance are for INT8 after training; leave them out, or train")
        if self.train.get("engine", "paddle") != "paddle":
            raise ValueError("train.engine: quantisation-aware training is Paddle's alone; leave engine out")
        return self


class Pack(StrictModel):
    """What goes into the bundle beside the network."""

    targets: tuple[Target, ...] = ("x86", "arm", "arm+fp16", "onnx")
    allow: tuple[Literal["bf16", "f16"], ...] = ()
    motif: Literal["boards", "scans", "cells"] = "boards"
    thresholds_by: Literal["boxes", "cells"] = "boxes"
    prior_shift: float = 4.0

    @model_validator(mode="after")
    def _x86_is_measured(self) -> Self:
        if "x86" not in self.targets:
            raise ValueError("targets must name x86: thresholds, figures and golden tiles are computed on it")
        if self.allow and "onnx" not in self.targets:
            raise ValueError("allow is for the target onnx; add it to targets")
        return self


class Recipe(StrictModel):
    """The whole file. `train` holds any training setting, which the other training tables inherit and change."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    version: Version = "1"
    out: Path = Path("opt_models")
    work: Path
    terms: Path
    synthesize: tuple[Synthesize, ...] = ()
    data: Annotated[tuple[Data, ...], Field(min_length=1)]
    validation: Annotated[tuple[Validation, ...], Field(min_length=1)]
    network: Table
    train: Table = Field(default_factory=dict)
    prune: tuple[Prune, ...] = ()
    distill: Table | None = None
    quantize: Quantize | None = None
    pack: Pack = Pack()

    @model_validator(mode="after")
    def _int8_is_calibrated(self) -> Self:
        if "onnx+int8" in self.pack.targets and (self.quantize is None or self.quantize.train is not None):
            raise ValueError("pack.targets: onnx+int8 needs the tiles of [quantize], without train")
        return self


def read_recipe(path: Path) -> Recipe:
    """Raises ToolError that names the file, the key, what is wrong and what is allowed."""
    try:
        return Recipe.model_validate_json(json.dumps(tomli.loads(path.read_text(encoding="utf-8"))))
    except OSError as exc:
        raise ToolError(f"{path}: {exc.strerror}; give a recipe, as in opt_models/recipes") from exc
    except ValidationError as exc:
        raise ToolError(f"{path}: {describe(exc)}") from exc
    except (ValueError, TypeError) as exc:
        raise ToolError(f"{path}: not TOML ({exc})") from exc
