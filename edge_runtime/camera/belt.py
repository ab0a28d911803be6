"""A camera above a simulated belt: it sees the part that really lies in front of it at the exposure, or none.

What lies there when is read from a file that the simulation writes before the belt starts, so nobody waits for
anybody. Pictures are for the `scripted` segmenter: a defect and an empty belt are marks of their own.
"""

from __future__ import annotations

import json
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.camera.pacing import WaitMs, sleep_ms
from edge_runtime.clock import NS_PER_MS, NS_PER_S
from edge_runtime.errors import CameraError
from edge_runtime.files import write_atomically
from edge_runtime.interfaces import Exposure

if TYPE_CHECKING:
    from edge_runtime.clock import Clock
    from edge_runtime.values import ImageU8

BELT_GREY, PART_GREY, DEFECT_GREY, NO_PART_GREY = 40, 60, 101, 106
NO_PART_LABEL = "belt/none"
KEPT_NS = NS_PER_S


@dataclass(frozen=True)
class InView:
    """Part `number` is in the picture from `from_ns` on, until before `to_ns` (monotonic)."""

    from_ns: int
    to_ns: int
    number: int
    defective: bool


@dataclass(frozen=True)
class BeltScript:
    """What the camera sees, in order of time without overlaps, and when the driver hangs (from_ns, to_ns)."""

    views: tuple[InView, ...]
    hangs: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if any(later.from_ns < sooner.to_ns for sooner, later in zip(self.views, self.views[1:], strict=False)):
            raise ValueError("two parts are in the picture at the same time: shorten the view or widen the spacing")

    def view_at(self, at_ns: int) -> InView | None:
        """The part in the picture, None for an empty belt."""
        index = bisect_right(self.views, at_ns, key=lambda view: view.from_ns) - 1
        return self.views[index] if index >= 0 and at_ns < self.views[index].to_ns else None

    def hangs_at(self, at_ns: int) -> bool:
        return any(from_ns <= at_ns < to_ns for from_ns, to_ns in self.hangs)


def write_script(path: Path, script: BeltScript) -> None:
    """Whole or not at all. Raises OSError."""
    views = [[view.from_ns, view.to_ns, view.number, view.defective] for view in script.views]
    write_atomically(path, json.dumps({"views": views, "hangs": script.hangs}).encode("ascii"))


def read_script(path: Path) -> BeltScript:
    """Raises CameraError for a file that `write_script` cannot have made."""
    try:
        told: dict[str, Any] = json.loads(path.read_bytes())
        views = tuple(InView(int(a), int(b), int(number), bool(defective)) for a, b, number, defective in told["views"])
        return BeltScript(views, tuple((int(from_ns), int(to_ns)) for from_ns, to_ns in told["hangs"]))
    except (OSError, ValueError, TypeError, KeyError) as exc:
        raise CameraError(f"belt camera: {path}: not a belt's script: {exc!r}") from exc


class BeltCamera:
    """Exposes at `rate_hz` and keeps the pictures of the last second, as a live camera's driver does.

    Before the script is there the belt is empty. An exposure's label is `belt/NUMBER`, or `belt/none`. One thread
    owns it; in a hang `capture` never returns.
    """

    def __init__(
        self, script: Path, image_hw: tuple[int, int], rate_hz: float, clock: Clock, wait_ms: WaitMs = sleep_ms
    ) -> None:
        self._path = script
        self._image_hw = image_hw
        self._period_ns = round(NS_PER_S / rate_hz)
        self._clock = clock
        self._wait_ms = wait_ms
        self._stamp: tuple[int, int] | None = None
        self._script = BeltScript(())
        self._pictures: Sequence[ImageU8] = ()
        self._last_ns = 0

    @property
    def image_hw(self) -> tuple[int, int]:
        return self._image_hw

    def open(self) -> None:
        self._pictures = [paint(self._image_hw, state) for state in (None, False, True)]

    def capture(
        self, trigger_ns: int | None, timeout_ms: float, room: ImageU8 | None = None
    ) -> tuple[ImageU8, Exposure] | None:
        if not self._pictures:
            raise CameraError("belt camera: not open; call open() first")
        now_ns = self._clock.monotonic_ns()
        self._read_if_new()
        while self._script.hangs_at(now_ns):
            time.sleep(1.0)
        exposed_ns = self._exposure_ns(trigger_ns, now_ns)
        if exposed_ns > now_ns:
            self._wait_ms(min((exposed_ns - now_ns) / NS_PER_MS, max(0.0, timeout_ms)))
        if self._clock.monotonic_ns() < exposed_ns or exposed_ns < now_ns - KEPT_NS:
            return None
        self._last_ns = exposed_ns
        view = self._script.view_at(exposed_ns)
        picture = self._pictures[0 if view is None else 1 + view.defective]
        label = NO_PART_LABEL if view is None else f"belt/{view.number}"
        return picture, Exposure(exposed_ns, self._clock.utc_now(), label)

    def check(self) -> None:
        """Nothing that could be lost."""

    def close(self) -> None:
        self._pictures = ()

    def _exposure_ns(self, trigger_ns: int | None, now_ns: int) -> int:
        """The first exposure at or after a trigger; without one the newest that was not yet shown."""
        if trigger_ns is not None:
            return -(-trigger_ns // self._period_ns) * self._period_ns
        return max(now_ns // self._period_ns * self._period_ns, self._last_ns + self._period_ns)

    def _read_if_new(self) -> None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return
        stamp = (status.st_ino, status.st_mtime_ns)
        if stamp != self._stamp:
            self._script, self._stamp = read_script(self._path), stamp


def paint(image_hw: tuple[int, int], defective: bool | None) -> ImageU8:
    """uint8 (H, W, 3): a good part, a defective one, or (None) the empty belt. Read-only."""
    height, width = image_hw
    image = np.full((height, width, 3), BELT_GREY, np.uint8)
    image[height // 8 : height - height // 8, width // 8 : width - width // 8] = PART_GREY
    if defective is None:
        image[...] = BELT_GREY
        image[height // 4 : height // 2, width // 4 : width // 2] = NO_PART_GREY
    elif defective:
        image[height // 3 : height // 2, width // 3 : width // 2] = DEFECT_GREY
    image.flags.writeable = False
    return image
