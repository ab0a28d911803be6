"""Pictures of what a model got wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from edge_runtime.files import write_atomically
from edge_runtime.pictures import read_picture
from edge_runtime.values import Defect, DefectClass
from edge_runtime.vision.overlay import draw_overlay
from tools.evaluate import RECIPE
from tools.evaluation.examine import Examined
from tools.evaluation.summary import PictureErrors
from tools.scoring import LabelledBox, match_labels

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8

GREEN, RED, ORANGE = (60, 160, 0), (40, 30, 200), (0, 130, 230)
KINDS = (("right", GREEN), ("missed", RED), ("false", ORANGE))
RIGHT, MISSED, FALSE = range(3)
FOLDER_NAME = "overlays"


def write_overlays(folder: Path, worst: Sequence[PictureErrors], classes: Sequence[DefectClass]) -> list[str]:
    """Draw the pictures into `folder`/overlays, in place of earlier ones; their paths relative to `folder`.

    Raises OSError, and CameraError for a picture that went away meanwhile.
    """
    (folder / FOLDER_NAME).mkdir(parents=True, exist_ok=True)
    for stale in (folder / FOLDER_NAME).glob("[0-9]*.png"):
        stale.unlink()
    files = []
    for number, entry in enumerate(worst, 1):
        files.append(f"{FOLDER_NAME}/{number:03d}.png")
        drawn = draw_errors(read_picture(entry.one.picture.image_path), entry.one, classes)
        write_atomically(folder / files[-1], cv2.imencode(".png", drawn)[1].tobytes())
    return files


def draw_errors(image: ImageU8, one: Examined, classes: Sequence[DefectClass]) -> ImageU8:
    """The picture with right boxes green, missed labels red and false alarms orange; the banner is the verdict."""
    names = [known.name for known in classes]
    kinds = [
        DefectClass(_number(index, kind, len(names)), f"{word} {name}", color, 1)
        for kind, (word, color) in enumerate(KINDS)
        for index, name in enumerate(names)
    ]
    place = {known.class_id: index for index, known in enumerate(classes)}
    marked = [
        replace(defect, class_id=_number(place[defect.class_id], kind, len(names))) for defect, kind in _marked(one)
    ]
    return draw_overlay(image, marked, None, kinds, RECIPE, one.outcome)


def _number(index: int, kind: int, class_count: int) -> int:
    """Bundles have at most 64 classes, so three kinds of each fit a class id."""
    return 1 + index + kind * class_count


def _marked(one: Examined) -> Iterator[tuple[Defect, int]]:
    hits = match_labels(one.boxes.found, one.boxes.truth)
    for defect, hit in zip(one.defects, hits, strict=True):
        yield defect, FALSE if hit is None else RIGHT
    for index, label in enumerate(one.boxes.truth):
        if index not in hits:
            yield _as_defect(label, one.picture.size_hw), MISSED


def _as_defect(label: LabelledBox, image_hw: tuple[int, int]) -> Defect:
    x0, y0, x1, y1 = label.xyxy_px
    box = (max(0, x0), max(0, y0), min(image_hw[1], x1), min(image_hw[0], y1))
    return Defect(label.class_id, box, (box[2] - box[0]) * (box[3] - box[1]), None, 0.0)
