"""The frames of `bench peers` and `bench accuracy`, and the file that hands one to a contender.

A peer is shown the picture and, where the model takes one, its registered template as a fourth channel: it is spared
the registration, which this runtime's time includes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import cv2
import numpy as np

from edge_runtime.pictures import PICTURE_SUFFIXES, grey_of, read_picture
from edge_runtime.vision.registration import register_template
from tools.benchmarks.frames import PAINTED_PX, made_frame
from tools.dataset import Picture, load_dataset
from tools.errors import ToolError
from tools.golden_pictures import MadePicture

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8

_T = TypeVar("_T")


def painted_frames(count: int, with_template: bool) -> list[MadePicture]:
    return [made_frame(PAINTED_PX, with_template, index) for index in range(count)]


def read_frames(folder: Path, count: int, with_template: bool) -> list[MadePicture]:
    """The first pictures by name: of a folder, or of a data set where the model takes a template.

    Raises ToolError for fewer, DatasetError, CameraError.
    """
    if with_template:
        return [labelled_frame(each, True) for each in _first(load_dataset(folder).pictures, count, folder)]
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES)
    return [MadePicture(read_picture(file), None) for file in _first(files, count, folder)]


def labelled_frame(picture: Picture, with_template: bool) -> MadePicture:
    """Raises DatasetError, CameraError."""
    return MadePicture(read_picture(picture.image_path), picture.read_template() if with_template else None)


def write_frames(frames: Sequence[MadePicture], folder: Path) -> list[Path]:
    files = [folder / f"frame_{number}.npz" for number in range(len(frames))]
    for file, frame in zip(files, frames, strict=True):
        write_frame(file, frame)
    return files


def write_frame(file: Path, frame: MadePicture) -> None:
    """`shown`: uint8 (H, W, 3) BGR or, its registered template behind, (H, W, 4); `template`: as it was given."""
    if frame.template is None:
        np.savez(file, shown=frame.image)
        return
    registered = register_template(grey_of(frame.image), frame.template)
    np.savez(file, shown=np.dstack([frame.image, registered]), template=frame.template)


def load_frame(file: Path) -> MadePicture:
    with np.load(file) as arrays:
        shown: ImageU8 = arrays["shown"]
        if "template" not in arrays:
            return MadePicture(shown, None)
        return MadePicture(np.asarray(cv2.cvtColor(shown, cv2.COLOR_BGRA2BGR), np.uint8), arrays["template"])


def _first(every: Sequence[_T], count: int, folder: Path) -> Sequence[_T]:
    if len(every) < count:
        raise ToolError(f"{folder}: holds {len(every)} pictures, {count} are wanted; give another folder or --count")
    return every[:count]
