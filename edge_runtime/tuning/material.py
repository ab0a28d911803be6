"""The pictures that are measured on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_runtime.config import Settings
from edge_runtime.errors import ConfigError
from edge_runtime.pictures import PICTURE_SUFFIXES, read_grey_picture, read_picture
from edge_runtime.vision.boards import BINARY, CAMERA, paint_board

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8

PAINTED_PX = 2048
MAX_PICTURES = 16


@dataclass(frozen=True)
class Material:
    """Pictures uint8 (H, W, 3) of one size, shown in turn, and the template uint8 (H, W) where the model takes one."""

    images: tuple[ImageU8, ...]
    template: ImageU8 | None = None

    @property
    def image_hw(self) -> tuple[int, int]:
        return self.images[0].shape[0], self.images[0].shape[1]


def made_up(image_hw: tuple[int, int], with_template: bool) -> Material:
    """A made-up board, as a scanner sees it where the model compares it with its artwork; large ones repeat."""
    painted_hw = (min(image_hw[0], PAINTED_PX), min(image_hw[1], PAINTED_PX))
    board = paint_board(1, 0, painted_hw, BINARY if with_template else CAMERA)
    template = _repeated(board.template, image_hw) if with_template else None
    return Material((_repeated(board.image, image_hw),), template)


def from_folder(folder: Path, settings: Settings, with_template: bool) -> Material:
    """The first pictures of a folder, by name, and the first recipe's template. Raises ConfigError, CameraError."""
    files = sorted(file for file in folder.glob("*") if file.suffix.lower() in PICTURE_SUFFIXES)[:MAX_PICTURES]
    if not files:
        raise ConfigError(f"{folder}: holds no picture ({', '.join(sorted(PICTURE_SUFFIXES))})")
    images = tuple(read_picture(file) for file in files)
    camera = settings.camera
    for file, image in zip(files, images, strict=True):
        if image.shape != images[0].shape or image.shape[0] * image.shape[1] > camera.width_px * camera.height_px:
            raise ConfigError(
                f"{file}: has {image.shape[1]} × {image.shape[0]} px; all must have one size, at most the camera's "
                f"{camera.width_px} × {camera.height_px}"
            )
    return Material(images, _template_of(settings) if with_template else None)


def _template_of(settings: Settings) -> ImageU8:
    recipe = next(iter(settings.numbered_recipes.values())).recipe
    if recipe.template is None:
        raise ConfigError(f"recipe {recipe.name}: the model needs a template; leave --pictures out for made-up ones")
    return read_grey_picture(recipe.template)


def _repeated(picture: ImageU8, image_hw: tuple[int, int]) -> ImageU8:
    """The picture side by side with itself until it has this size."""
    times = [-(-wanted // there) for wanted, there in zip(image_hw, picture.shape[:2], strict=True)]
    repeated = np.tile(picture, (*times, *(1,) * (picture.ndim - 2)))
    return np.ascontiguousarray(repeated[: image_hw[0], : image_hw[1]])
