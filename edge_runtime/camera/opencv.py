"""Live cameras through OpenCV: V4L2 devices, RTSP and HTTP streams, GStreamer pipelines, videos at their own rate."""

from __future__ import annotations

import logging
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2

from edge_runtime.camera.live_reader import LiveReader
from edge_runtime.camera.native_logs import silence_native_logs
from edge_runtime.errors import CameraError, EndOfPictures
from edge_runtime.interfaces import Exposure
from edge_runtime.pictures import MAX_SIDE_PX
from edge_runtime.values import check_picture

if TYPE_CHECKING:
    from edge_runtime.clock import Clock
    from edge_runtime.values import ImageU8

OPEN_TIMEOUT_MS = 5000
READ_TIMEOUT_MS = 5000
_MANUAL_EXPOSURE = 1
_V4L2_BUFFERS = 2

log = logging.getLogger(__name__)


class _Source(NamedTuple):
    """What to open, with which backend, and how it is called in messages (without a password)."""

    target: int | str
    backend: int
    name: str
    is_file: bool = False


class OpenCvCamera:
    """`source` is a device number or path, an rtsp:// or http(s):// address, "gst:PIPELINE", or a video file.

    Free run gives the newest frame, a trigger the first one at or after it (see LiveReader for what a frame's time
    is). The size must be what the source gives: `open` refuses any other and says which it is; None takes what comes.
    `rate_hz`, `exposure` (the driver's own unit) and `pixel_format` (FOURCC) are set on V4L2 devices only; the driver
    must take the latter two. A lost camera raises CameraError at the next capture or check, a silent one after
    `READ_TIMEOUT_MS` (V4L2: OpenCV's own 10 s); a video file that is used up raises EndOfPictures. One thread owns
    it; it waits in real time.
    """

    def __init__(
        self,
        source: str,
        width_px: int | None,
        height_px: int | None,
        rate_hz: float | None,
        exposure: float | None,
        pixel_format: str | None,
        clock: Clock,
    ) -> None:
        self._address = source
        self._wanted_hw = (height_px, width_px)
        self._rate_hz = rate_hz
        self._exposure = exposure
        self._pixel_format = pixel_format
        self._clock = clock
        self._name = source
        self._is_file = False
        self._image_hw: tuple[int, int] | None = None
        self._reader: LiveReader | None = None

    @property
    def image_hw(self) -> tuple[int, int]:
        if self._image_hw is None:
            raise CameraError(f"camera {self._name}: not open; call open() first")
        return self._image_hw

    def open(self) -> None:
        self.close()
        silence_native_logs()
        source = parse_source(self._address)
        self._name, self._is_file = source.name, source.is_file
        video = _open_video(source)
        try:
            if source.backend == cv2.CAP_V4L2:
                self._configure(video)
            self._image_hw = self._checked_hw(video)
        except CameraError:
            video.release()
            raise
        period_s = 1 / max(1.0, video.get(cv2.CAP_PROP_FPS)) if source.is_file else 0.0
        self._reader = LiveReader(video, self._clock, source.backend == cv2.CAP_V4L2, period_s)

    def capture(
        self, trigger_ns: int | None, timeout_ms: float, room: ImageU8 | None = None
    ) -> tuple[ImageU8, Exposure] | None:
        if self._reader is None:
            raise CameraError(f"camera {self._name}: not open; call open() first")
        try:
            frame = self._reader.take(trigger_ns, timeout_ms)
        except EOFError as exc:
            raise self._end() from exc
        if frame is None:
            return None
        self._check_frame(frame.image)
        age = timedelta(microseconds=(self._clock.monotonic_ns() - frame.at_ns) / 1000)
        return frame.image, Exposure(frame.at_ns, self._clock.utc_now() - age)

    def check(self) -> None:
        if self._reader is not None and self._reader.ended and not self._is_file:
            raise self._end()

    def close(self) -> None:
        if self._reader is not None:
            self._reader.stop()
        self._reader = None

    def _end(self) -> CameraError:
        if self._is_file:
            return EndOfPictures(f"video {self._name}: all frames were shown")
        return CameraError(f"camera {self._name} gives no more pictures; check its cable, power and network")

    def _configure(self, video: cv2.VideoCapture) -> None:
        height, width = self._wanted_hw
        if self._pixel_format is not None:
            video.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*self._pixel_format))
        if width is not None and height is not None:
            video.set(cv2.CAP_PROP_FRAME_WIDTH, width)
            video.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
        if self._rate_hz is not None:
            video.set(cv2.CAP_PROP_FPS, self._rate_hz)
            log.info(
                "camera %s runs at %.1f Hz, asked for %.1f", self._name, video.get(cv2.CAP_PROP_FPS), self._rate_hz
            )
        video.set(cv2.CAP_PROP_BUFFERSIZE, _V4L2_BUFFERS)
        self._set_exposure(video)
        self._check_format(video)

    def _set_exposure(self, video: cv2.VideoCapture) -> None:
        if self._exposure is None:
            return
        video.set(cv2.CAP_PROP_AUTO_EXPOSURE, _MANUAL_EXPOSURE)
        if not video.set(cv2.CAP_PROP_EXPOSURE, self._exposure):
            raise CameraError(
                f"camera {self._name} does not take exposure {self._exposure}; `v4l2-ctl --list-ctrls` shows its range"
            )

    def _check_format(self, video: cv2.VideoCapture) -> None:
        got = int(video.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little", signed=True).decode("latin-1")
        if self._pixel_format not in (None, got):
            raise CameraError(
                f"camera {self._name} gives {got}, not {self._pixel_format};"
                " `v4l2-ctl --list-formats-ext` shows what it can"
            )

    def _checked_hw(self, video: cv2.VideoCapture) -> tuple[int, int]:
        height, width = (int(video.get(p)) for p in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH))
        if self._wanted_hw[0] not in (None, height) or self._wanted_hw[1] not in (None, width):
            raise CameraError(
                f"camera {self._name} gives {width}x{height} px, not {self._wanted_hw[1]}x{self._wanted_hw[0]};"
                f" set camera.width_px = {width} and camera.height_px = {height}, or another size it has"
            )
        if not (1 <= height <= MAX_SIDE_PX and 1 <= width <= MAX_SIDE_PX):
            raise CameraError(f"camera {self._name} gives {width}x{height} px; sides must lie in 1..{MAX_SIDE_PX}")
        return height, width

    def _check_frame(self, image: ImageU8) -> None:
        try:
            check_picture(image)
        except ValueError as exc:
            raise CameraError(f"camera {self._name}: {exc}; choose another pixel_format") from exc
        if image.shape[:2] != self._image_hw:
            raise CameraError(f"camera {self._name} changed its picture from {self._image_hw} to {image.shape[:2]} px")


def parse_source(address: str) -> _Source:
    """Which backend opens `address`. Raises CameraError when this OpenCV cannot, or the file does not exist."""
    if address.startswith("gst:"):
        return _gstreamer(address)
    if re.match(r"(rtsps?|https?)://", address):
        return _Source(address, cv2.CAP_FFMPEG, re.sub(r"(?<=://)[^/]*@", "***@", address))
    device = f"/dev/video{address}" if address.isdecimal() else address
    if device.startswith("/dev/"):
        path = Path(device).resolve()
        if not path.exists():
            raise CameraError(f"camera {device} does not exist; `v4l2-ctl --list-devices` shows those that do")
        return _Source(str(path), cv2.CAP_V4L2, device)
    if not Path(address).is_file():
        raise CameraError(f"camera source {address!r} is neither a device, an address, gst:PIPELINE nor a video file")
    return _Source(address, cv2.CAP_FFMPEG, address, is_file=True)


def _gstreamer(address: str) -> _Source:
    if not re.search(r"GStreamer:\s+YES", cv2.getBuildInformation()):
        raise CameraError(
            f"camera {address}: this OpenCV is built without GStreamer;"
            " install the board's own OpenCV or use a device or an rtsp:// address"
        )
    return _Source(address.removeprefix("gst:"), cv2.CAP_GSTREAMER, address)


def _open_video(source: _Source) -> cv2.VideoCapture:
    timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_TIMEOUT_MS]
    has_timeouts = source.backend == cv2.CAP_FFMPEG and not source.is_file
    video = cv2.VideoCapture(source.target, source.backend, timeouts if has_timeouts else [])
    if not video.isOpened():
        raise CameraError(
            f"camera {source.name} cannot be opened; check that it is connected, powered, reachable and not in use"
        )
    return video
