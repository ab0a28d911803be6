"""What a bundle says about itself: `manifest.json`, every field typed and bounded."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, ValidationError, model_validator
from typing_extensions import Self

from edge_runtime.errors import BundleError
from edge_runtime.inference.figures import Count, Figures, Label, Number, Text
from edge_runtime.inference.targets import Form, Target, form_of
from edge_runtime.validation import StrictModel, describe
from edge_runtime.values import DefectClass, InputContract

MAX_FILE_BYTES = 256 * 1024 * 1024
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}(/[A-Za-z0-9][A-Za-z0-9._-]{0,63}){0,3}")


def _check_file_name(name: str) -> str:
    if not PLAIN_NAME.fullmatch(name):
        raise ValueError("must name a file inside the bundle, in letters, digits and . _ - /, without '..'")
    return name


def _check_utc(moment: datetime) -> datetime:
    if moment.utcoffset() != timedelta(0):
        raise ValueError("must be in UTC, as in 2026-01-31T12:00:00Z")
    return moment


def _version_text(value: Any) -> Any:
    return str(value) if type(value) is int else value


FileName = Annotated[str, AfterValidator(_check_file_name)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Version = Annotated[str, BeforeValidator(_version_text), Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,31}$")]
Byte = Annotated[int, Field(strict=True, ge=0, le=255)]
Pixels = Annotated[int, Field(strict=True, ge=0, le=4096)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]

OutputKind = Literal["class_and_score", "class_ids", "score"]
MAKERS: dict[Form, str] = {"nb": "opt_version", "onnx": "opset", "rknn": "rknn_version"}
Arithmetic = Literal["f16", "bf16", "int8"]
MAX_ALLOWED_SHARE = 0.05
Precision = Literal["fp32", "fp16", "int8", "int8_weights", "int16_weights"]


class Input(StrictModel):
    """The fields of `values.InputContract`."""

    channels: Literal["BGR", "RGB", "GRAY"]
    mean: Annotated[tuple[Number, ...], Field(max_length=3)]
    std: Annotated[tuple[Number, ...], Field(max_length=3)]
    tile_px: Pixels
    stride_px: Pixels
    margin_px: Pixels
    template: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.contract()
        return self

    def contract(self) -> InputContract:
        return InputContract(**self.model_dump())


class Output(StrictModel):
    """What the network gives, always uint8 with one cell per `mask_stride_px` tile pixels.

    class_and_score: two outputs, class ids and scores. class_ids: one output; a cell that is not 0 scores 255.
    score: one output; every cell is the bundle's only class.
    """

    kind: OutputKind
    mask_stride_px: Annotated[int, Field(strict=True, ge=1, le=64)]


class ClassEntry(StrictModel):
    """One defect class; a cell counts from score `threshold` on."""

    id: Annotated[int, Field(strict=True, ge=1, le=255)]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _-]{0,31}$")]
    color_bgr: tuple[Byte, Byte, Byte]
    threshold: Annotated[int, Field(strict=True, ge=1, le=255)]

    def defect_class(self) -> DefectClass:
        return DefectClass(self.id, self.name, self.color_bgr, self.threshold)


class FileEntry(StrictModel):
    """A file of the bundle, with what proves that it is the right one."""

    file: FileName
    sha256: Sha256
    size_bytes: Annotated[int, Field(strict=True, ge=1, le=MAX_FILE_BYTES)]


class Artefact(FileEntry):
    """A compiled network for one target; a bundle has at most one per target.

    `opt_version` of a Paddle Lite file, `opset` of an ONNX file, `rknn_version` (the toolkit's) of an RKNN file: what
    reads it must know that. `allowed_shares`: for coarser arithmetic, the share of a golden tile's cells that it may
    move; without an entry, none. `tile_range_px`: smallest and largest side; the file runs tiles of each multiple of
    the stride between, a predictor for each side; without it, of `tile_px` alone.
    """

    target: Target
    precision: Precision
    tile_px: Pixels
    tile_range_px: tuple[Pixels, Pixels] | None = None
    opt_version: Label | None = None
    opset: Annotated[int, Field(strict=True, ge=13, le=100)] | None = None
    rknn_version: Label | None = None
    allowed_shares: dict[Arithmetic, Annotated[float, Field(ge=0, le=MAX_ALLOWED_SHARE)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_maker(self) -> Self:
        needed = MAKERS[form_of(self.target)]
        others = [name for name in MAKERS.values() if name != needed]
        if getattr(self, needed) is None or any(getattr(self, name) is not None for name in others):
            raise ValueError(f"an artefact for {self.target} has {needed} and no {' or '.join(others)}")
        return self

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        first, last = self.tile_range_px or (self.tile_px, self.tile_px)
        if not first <= self.tile_px <= last:
            raise ValueError(f"tile_range_px {[first, last]} must be [smallest, largest] around tile_px {self.tile_px}")
        return self


class Golden(StrictModel):
    """A tile's picture (uint8 BGR) and the planes the network must give for it, all PNG.

    `template` is the registered part of the defect-free picture, 8-bit grey. `tile_px`: its side, absent where it is
    that of `input`; it proves tiles of that side, and, cut to them, smaller ones.
    """

    picture: FileEntry
    class_ids: FileEntry
    scores: FileEntry
    template: FileEntry | None = None
    tile_px: Pixels | None = None

    def files(self) -> tuple[FileEntry, ...]:
        return tuple(entry for entry in (self.picture, self.template, self.class_ids, self.scores) if entry)


class GateCalibration(StrictModel):
    """Where a gate's threshold comes from.

    Of `defects` that the network finds in the data set's tiles, each taken alone, `lost` score below the threshold.
    With `confidence` no more than `lost_share_max` of such defects do. `skipped_share`: of all the tiles there,
    `clean_skipped_share`: of those without a defect.
    """

    data_set: Text
    pictures: Annotated[int, Field(strict=True, ge=1)]
    defects: Annotated[int, Field(strict=True, ge=1)]
    lost: Count
    confidence: Share
    lost_share_max: Share
    skipped_share: Share
    clean_skipped_share: Share


class Gate(StrictModel):
    """Which tiles need not be computed; `vision.gate.TemplateGate` says what the numbers mean."""

    kind: Literal["template_difference"]
    tolerance_px: Annotated[int, Field(strict=True, ge=0, le=8)]
    block_px: Annotated[int, Field(strict=True, ge=1, le=16)]
    reach_px: Annotated[int, Field(strict=True, ge=0, le=256)]
    threshold: Annotated[float, Field(strict=True, ge=0, le=255)]
    calibration: GateCalibration


class Draft(StrictModel):
    """The part of a manifest its author decides; `bundle_writer.write_bundle` adds the files."""

    manifest_version: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    version: Version
    task: Literal["segmentation"] = "segmentation"
    created: Annotated[AwareDatetime, AfterValidator(_check_utc)]
    input: Input
    output: Output
    classes: Annotated[tuple[ClassEntry, ...], Field(min_length=1, max_length=64)]
    figures: Figures
    terms: Annotated[str, Field(min_length=1, max_length=4000)]
    gate: Gate | None = None

    @model_validator(mode="after")
    def _check_agreement(self) -> Self:
        if self.input.stride_px % self.output.mask_stride_px:
            raise ValueError("output.mask_stride_px must divide input.stride_px")
        _check_unique("classes: id", (entry.id for entry in self.classes))
        _check_unique("classes: name", (entry.name for entry in self.classes))
        if self.output.kind == "score" and len(self.classes) != 1:
            raise ValueError(f"output.kind 'score' needs exactly one class, not {len(self.classes)}")
        if self.gate is not None and not self.input.template:
            raise ValueError(f"gate.kind {self.gate.kind!r} needs input.template: it compares the picture with one")
        return self


class Manifest(Draft):
    """The whole of `manifest.json`."""

    manifest_version: Literal[1]
    task: Literal["segmentation"]
    artefacts: Annotated[tuple[Artefact, ...], Field(min_length=1, max_length=8)]
    golden: Annotated[tuple[Golden, ...], Field(min_length=1, max_length=16)]
    signature: None = None

    @model_validator(mode="after")
    def _check_files(self) -> Self:
        _check_unique("artefacts: target", (artefact.target for artefact in self.artefacts))
        _check_unique("file", (entry.file for entry in self.files()))
        for artefact in self.artefacts:
            if artefact.tile_px != self.input.tile_px:
                raise ValueError(
                    f"{artefact.file}: tile_px {artefact.tile_px} differs from input.tile_px {self.input.tile_px}"
                )
        return self

    @model_validator(mode="after")
    def _check_sides(self) -> Self:
        """Every side that an artefact runs can be proved by a golden tile that is no smaller."""
        stride_px, largest_px = self.input.stride_px, max(map(self.golden_side_px, self.golden))
        for artefact in self.artefacts:
            for side_px in artefact.tile_range_px or ():
                if side_px % stride_px or side_px <= 2 * self.input.margin_px or side_px > largest_px:
                    raise ValueError(
                        f"{artefact.file}: tile_range_px {side_px} must be a multiple of stride_px {stride_px}, above "
                        f"twice margin_px {self.input.margin_px}, and at most {largest_px}, the largest golden tile"
                    )
        for index, tile in enumerate(self.golden):
            if self.golden_side_px(tile) % stride_px:
                raise ValueError(f"golden[{index}]: tile_px {tile.tile_px} must be a multiple of stride_px {stride_px}")
        if all(self.golden_side_px(tile) < self.input.tile_px for tile in self.golden):
            raise ValueError(f"golden: no tile proves input.tile_px {self.input.tile_px}; one must be as large")
        return self

    @model_validator(mode="after")
    def _check_templates(self) -> Self:
        for index, tile in enumerate(self.golden):
            if (tile.template is not None) != self.input.template:
                needed = "is missing" if self.input.template else "does not belong there"
                raise ValueError(f"golden[{index}]: a template {needed}: input.template is {self.input.template}")
        return self

    def files(self) -> tuple[FileEntry, ...]:
        """Every file the bundle consists of, beside the manifest."""
        return self.artefacts + tuple(entry for tile in self.golden for entry in tile.files())

    def golden_side_px(self, tile: Golden) -> int:
        return tile.tile_px or self.input.tile_px

    def golden_for(self, tile_px: int) -> tuple[Golden, ...]:
        """The golden tiles that prove tiles of this side: the smallest ones that are no smaller."""
        nearest = min((side for side in map(self.golden_side_px, self.golden) if side >= tile_px), default=0)
        return tuple(tile for tile in self.golden if self.golden_side_px(tile) == nearest)

    def class_names(self) -> dict[int, str]:
        return {entry.id: entry.name for entry in self.classes}

    def to_json(self) -> bytes:
        return self.model_dump_json(indent=2).encode() + b"\n"


def model_id_of(manifest: Manifest, digest: str) -> str:
    """name/version@ and the first 8 digits of the SHA-256 of the manifest's file, which covers every other file."""
    return f"{manifest.name}/{manifest.version}@{digest[:8]}"


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Raises BundleError that begins with `where` and names the key, what is wrong and what is allowed."""
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as exc:
        raise BundleError(f"{where}: {describe(exc)}") from exc


def _check_unique(what: str, values: Iterable[object]) -> None:
    seen: set[object] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{what} {value!r} appears twice")
        seen.add(value)
