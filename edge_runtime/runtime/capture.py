"""Capture child: owns the camera, writes pictures into ring slots, reopens a lost camera with back-off."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge_runtime.clock import NS_PER_MS, Clock
from edge_runtime.errors import CameraError, EdgeRuntimeError, EndOfPictures
from edge_runtime.interfaces import Camera
from edge_runtime.processes import freeze_garbage
from edge_runtime.runtime.channel import Channel
from edge_runtime.runtime.frame_ring import FrameRing
from edge_runtime.runtime.messages import (
    CameraTrouble,
    Capture,
    Captured,
    Loaded,
    Message,
    NewRecipes,
    NotCaptured,
    Ping,
    Pong,
    Ready,
    Stop,
    TakeOver,
)
from edge_runtime.runtime.slot_arrays import lies_in, picture_room, slot_arrays
from edge_runtime.vision.codes import CodeReader

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8

log = logging.getLogger(__name__)
REOPEN_FIRST_MS = 100.0
REOPEN_MAX_MS = 5000.0


@dataclass(frozen=True)
class CapturePlan:
    """What capture knows of the recipes with a template, by number: their digests, and the grey templates (H, W)."""

    digests: Mapping[int, str] = field(default_factory=dict)
    templates: Mapping[int, ImageU8] = field(default_factory=dict)


@dataclass
class CodeRule:
    """How the code in a picture becomes a recipe's number; `last` is that of the code before, 0 for an unknown one.

    A code that is not readable leaves the last number standing where `keep`, else the part is not inspected.
    """

    reader: CodeReader
    numbers: Mapping[str, int]
    keep: bool
    last: int | None = None

    def number(self, picture: ImageU8, asked: int) -> tuple[int, str]:
        """The recipe's number, 0 for none, and why the picture is unfit, or nothing. `asked` stands for a first one."""
        text = self.reader.read(picture)
        if text is None and not self.keep:
            return 0, "unreadable_code"
        if text is not None:
            if text not in self.numbers and self.last != 0:
                log.error("no recipe belongs to the code %r", text)
            self.last = self.numbers.get(text, 0)
        number = asked if self.last is None else self.last
        return number, "" if number else "unknown_code"


class CaptureServer:
    """Answers each Capture with Captured or NotCaptured, in order. Owns the camera.

    The template of the part's recipe is put into the slot beside its picture; one of another size is captured, but
    unfit. With a `code_rule` the code in the picture says which recipe that is.
    """

    def __init__(
        self,
        channel: Channel,
        ring: FrameRing,
        camera: Camera,
        clock: Clock,
        plan: CapturePlan,
        code_rule: CodeRule | None = None,
        load: Callable[[str], CapturePlan] | None = None,
    ) -> None:
        """`load` makes a plan of other settings, as JSON; it raises EdgeRuntimeError."""
        self._channel = channel
        self._ring = ring
        self._camera = camera
        self._plan = plan
        self._next_plan = 0, plan
        self._load = load
        self._code_rule = code_rule
        self._clock = clock
        self._is_open = False
        self._reopen_at_ns = 0
        self._backoff_ms = REOPEN_FIRST_MS

    def serve(self) -> None:
        """Open the camera, say Ready, answer until told to stop. Raises CameraError when it never opens."""
        self._camera.open()
        self._is_open = True
        self._populate()
        freeze_garbage()
        self._channel.send_patiently(Ready(digests=dict(self._plan.digests)))
        try:
            while True:
                message = self._channel.wait(REOPEN_FIRST_MS)
                if isinstance(message, Stop):
                    return
                self._answer(message)
                self._notice_loss()
                self._reopen_if_due()
        finally:
            self._camera.close()

    def _populate(self) -> None:
        try:
            self._ring.populate(with_template=bool(self._plan.templates))
        except OSError as exc:
            raise EdgeRuntimeError(
                f"no memory for {self._ring.layout.slot_count} pictures: {exc}; set fewer line.ring_slots or a smaller "
                "camera.width_px and height_px"
            ) from exc

    def _answer(self, message: Message | None) -> None:
        if isinstance(message, Capture):
            self._channel.send_patiently(self._capture(message))
        elif isinstance(message, NewRecipes):
            self._channel.send_patiently(self._loaded(message))
        elif isinstance(message, TakeOver):
            self._take_over(message.load_no)
        elif isinstance(message, Ping):
            self._channel.send_patiently(Pong())

    def _loaded(self, asked: NewRecipes) -> Loaded:
        try:
            plan = self._load(asked.settings) if self._load is not None else self._plan
        except EdgeRuntimeError as exc:
            return Loaded(asked.load_no, {}, str(exc)[:500])
        self._next_plan = asked.load_no, plan
        return Loaded(asked.load_no, dict(plan.digests))

    def _take_over(self, load_no: int) -> None:
        """Raises EdgeRuntimeError where this is not what lies here: started anew, capture has the plan in service."""
        loaded_no, plan = self._next_plan
        if loaded_no != load_no:
            raise EdgeRuntimeError(f"templates no. {load_no} are to be taken over, no. {loaded_no} are loaded")
        self._plan = plan

    def _capture(self, request: Capture) -> Message:
        if not self._is_open:
            return NotCaptured(request.slot, request.part_id, "camera_lost")
        try:
            return self._captured(request)
        except EndOfPictures:
            return NotCaptured(request.slot, request.part_id, "end_of_pictures", end=True)
        except CameraError as exc:
            self._lose(exc)
            return NotCaptured(request.slot, request.part_id, "camera_lost")

    def _captured(self, request: Capture) -> Message:
        asked_ns = self._clock.monotonic_ns()
        room = picture_room(self._ring, request.slot)
        taken = self._camera.capture(request.trigger_ns, request.timeout_ms, room)
        taken_ns = self._clock.monotonic_ns()
        if taken is None:
            return NotCaptured(request.slot, request.part_id, "no_frame")
        image, exposure = taken
        image_hw = (image.shape[0], image.shape[1])
        try:
            arrays = slot_arrays(self._ring, request.slot, image_hw, mask_stride_px=1)
        except ValueError as exc:
            log.error("picture %s of part %d: %s", exposure.label or "", request.part_id, exc)
            return NotCaptured(request.slot, request.part_id, "wrong_frame_size")
        if not lies_in(image, room):
            arrays.image[...] = image
        recipe, unfit, code_ms = self._recipe(request, arrays.image)
        unfit = unfit or self._add_template(recipe, arrays.template)
        return Captured(
            request.slot,
            request.part_id,
            image_hw,
            exposure.captured_ns,
            exposure.captured_at,
            recipe,
            label=exposure.label,
            unfit=unfit,
            code_ms=code_ms,
            asked_ns=asked_ns,
            taken_ns=taken_ns,
            stored_ns=self._clock.monotonic_ns(),
        )

    def _recipe(self, request: Capture, image: ImageU8) -> tuple[int, str, float | None]:
        """The number of the part's recipe, why it has none, and how long reading its code took."""
        if self._code_rule is None:
            return request.recipe, "", None
        started_ns = self._clock.monotonic_ns()
        number, unfit = self._code_rule.number(image, request.recipe)
        return number, unfit, (self._clock.monotonic_ns() - started_ns) / NS_PER_MS

    def _add_template(self, recipe: int, plane: ImageU8) -> str:
        """Copy the recipe's template into the slot's plane; why that cannot be, or nothing."""
        template = self._plan.templates.get(recipe)
        if template is None:
            return ""
        if template.shape != plane.shape:
            log.error("a picture of %s px came, the template has %s", plane.shape, template.shape)
            return "not_template_size"
        plane[...] = template
        return ""

    def _notice_loss(self) -> None:
        """A camera that goes while no part comes is a fault at once, not with the next part."""
        if not self._is_open:
            return
        try:
            self._camera.check()
        except CameraError as exc:
            self._lose(exc)

    def _lose(self, exc: CameraError) -> None:
        log.warning("camera is lost, trying again until it is back: %s", exc)
        self._camera.close()
        self._is_open = False
        self._channel.send_patiently(CameraTrouble(str(exc)[:500]))
        self._backoff_ms = REOPEN_FIRST_MS
        self._reopen_at_ns = self._clock.monotonic_ns()

    def _reopen_if_due(self) -> None:
        if self._is_open or self._clock.monotonic_ns() < self._reopen_at_ns:
            return
        try:
            self._camera.open()
            self._is_open = True
            self._channel.send_patiently(CameraTrouble(""))
            log.info("camera is back")
        except CameraError:
            self._camera.close()
            self._reopen_at_ns = self._clock.monotonic_ns() + round(self._backoff_ms * NS_PER_MS)
            self._backoff_ms = min(2 * self._backoff_ms, REOPEN_MAX_MS)
