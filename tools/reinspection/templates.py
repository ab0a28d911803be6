"""The defect-free picture of each picture in an archive, for a model that takes one."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from edge_runtime.commands.templates import match_templates
from edge_runtime.errors import CameraError
from edge_runtime.pictures import PICTURE_SUFFIXES
from tools.reinspection.archive import described, found_pictures
from tools.reinspection.tables import listing_digest


def check_templates(source: Path | None, takes_template: bool) -> Path | None:
    """The absolute path of the source: one picture for all, or a folder of them (see `template_file`).

    Raises ConfigError or CameraError unless there is a source exactly if the model takes one, and a readable one.
    """
    match_templates([], source, takes_template)
    return None if source is None else Path(os.path.abspath(source))


def templates_digest(source: Path | None) -> str | None:
    """SHA-256 of the names, sizes and times of the source's pictures."""
    if source is None:
        return None
    return listing_digest(found_pictures(source) if source.is_dir() else [described(source, source.name)])


def template_file(source: Path, path: str) -> Path:
    """The template for the picture at `path` of the archive: `source` itself where that is a picture.

    In a folder it has the same name, whatever the suffix, and lies in the same subfolder or else right in the folder.
    Raises CameraError where none or several are found.
    """
    if not source.is_dir():
        return source
    picture = PurePosixPath(path)
    for folder in (source / picture.parent, source):
        named = [folder / f"{picture.stem}{suffix}" for suffix in sorted(PICTURE_SUFFIXES)]
        found = [file for file in named if file.is_file()]
        if len(found) > 1:
            raise CameraError(f"{folder}: several templates named {picture.stem} for {path}; leave one of them there")
        if found:
            return found[0]
    raise CameraError(f"{source}: holds no template for {path}; put one of the same name there")
