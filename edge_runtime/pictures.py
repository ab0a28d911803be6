"""Reading a picture from disk: the one function that does it, strict about what it accepts."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.errors import CameraError

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
MAX_SIDE_PX = 8192
_MAX_FILE_BYTES = 1 << 29
_FORMATS = "PNG, JPEG, BMP and TIFF"

_UNTOUCHED = np.frombuffer(b"no picture here!", np.uint8)

_Data = bytes | mmap.mmap


def read_picture(path: Path, room: ImageU8 | None = None) -> ImageU8:
    """The picture in a PNG, JPEG, BMP or TIFF file (told by its content): uint8 (H, W, 3) BGR, contiguous.

    Grey and 1-bit pictures become BGR, alpha is dropped, an EXIF rotation is not applied, of several pages the first
    is read. Sides up to `MAX_SIDE_PX`, checked before decoding. It lies at the beginning of `room`, flat uint8 memory,
    where that is given and large enough. Raises CameraError, naming the file, for anything else: absent, empty,
    truncated, too large, 16-bit.
    """
    if room is not None and (done := _read_into(path, room)) is not None:
        return done
    data = _read_file(path)
    hw = _header_hw(path, data)
    decoded = _decode(data)
    if decoded is None:
        raise CameraError(f"picture {path} is damaged and cannot be decoded; save it anew as PNG")
    if decoded.dtype != np.uint8:
        raise CameraError(f"picture {path} has {decoded.dtype} pixels; convert it to 8 bits a channel")
    return _as_bgr(np.asarray(decoded, np.uint8), None if room is None else place_in(room, hw))


def place_in(room: ImageU8, image_hw: tuple[int, int]) -> ImageU8 | None:
    """The beginning of flat memory as a picture (H, W, 3); None when it is too small."""
    byte_count = 3 * image_hw[0] * image_hw[1]
    return room[:byte_count].reshape(*image_hw, 3) if byte_count <= room.size else None


def put_in(room: ImageU8 | None, image: ImageU8) -> ImageU8:
    """A copy at the beginning of `room`; the picture itself where there is none or it is too small."""
    place = None if room is None else place_in(room, (image.shape[0], image.shape[1]))
    if place is None:
        return image
    place[...] = image
    return place


def read_grey_picture(path: Path) -> ImageU8:
    """As `read_picture`, but grey: uint8 (H, W)."""
    return grey_of(read_picture(path))


def grey_of(picture: ImageU8) -> ImageU8:
    """A BGR picture (H, W, 3) in OpenCV's grey (H, W); three equal channels keep their value."""
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.uint8)


def picture_hw(path: Path) -> tuple[int, int]:
    """Height and width as the file's header tells, without decoding. Raises CameraError."""
    _check_regular(path)
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _header_hw(path, data)
    except (OSError, ValueError) as exc:
        raise CameraError(f"picture {path} cannot be read: {exc}") from exc


def _header_hw(path: Path, data: _Data) -> tuple[int, int]:
    """Height and width from `data`, the whole content of `path`; CameraError unless complete and in range."""
    reader = next((read for magic, read in _READERS.items() if data[: len(magic)] == magic), None)
    if reader is None:
        raise CameraError(f"{path} is not a picture this program reads: {_FORMATS}")
    try:
        height, width = reader(data)
    except (struct.error, IndexError, ValueError) as exc:
        raise CameraError(f"picture {path} is truncated or damaged: {exc}; copy or save it anew") from exc
    if not (1 <= height <= MAX_SIDE_PX and 1 <= width <= MAX_SIDE_PX):
        raise CameraError(f"picture {path} is {width}x{height} px; sides must lie in 1..{MAX_SIDE_PX}: cut or scale it")
    return height, width


def _read_file(path: Path) -> bytes:
    try:
        _check_regular(path)
        size_bytes = path.stat().st_size
        if not 0 < size_bytes <= _MAX_FILE_BYTES:
            raise CameraError(f"picture {path} has {size_bytes} bytes; 1..{_MAX_FILE_BYTES} are accepted")
        return path.read_bytes()
    except OSError as exc:
        raise CameraError(f"picture {path} cannot be read: {exc}") from exc


def _check_regular(path: Path) -> None:
    """Before it is opened: a named pipe without a writer would keep its reader for ever."""
    if not path.is_file():
        raise CameraError(f"picture {path} does not exist or is no regular file")


def _read_into(path: Path, room: ImageU8) -> ImageU8 | None:
    """The picture decoded straight into `room`; None for one that needs more than that, or cannot be read.

    OpenCV gives its output back as it was when it cannot begin: the mark tells that from a picture. One that happens
    to start with the mark is read the long way.
    """
    image = place_in(room, picture_hw(path))
    if image is None or image.size < len(_UNTOUCHED):
        return None
    room[: len(_UNTOUCHED)] = _UNTOUCHED
    with suppress(OSError, cv2.error), path.open("rb") as file, _silent_opencv():
        # By descriptor: OpenCV takes no name that is not UTF-8.
        decoded = cv2.imread(f"/proc/self/fd/{file.fileno()}", image, cv2.IMREAD_UNCHANGED)
        if decoded is not None and not np.array_equal(room[: len(_UNTOUCHED)], _UNTOUCHED):
            return image
    return None


@contextmanager
def _silent_opencv() -> Iterator[None]:
    """OpenCV's own report of a damaged file is silenced: the caller tells it with the file's name."""
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def _decode(data: bytes) -> npt.NDArray[Any] | None:
    with _silent_opencv(), suppress(cv2.error):
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return None


def _as_bgr(pixels: ImageU8, out: ImageU8 | None) -> ImageU8:
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels in (1, 2):
        grey = np.ascontiguousarray(pixels.reshape(*pixels.shape[:2], channels)[..., 0])
        return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR, dst=out), np.uint8)
    return np.ascontiguousarray(pixels[..., :3])


def _png_hw(data: _Data) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", data, 16)
    if data.rfind(b"IEND", max(0, len(data) - 4096)) < 0:
        raise ValueError("its end is missing")
    return height, width


def _bmp_hw(data: _Data) -> tuple[int, int]:
    (pixels_at,) = struct.unpack_from("<I", data, 10)
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    height = abs(height)  # negative: stored top down
    if compression == 0 and len(data) < pixels_at + (width * bits + 31) // 32 * 4 * height:
        raise ValueError("its end is missing")
    return height, width


def _jpeg_hw(data: _Data) -> tuple[int, int]:
    hw: tuple[int, int] | None = None
    for marker, at in _jpeg_segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            hw = struct.unpack_from(">HH", data, at + 3)
        if marker == 0xDA and hw is not None:
            if data.find(b"\xff\xd9", at) < 0:
                raise ValueError("its end is missing")
            return hw
    raise ValueError("no image segment")


def _jpeg_segments(data: _Data) -> Iterator[tuple[int, int]]:
    """(marker, offset of its length field) of each segment up to the first scan."""
    at = 2
    while at < len(data):
        if data[at] != 0xFF:
            raise ValueError(f"no marker at byte {at}")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        yield marker, at + 2
        (length,) = struct.unpack_from(">H", data, at + 2)
        at += 2 + length


def _tiff_hw(data: _Data) -> tuple[int, int]:
    order = "<" if data[:2] == b"II" else ">"
    (directory,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, directory)
    sizes = {}
    for entry in range(directory + 2, directory + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", data, entry)
        if tag in (256, 257):
            (sizes[tag],) = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, entry + 8)
    if len(sizes) != 2:
        raise ValueError("no size in its first directory")
    return sizes[257], sizes[256]


_READERS: dict[bytes, Callable[[_Data], tuple[int, int]]] = {
    b"\x89PNG\r\n\x1a\n": _png_hw,
    b"\xff\xd8\xff": _jpeg_hw,
    b"BM": _bmp_hw,
    b"II*\x00": _tiff_hw,
    b"MM\x00*": _tiff_hw,
}
