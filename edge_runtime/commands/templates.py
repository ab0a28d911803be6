"""The defect-free picture for each picture that `edge-runtime inspect` is given."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.errors import CameraError, ConfigError
from edge_runtime.pictures import PICTURE_SUFFIXES, read_grey_picture

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8


def match_templates(pictures: Sequence[Path], source: Path | None, takes_template: bool) -> dict[Path, Path]:
    """The template's file for each picture; empty where the model takes none.

    `source` is one picture for all, which is read at once, or a folder that holds one of the same name for each,
    whatever the suffix. Raises ConfigError for a source that is not wanted, missing or ambiguous, CameraError for one
    file that is no picture.
    """
    if source is None:
        if takes_template:
            raise ConfigError("the model compares with a defect-free picture; name it, or a folder of them: --template")
        return {}
    if not takes_template:
        raise ConfigError(f"{source}: the model takes no template; leave it out or take another bundle")
    if source.is_dir():
        return _of_same_names(pictures, source)
    _read(source)
    return dict.fromkeys(pictures, source)


def read_template(path: Path, picture: Path, picture_hw: tuple[int, ...]) -> ImageU8:
    """A template, grey (H, W), for a picture of that size. Raises CameraError for another size and for no picture."""
    template = _read(path)
    if template.shape != picture_hw:
        raise CameraError(
            f"template {path} is {template.shape[1]}x{template.shape[0]} px, picture {picture} {picture_hw[1]}x"
            f"{picture_hw[0]} px; both must come from one camera"
        )
    return template


@lru_cache(maxsize=1)
def _read(path: Path) -> ImageU8:
    return read_grey_picture(path)


def _of_same_names(pictures: Sequence[Path], folder: Path) -> dict[Path, Path]:
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in PICTURE_SUFFIXES:
            by_stem[path.stem].append(path)
    return {picture: _only(by_stem[picture.stem], picture, folder) for picture in pictures}


def _only(found: list[Path], picture: Path, folder: Path) -> Path:
    if not found:
        raise ConfigError(f"{folder}: holds no template named {picture.stem} for {picture}")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ConfigError(f"{folder}: {len(found)} templates for {picture}: {names}; leave one of them there")
    return found[0]
