"""What travels between the tool and its workers: frozen, small, picklable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_runtime.values import Defect, Outcome

UNREADABLE, CRASHED, FAILED = "unreadable", "crashed", "failed"


@dataclass(frozen=True)
class InspectionSpec:
    """All that an inspection depends on beside the picture; `recipe_json` is a `RecipeSettings`.

    Folders are absolute paths, valid on every machine that works. A worker refuses a bundle of another digest.
    `template` is a picture for all or a folder with one for each, where the model takes one.
    `tile_px`: the side of the tiles; None: the bundle's usual ones.
    A picture that takes longer than `picture_limit_s` costs its worker. `backend` is `paddle_lite`, or `scripted` for
    the fake.
    """

    bundle_folder: str
    bundle_digest: str
    recipe_json: str
    pictures_folder: str
    template: str | None = None
    backend: str = "paddle_lite"
    picture_limit_s: int = 300
    tile_px: int | None = None


@dataclass(frozen=True)
class Task:
    """Pictures to inspect, as paths below the archive's picture folder. Tasks with equal pictures are equal work."""

    chunk: int
    paths: tuple[str, ...]


@dataclass(frozen=True)
class PictureResult:
    """One picture inspected, or why it was not: `error` says it in words, `reasons` in one of the words above.

    `defects` are all there are, in reading order; a picture's size is None when it could not be read.
    """

    path: str
    outcome: Outcome
    reasons: tuple[str, ...]
    error: str | None = None
    image_hw: tuple[int, int] | None = None
    tiles: int = 0
    ms: float = 0.0
    defects: tuple[Defect, ...] = ()


Results = Sequence[PictureResult]


def not_inspected(path: str, reason: str, error: str) -> PictureResult:
    return PictureResult(path, Outcome.NOT_INSPECTED, (reason,), error)
