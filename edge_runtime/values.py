"""The values that travel through the system: frozen, checked at birth.

The process that holds the wire imports this module, so numpy is imported for type checking only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    ImageU8 = npt.NDArray[np.uint8]

Box = tuple[int, int, int, int]
Polygon = tuple[tuple[float, float], ...]


class Outcome(str, Enum):
    """What the line is told. NOT_INSPECTED acts on the wire as REJECT and is counted apart."""

    PASS = "PASS"
    REJECT = "REJECT"
    NOT_INSPECTED = "NOT_INSPECTED"


class Zone(str, Enum):
    """Where a defect lies with respect to the recipe's region of interest."""

    INSPECT = "inspect"
    IGNORE = "ignore"


@dataclass(frozen=True)
class Trigger:
    """One part in front of the camera; exactly one Verdict follows before `deadline_ns` (monotonic)."""

    part_id: int
    at_ns: int
    deadline_ns: int

    def __post_init__(self) -> None:
        if self.part_id < 1:
            raise ValueError(f"part_id must be at least 1, not {self.part_id}")
        if self.deadline_ns <= self.at_ns:
            raise ValueError(f"part {self.part_id}: the deadline must lie after the trigger")


@dataclass(frozen=True)
class Frame:
    """A part's picture: `image` uint8 (H, W, 3) BGR, contiguous, set read-only."""

    part_id: int
    image: ImageU8
    captured_ns: int
    captured_at: datetime

    def __post_init__(self) -> None:
        check_picture(self.image)
        self.image.flags.writeable = False
        if self.captured_at.tzinfo is None:
            raise ValueError("captured_at must carry a time zone (UTC)")


def check_picture(image: ImageU8) -> None:
    """Raise ValueError unless `image` is a contiguous uint8 array of shape (H ≥ 1, W ≥ 1, 3)."""
    if image.dtype.name != "uint8" or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"a picture must be uint8 (H, W, 3) BGR, not {image.dtype} {image.shape}")
    if not image.flags.c_contiguous:
        raise ValueError("a picture must be C-contiguous")


@dataclass(frozen=True)
class TileGrid:
    """Which tiles cover an image; made by `vision.tiling.plan_grid`, immutable.

    `origins_yx` are the top left corners of exact `tile_px` squares in image coordinates, row by row. An image
    smaller than a tile has its single origin at 0 on that axis and is padded at the far side.
    """

    image_hw: tuple[int, int]
    tile_px: int
    margin_px: int
    stride_px: int
    ys: tuple[int, ...]
    xs: tuple[int, ...]

    @property
    def origins_yx(self) -> tuple[tuple[int, int], ...]:
        return tuple((y, x) for y in self.ys for x in self.xs)

    def __len__(self) -> int:
        return len(self.ys) * len(self.xs)


@dataclass(frozen=True)
class TilePlan:
    """The tiles to compute of an image, and what each answers for; made by `vision.tile_plan`, immutable.

    Tile `index` is the exact `tile_px` square at `origins_yx[index]`, a multiple of `stride_px`; `cores_xyxy_px[index]`
    is its core: half-open, in image coordinates, disjoint from all others. What no core covers is background.
    """

    image_hw: tuple[int, int]
    tile_px: int
    stride_px: int
    origins_yx: tuple[tuple[int, int], ...]
    cores_xyxy_px: tuple[Box, ...]

    def __len__(self) -> int:
        return len(self.origins_yx)

    @property
    def digest(self) -> int:
        """1..2^32 - 1, in every process the same for the same plan: hashes of whole numbers are not salted."""
        return hash((self.image_hw, self.tile_px, self.origins_yx, self.cores_xyxy_px)) & (2**32 - 1) or 1


@dataclass(frozen=True)
class Mask:
    """Stitched model output at `stride_px` image pixels per cell.

    `class_ids` and `scores` are uint8 (ceil(H/stride), ceil(W/stride)); score 255 = certain; a cell whose score
    is below its class's threshold is background. Class 0 is background.
    """

    class_ids: ImageU8
    scores: ImageU8
    stride_px: int

    def __post_init__(self) -> None:
        for name, plane in (("class_ids", self.class_ids), ("scores", self.scores)):
            if plane.dtype.name != "uint8" or plane.ndim != 2:
                raise ValueError(f"mask {name} must be uint8 (H, W), not {plane.dtype} {plane.shape}")
        if self.class_ids.shape != self.scores.shape:
            raise ValueError(f"mask planes differ: class_ids {self.class_ids.shape}, scores {self.scores.shape}")
        if self.stride_px < 1:
            raise ValueError(f"mask stride_px must be at least 1, not {self.stride_px}")


@dataclass(frozen=True)
class Defect:
    """One joined group of defective pixels. `xyxy_px` is half-open; `score` in 0..1; mm² is None without a scale."""

    class_id: int
    xyxy_px: Box
    area_px: int
    area_mm2: float | None
    score: float
    zone: Zone = Zone.INSPECT

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.xyxy_px
        if not (0 <= x0 < x1 and 0 <= y0 < y1):
            raise ValueError(f"defect box {self.xyxy_px} is empty or negative")
        if self.area_px < 1 or not 0.0 <= self.score <= 1.0 or not 1 <= self.class_id <= 255:
            raise ValueError(f"defect out of range: {self}")


@dataclass(frozen=True)
class Verdict:
    """The one answer to a Trigger.

    `reasons` are short codes (`open: 2 > 0`, `deadline`, `worker_lost`). `defects` holds at most the
    `MAX_DEFECTS` largest; `defect_count` counts all.
    """

    part_id: int
    outcome: Outcome
    reasons: tuple[str, ...]
    defects: tuple[Defect, ...]
    defect_count: int
    decided_ns: int
    model_id: str
    recipe_id: str

    def __post_init__(self) -> None:
        if self.outcome is not Outcome.PASS and not self.reasons:
            raise ValueError(f"part {self.part_id}: {self.outcome.value} needs a reason")
        if len(self.defects) > MAX_DEFECTS or self.defect_count < len(self.defects):
            raise ValueError(f"part {self.part_id}: {len(self.defects)} defects listed, {self.defect_count} counted")


MAX_DEFECTS = 200
LARGEST_MEAN, LEAST_STD = 1e6, 1e-6


@dataclass(frozen=True)
class TileCounts:
    """Tiles of a frame, or of many: `computed` by the network, or `skipped` because the gate called them clean.

    `audited`: the computed ones that the gate had called clean; `missed`: those of them with a defect that counts.
    """

    computed: int = 0
    skipped: int = 0
    audited: int = 0
    missed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.missed <= self.audited <= self.computed or self.skipped < 0:
            raise ValueError(f"no frame has such tiles: {self}")

    def __add__(self, other: TileCounts) -> TileCounts:
        return TileCounts(
            self.computed + other.computed,
            self.skipped + other.skipped,
            self.audited + other.audited,
            self.missed + other.missed,
        )


NO_TILES = TileCounts()


@dataclass(frozen=True)
class InspectionRecord:
    """What the archive keeps of one trigger: one database row.

    `label` is the camera's name for the picture. `recipe_number` and `recipe_digest` are those of the part's recipe,
    0 and "" for a part without one. `tiles`, their side `tile_px` and `engine`, what computed them, are 0 and "" for a
    part that was not inspected.
    """

    trigger: Trigger
    verdict: Verdict
    triggered_at: datetime
    line_seqno: int | None
    stage_ms: dict[str, float] = field(default_factory=dict)
    label: str = ""
    recipe_number: int = 0
    recipe_digest: str = ""
    tiles: TileCounts = NO_TILES
    tile_px: int = 0
    engine: str = ""


@dataclass(frozen=True)
class DefectClass:
    """A class of the bundle: `threshold` is the lowest score (0..255) at which a cell counts as defective."""

    class_id: int
    name: str
    color_bgr: tuple[int, int, int]
    threshold: int

    def __post_init__(self) -> None:
        if not 1 <= self.class_id <= 255 or not 1 <= self.threshold <= 255:
            raise ValueError(f"class {self.name}: id and threshold must lie in 1..255")


@dataclass(frozen=True)
class InputContract:
    """How a tile becomes the model's input; written by the tools, obeyed by the device.

    value = (pixel / 255 - mean) / std per channel, in `channels` order ("BGR", "RGB" or "GRAY"), NCHW float32.
    Tiles are `tile_px` squares at origins that are multiples of `stride_px`; `margin_px` is the effective
    receptive radius: cells nearer than that to a tile's inner edge are not used. With `template` the defect-free
    picture's channels follow the picture's own, scaled alike.
    """

    channels: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    tile_px: int
    stride_px: int
    margin_px: int
    template: bool = False

    def __post_init__(self) -> None:
        count = {"BGR": 3, "RGB": 3, "GRAY": 1}.get(self.channels)
        if count is None:
            raise ValueError(f"channels must be BGR, RGB or GRAY, not {self.channels!r}")
        if len(self.mean) != count or len(self.std) != count or any(s <= 0 for s in self.std):
            raise ValueError(f"{self.channels} needs {count} means and {count} positive stds")
        if not all(abs(mean) <= LARGEST_MEAN for mean in self.mean) or not all(std >= LEAST_STD for std in self.std):
            raise ValueError(f"means are at most {LARGEST_MEAN:g} and stds at least {LEAST_STD:g}, not {self}")
        if not 8 <= self.tile_px <= 4096 or self.stride_px < 1 or self.tile_px % self.stride_px:
            raise ValueError(f"tile_px {self.tile_px} must lie in 8..4096, a multiple of stride_px {self.stride_px}")
        if not 0 <= self.margin_px * 2 < self.tile_px:
            raise ValueError(f"margin_px {self.margin_px} leaves no core in a tile of {self.tile_px}")
        if self.template and self.channels != "GRAY":
            raise ValueError(f"a template goes with channels GRAY only, not {self.channels}; train on GRAY pictures")

    @property
    def channel_count(self) -> int:
        """Channels of the network's input, the template's included."""
        return len(self.mean) * (2 if self.template else 1)


@dataclass(frozen=True)
class ClassRule:
    """Recipe limits for one defect class.

    A defect below a minimum is ignored. The part is rejected when a counted defect exceeds `max_area_*`, when more
    than `max_count` count, or when their areas add up to more than `max_total_area_*`.
    """

    min_score: float = 0.0
    min_area_px: float = 0.0
    min_area_mm2: float | None = None
    max_count: int = 0
    max_area_px: float | None = None
    max_area_mm2: float | None = None
    max_total_area_px: float | None = None
    max_total_area_mm2: float | None = None


@dataclass(frozen=True)
class Recipe:
    """What counts as a bad part. Polygons are (x, y) in image pixels; no include polygon = the whole picture.

    `rules` is keyed by class name; a class without a rule uses `default_rule`. Defect pixels closer than `join_px`
    belong to one defect.
    """

    name: str
    mm_per_px: float | None = None
    join_px: int = 0
    default_rule: ClassRule = ClassRule()
    rules: dict[str, ClassRule] = field(default_factory=dict)
    include: tuple[Polygon, ...] = ()
    ignore: tuple[Polygon, ...] = ()
