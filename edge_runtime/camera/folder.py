"""Pictures from disk in place of a camera: a folder, one picture, or a video file."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from edge_runtime.camera.native_logs import silence_native_logs
from edge_runtime.camera.pacing import Pacer, WaitMs, sleep_ms
from edge_runtime.errors import CameraError, EndOfPictures
from edge_runtime.interfaces import Exposure
from edge_runtime.pictures import MAX_SIDE_PX, PICTURE_SUFFIXES, picture_hw, place_in, read_picture

if TYPE_CHECKING:
    from edge_runtime.clock import Clock
    from edge_runtime.values import ImageU8

VIDEO_SUFFIXES = frozenset({".avi", ".mp4", ".mkv", ".mov", ".m4v", ".webm"})


class FolderCamera:
    """Gives the pictures at `path`, a folder's in natural order of their names (2 before 10); the label is the name.

    Files of other kinds and hidden ones are no pictures; one that claims to be a picture and cannot be read raises
    CameraError in its turn, and after `open` the camera goes on behind it. With `loop` it starts over at the end,
    else raises EndOfPictures. Pictures may differ in size: `image_hw` covers them all, told from their headers at
    `open`. One thread owns it.
    """

    def __init__(self, path: Path, rate_hz: float | None, loop: bool, clock: Clock, wait_ms: WaitMs = sleep_ms) -> None:
        self._path = path
        self._clock = clock
        self._loop = loop
        self._pacer = Pacer(rate_hz, clock, wait_ms)
        self._source: _Source | None = None
        self._position = 0
        self._ready: tuple[ImageU8, str] | None = None

    @property
    def image_hw(self) -> tuple[int, int]:
        return self._opened().image_hw

    def open(self) -> None:
        self.close()
        self._source = _source_at(self._path)

    def capture(
        self, trigger_ns: int | None, timeout_ms: float, room: ImageU8 | None = None
    ) -> tuple[ImageU8, Exposure] | None:
        (image, label), self._ready = self._ready or self._next_picture(room), None
        captured_ns = self._pacer.wait_for_exposure(trigger_ns, timeout_ms)
        if captured_ns is None:
            self._ready = image.copy(), label  # the room is the caller's again
            return None
        return image, Exposure(captured_ns, self._clock.utc_now(), label)

    def check(self) -> None:
        if not self._path.exists():
            raise CameraError(f"{self._path} is gone")

    def close(self) -> None:
        if self._source is not None:
            self._source.close()
        self._source = None

    def _opened(self) -> _Source:
        if self._source is None:
            raise CameraError(f"{self._path}: not open; call open() first")
        return self._source

    def _next_picture(self, room: ImageU8 | None) -> tuple[ImageU8, str]:
        source = self._opened()
        position, self._position = self._position, self._position + 1
        found = source.read(position, room)
        if found is None and self._loop:
            self._position = 1
            found = source.read(0, room)
        if found is None:
            self._position = position
            raise EndOfPictures(f"{self._path}: all {position} pictures were shown")
        return found


class _Source(Protocol):
    @property
    def image_hw(self) -> tuple[int, int]: ...

    def read(self, position: int, room: ImageU8 | None) -> tuple[ImageU8, str] | None:
        """Picture number `position` and its label, None behind the last. Raises CameraError."""
        ...

    def close(self) -> None: ...


def _source_at(path: Path) -> _Source:
    if path.is_dir():
        return _PictureFiles(_pictures_in(path))
    if not path.is_file():
        raise CameraError(f"{path} does not exist or is no regular file; camera.path takes a folder, picture or video")
    return _VideoFile(path) if path.suffix.lower() in VIDEO_SUFFIXES else _PictureFiles([path])


def _pictures_in(folder: Path) -> list[Path]:
    try:
        files = [p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES and not p.name.startswith(".")]
    except OSError as exc:
        raise CameraError(f"{folder} cannot be listed: {exc}") from exc
    if not files:
        raise CameraError(f"{folder} holds no picture; accepted are {', '.join(sorted(PICTURE_SUFFIXES))}")
    return sorted(files, key=lambda file: _natural(file.name))


def _label(file: Path) -> str:
    """The file's name; bytes in it that are not UTF-8 fit into no record and become a replacement sign."""
    return os.fsencode(file.name).decode(errors="replace")


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sort key that takes runs of digits as numbers."""
    words = re.findall(r"\d+|\D+", name.lower())
    return [(int(word), "") if word.isdecimal() else (-1, word) for word in words], name


class _PictureFiles:
    def __init__(self, files: list[Path]) -> None:
        self._files = files
        sizes = [hw for hw in map(_hw_if_readable, files) if hw is not None]
        self.image_hw = (max(h for h, _ in sizes), max(w for _, w in sizes)) if sizes else picture_hw(files[0])

    def read(self, position: int, room: ImageU8 | None) -> tuple[ImageU8, str] | None:
        if position >= len(self._files):
            return None
        return read_picture(self._files[position], room), _label(self._files[position])

    def close(self) -> None:
        pass


def _hw_if_readable(file: Path) -> tuple[int, int] | None:
    try:
        return picture_hw(file)
    except CameraError:  # told when its turn comes
        return None


class _VideoFile:
    """Frames of a video, one after another. A file that breaks off ends there: codecs do not tell the difference."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next = 0
        self._open()
        height, width = (int(self._video.get(p)) for p in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH))
        if not (1 <= height <= MAX_SIDE_PX and 1 <= width <= MAX_SIDE_PX):
            self.close()
            raise CameraError(f"video {path} is {width}x{height} px; sides must lie in 1..{MAX_SIDE_PX}")
        self.image_hw = (height, width)

    def read(self, position: int, room: ImageU8 | None) -> tuple[ImageU8, str] | None:
        if position < self._next:
            self.close()
            self._open()
        while self._next < position:
            self._next += 1
            if not self._video.grab():
                return None
        done, image = self._video.read(None if room is None else place_in(room, self.image_hw))
        if not done and position == 0:
            raise CameraError(f"video {self._path} holds no frame that can be decoded; convert it to MJPEG or H.264")
        if not done:
            return None
        self._next = position + 1
        return np.asarray(image, np.uint8), f"{_label(self._path)}#{position}"

    def close(self) -> None:
        self._video.release()

    def _open(self) -> None:
        silence_native_logs()
        self._video = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        self._next = 0
        if not self._video.isOpened():
            raise CameraError(f"video {self._path} cannot be opened; it is damaged or of an unknown kind")
