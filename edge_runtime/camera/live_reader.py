"""Takes every frame of a live stream as it comes, so that none grows old in a buffer."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from edge_runtime.clock import NS_PER_MS, NS_PER_S

if TYPE_CHECKING:
    from edge_runtime.clock import Clock
    from edge_runtime.values import ImageU8

KEPT_FRAMES = 3
_JOIN_TIMEOUT_S = 1.0


class LiveFrame(NamedTuple):
    """`at_ns` monotonic; `image` is the taker's until the next take."""

    image: ImageU8
    at_ns: int


class LiveReader:
    """A thread that owns `video` from here on, releases it at the end, and keeps the latest `KEPT_FRAMES` frames.

    A frame's time is the driver's own stamp where that is proved to be this machine's monotonic clock (a V4L2 stamp
    less than a second old), else the moment its grab returned, which lies after the exposure. After the first failed
    grab the thread ends: nothing spins on a camera that is gone. `period_s` slows a file down to its own rate.
    Frames are decoded into memory that is used over and over: fresh memory for each would cost more than the decoding.
    `take` and `stop` are called by one other thread.
    """

    def __init__(self, video: cv2.VideoCapture, clock: Clock, has_driver_stamps: bool, period_s: float = 0.0) -> None:
        self._video = video
        self._clock = clock
        self._has_driver_stamps = has_driver_stamps
        self._period_s = period_s
        self._changed = threading.Condition()
        self._frames: deque[LiveFrame] = deque()
        self._spare: list[ImageU8] = []
        self._taken: LiveFrame | None = None
        self._lost_ns = 0
        self._ended = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live-reader", daemon=True)
        self._thread.start()

    def take(self, trigger_ns: int | None, timeout_ms: float) -> LiveFrame | None:
        """The newest frame not yet taken, or the first at or after `trigger_ns`; None after `timeout_ms` without one.

        None at once when the frame for `trigger_ns` was pushed out by later ones: a later one may show another part.
        Raises EOFError when the stream has ended and nothing fitting is left.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._fits(trigger_ns), max(0.0, timeout_ms) / 1000)
            if self._taken is not None:
                self._spare.append(self._taken.image)
            self._taken = self._pick(trigger_ns) if self._fits(trigger_ns) else None
            if self._taken is None and self._ended and not self._fits(trigger_ns):
                raise EOFError
            return self._taken

    @property
    def ended(self) -> bool:
        """Whether no more frames will come."""
        return self._ended

    def stop(self) -> None:
        """End the thread; one that hangs in a driver is left behind and lets go of the camera when it wakes."""
        self._stop.set()
        self._thread.join(_JOIN_TIMEOUT_S)

    def _fits(self, trigger_ns: int | None) -> bool:
        if trigger_ns is None:
            return bool(self._frames)
        return self._lost_ns >= trigger_ns or any(frame.at_ns >= trigger_ns for frame in self._frames)

    def _pick(self, trigger_ns: int | None) -> LiveFrame | None:
        if trigger_ns is None:
            while len(self._frames) > 1:
                self._drop_oldest()
            return self._frames.popleft()
        if self._lost_ns >= trigger_ns:
            return None
        while self._frames[0].at_ns < trigger_ns:
            self._drop_oldest()
        return self._frames.popleft()

    def _drop_oldest(self) -> LiveFrame:
        frame = self._frames.popleft()
        self._spare.append(frame.image)
        return frame

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._period_s):
                frame = self._grab()
                if frame is None:
                    return
                self._keep(frame)
        finally:
            self._video.release()
            with self._changed:
                self._ended = True
                self._changed.notify()

    def _grab(self) -> LiveFrame | None:
        try:
            if not self._video.grab():
                return None
            at_ns = self._stamp_ns()
            with self._changed:
                spare = self._spare.pop() if self._spare else None
            done, image = self._video.retrieve(spare)
        except cv2.error:
            return None
        return LiveFrame(np.asarray(image, np.uint8), at_ns) if done else None

    def _stamp_ns(self) -> int:
        now_ns = self._clock.monotonic_ns()
        if self._has_driver_stamps:
            stamp_ns = round(self._video.get(cv2.CAP_PROP_POS_MSEC) * NS_PER_MS)
            if 0 <= now_ns - stamp_ns < NS_PER_S:
                return stamp_ns
        return now_ns

    def _keep(self, frame: LiveFrame) -> None:
        with self._changed:
            if len(self._frames) == KEPT_FRAMES:
                self._lost_ns = self._drop_oldest().at_ns
            self._frames.append(frame)
            self._changed.notify()
