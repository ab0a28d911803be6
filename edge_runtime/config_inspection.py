"""Settings of the model and of the processes that run it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from edge_runtime.errors import ConfigError
from edge_runtime.inference.targets import FORMS, READS, Target, form_of
from edge_runtime.processors import format_cpu_list, parse_cpu_list
from edge_runtime.validation import StrictModel, describe

CpuList = Annotated[str, AfterValidator(lambda text: format_cpu_list(parse_cpu_list(text)))]


class InspectionSettings(StrictModel):
    """The model and the processes that run it."""

    bundle: Path = Field(description="Folder of the model bundle")
    target: Target | None = Field(
        default=None,
        description="Which of its networks; unset: x86 or arm, as the machine, or onnx",
    )
    backend: Literal["paddle_lite", "onnxruntime", "openvino", "rknn", "auto", "scripted"] = Field(
        default="paddle_lite",
        description="What runs the network. auto: the fastest here, measured once. scripted: for tests, it answers by "
        "marks in the picture",
    )
    auto_coarse: bool = Field(
        default=False, description="auto only: INT8 and bf16 are tried, too, where the bundle allows them"
    )
    tile_px: int | None = Field(
        default=None,
        ge=8,
        le=4096,
        description="Side of the tiles; unset: the one that computes least for the camera's picture and the recipe's "
        "region, of those that the bundle offers; a tune tells whether another one is faster",
    )
    tile_px_max: int | None = Field(
        default=None,
        ge=8,
        le=4096,
        description="No larger side is chosen, which bounds the workers' memory; unset: any that is offered",
    )
    workers: int = Field(default=2, ge=1, le=64, description="Processes that share a picture's tiles")
    threads: int = Field(default=1, ge=1, le=64, description="Threads of each predictor; paddle_lite on x86 has 1")
    cpu_affinity: tuple[CpuList, ...] = Field(
        default=(),
        max_length=64,
        description='Processors of each worker, as "4-5"; one entry: of all workers; unset: as the kernel likes',
    )
    hang_timeout_ms: float = Field(default=3000, ge=100, le=60_000, description="A worker silent for longer is killed")
    start_timeout_ms: float = Field(
        default=30_000,
        ge=500,
        le=600_000,
        description="From start to ready, for any child; auto may measure for 0.6 of it besides",
    )
    gate: Literal["auto", "off"] = Field(
        default="auto", description="auto: where the model's bundle has a gate, tiles that it calls clean are skipped"
    )
    gate_audit_every: int = Field(
        default=50,
        ge=1,
        le=1000,
        description="One in so many skipped tiles is computed all the same, to watch the gate",
    )
    onnxruntime_providers: tuple[Literal["cpu", "cuda", "tensorrt"], ...] = Field(
        default=("cpu",),
        min_length=1,
        max_length=3,
        description="onnxruntime only: what computes, in order of preference; the processor does the rest",
    )
    onnxruntime_cache: Path | None = Field(
        default=None,
        description="Folder for what tensorrt builds for this GPU; without it that takes minutes each start",
    )
    onnxruntime_spinning: bool = Field(
        default=False, description="onnxruntime only: threads wait at full speed, for cores that nobody else needs"
    )
    openvino_precision: Literal["f32", "bf16", "f16"] = Field(
        default="f32", description="openvino only: what it computes in"
    )
    rknn_cores: tuple[Annotated[int, Field(strict=True, ge=0, le=2)], ...] = Field(
        default=(0, 1, 2),
        min_length=1,
        max_length=64,
        description="rknn only: the NPU core of each worker in turn, from the first again when there are more workers",
    )
    scripted_predict_ms: float = Field(default=0, ge=0, le=10_000, description="scripted only: time a tile takes")
    scripted_busy: bool = Field(default=False, description="scripted only: compute, do not sleep")

    @model_validator(mode="after")
    def _tile_px_is_no_larger_than_its_bound(self) -> InspectionSettings:
        if self.tile_px is not None and self.tile_px_max is not None and self.tile_px > self.tile_px_max:
            raise ValueError(f"tile_px {self.tile_px} exceeds tile_px_max {self.tile_px_max}: leave one of them out")
        return self

    @model_validator(mode="after")
    def _affinity_fits_workers(self) -> InspectionSettings:
        if len(self.cpu_affinity) not in (0, 1, self.workers):
            raise ValueError(
                f"cpu_affinity has {len(self.cpu_affinity)} entries for {self.workers} workers: give each one, or one "
                "for all"
            )
        return self

    def processors_of(self, index: int) -> tuple[int, ...]:
        """Those that worker `index` may use; none: all."""
        sets = self.cpu_affinity
        return parse_cpu_list(sets[index % len(sets)]) if sets else ()

    def of_worker(self, index: int) -> InspectionSettings:
        """The same settings with the NPU core of worker `index` alone."""
        return self.model_copy(update={"rknn_cores": (self.rknn_cores[index % len(self.rknn_cores)],)})

    @model_validator(mode="after")
    def _target_fits_backend(self) -> InspectionSettings:
        if self.backend == "auto" and self.openvino_precision != "f32":
            raise ValueError("openvino_precision is not for backend 'auto': set auto_coarse, and it tries bf16, too")
        if self.target is None or self.backend not in READS:
            return self
        if READS[self.backend] != form_of(self.target):
            runs = FORMS[READS[self.backend]]
            raise ValueError(f"target {self.target!r} is for another backend: {self.backend} runs {runs} networks")
        if self.target == "onnx+int8" and self.openvino_precision != "f32":
            raise ValueError("target 'onnx+int8' needs openvino_precision 'f32': two kinds of rounding are not proved")
        return self


def inspection_of(bundle: Path, backend: str, target: str | None = None, precision: str = "f32") -> InspectionSettings:
    """How a command is told to run a bundle. Raises ConfigError that names what is allowed."""
    values = {"bundle": str(bundle), "backend": backend, "target": target, "openvino_precision": precision}
    try:
        return InspectionSettings.model_validate_json(json.dumps(values))
    except ValidationError as exc:
        raise ConfigError(f"{bundle}: {describe(exc)}") from exc
