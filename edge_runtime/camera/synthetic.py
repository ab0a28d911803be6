"""A camera above an endless line of made-up boards, for demonstrations and tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_runtime.camera.pacing import Pacer, WaitMs, sleep_ms
from edge_runtime.errors import CameraError, EndOfPictures
from edge_runtime.interfaces import Exposure
from edge_runtime.pictures import put_in
from edge_runtime.vision.boards import CAMERA, BoardStyle, paint_board

if TYPE_CHECKING:
    from edge_runtime.clock import Clock
    from edge_runtime.values import ImageU8

MAX_KEPT_BYTES = 1 << 30


class SyntheticCamera:
    """Gives board `first_index`, `first_index` + 1, … of series `seed`; `EndOfPictures` after `parts` of them.

    An exposure's label is "SEED/INDEX": `paint_board(seed, index, image_hw, style)` gives its truth again. Painting
    takes longer than a fast line allows (about 15 ms at 640x640, 150 ms at 2048x2048), so with `distinct` > 0 that
    many boards are painted at `open` and shown over and over, labelled with the board really shown; they must fit in
    `MAX_KEPT_BYTES`. With 0 each board is painted anew, before the wait for its exposure. A closed and reopened
    camera goes on with the next board. Pictures in its own memory are read-only. One thread owns it.
    """

    def __init__(
        self,
        image_hw: tuple[int, int],
        seed: int,
        style: BoardStyle = CAMERA,
        rate_hz: float | None = None,
        *,
        clock: Clock,
        first_index: int = 0,
        distinct: int = 0,
        parts: int | None = None,
        wait_ms: WaitMs = sleep_ms,
    ) -> None:
        self._image_hw = image_hw
        self._seed = seed
        self._style = style
        self._clock = clock
        self._pacer = Pacer(rate_hz, clock, wait_ms)
        self._first_index = first_index
        self._distinct = distinct
        self._parts = parts
        self._shown = 0
        self._kept: dict[int, ImageU8] = {}
        self._is_open = False

    @property
    def image_hw(self) -> tuple[int, int]:
        return self._image_hw

    def open(self) -> None:
        self.close()
        needed_bytes = self._distinct * self._image_hw[0] * self._image_hw[1] * 3
        if needed_bytes > MAX_KEPT_BYTES:
            raise CameraError(
                f"synthetic camera: {self._distinct} distinct boards need {needed_bytes >> 20} MiB, at most"
                f" {MAX_KEPT_BYTES >> 20} are kept; lower distinct or the picture size"
            )
        for step in range(self._distinct):
            self._kept[self._first_index + step] = self._paint(self._first_index + step)
        self._is_open = True

    def capture(
        self, trigger_ns: int | None, timeout_ms: float, room: ImageU8 | None = None
    ) -> tuple[ImageU8, Exposure] | None:
        if not self._is_open:
            raise CameraError("synthetic camera: not open; call open() first")
        if self._parts is not None and self._shown >= self._parts:
            raise EndOfPictures(f"synthetic camera: all {self._parts} boards were shown")
        index = self._first_index + (self._shown % self._distinct if self._distinct else self._shown)
        if index not in self._kept:
            self._kept = {index: self._paint(index)}
        captured_ns = self._pacer.wait_for_exposure(trigger_ns, timeout_ms)
        if captured_ns is None:
            return None
        self._shown += 1
        image = self._kept[index] if self._distinct else put_in(room, self._kept.pop(index))
        return image, Exposure(captured_ns, self._clock.utc_now(), f"{self._seed}/{index}")

    def check(self) -> None:
        """Nothing that could be lost."""

    def close(self) -> None:
        self._kept = {}
        self._is_open = False

    def _paint(self, index: int) -> ImageU8:
        image = paint_board(self._seed, index, self._image_hw, self._style).image
        image.flags.writeable = False
        return image
