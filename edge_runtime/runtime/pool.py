"""The inspection workers without a line: pictures in, verdicts out, one by one. For commands and benchmarks."""

from __future__ import annotations

import contextlib
import logging
import select
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_runtime.clock import NS_PER_MS, NS_PER_S, Clock
from edge_runtime.errors import InferenceError
from edge_runtime.runtime.channel import ChannelClosed
from edge_runtime.runtime.children import Child
from edge_runtime.runtime.frame_ring import FrameRing
from edge_runtime.runtime.messages import Failed, Inspect, Inspected, Left, Message, MessageError, Ready, Stop
from edge_runtime.runtime.recipes import RecipeFacts
from edge_runtime.runtime.slot_arrays import SlotArrays, slot_arrays
from edge_runtime.values import NO_TILES, Mask, Outcome, TileCounts, Verdict

if TYPE_CHECKING:
    from edge_runtime.values import ImageU8

log = logging.getLogger(__name__)
SLOT = 0
PACED_SLOTS, PACED_MIN = (0, 1), 3


@dataclass(frozen=True)
class PoolResult:
    """A picture's verdict, its mask (a copy; None when not inspected), what became of its tiles, and times.

    `tile_px`, `engine`: the tiles' side and what computed them, 0 and "" when not inspected. `ms`: frame (request to
    verdict), tiles, decide, and predict (sum over all workers).
    """

    verdict: Verdict
    mask: Mask | None
    tiles: int
    ms: dict[str, float]
    counts: TileCounts = NO_TILES
    tile_px: int = 0
    engine: str = ""


class InspectionPool:
    """Owns its workers and the ring, for one `with`; one that dies or hangs costs a picture and starts anew."""

    def __init__(
        self,
        workers: Sequence[Child],
        ring: FrameRing,
        mask_stride_px: int,
        takes_template: bool,
        recipe: RecipeFacts,
        clock: Clock,
    ) -> None:
        self._workers = workers
        self._ring = ring
        self._mask_stride_px = mask_stride_px
        self._takes_template = takes_template
        self._recipe = recipe
        self._clock = clock
        self._part_id = 0
        self._last_failure = ""

    def __enter__(self) -> InspectionPool:
        self._start_missing()
        return self

    def __exit__(self, *exc: object) -> None:
        for worker in self._workers:
            worker.tell(Stop())
        for worker in [w for w in self._workers if w.running]:
            worker.kill()
            worker.reap(self._clock.monotonic_ns())
        with contextlib.suppress(BufferError):  # an error on its way out may still hold a view
            self._ring.close()

    @property
    def pids(self) -> tuple[int, ...]:
        """The workers that run."""
        return tuple(worker.pid for worker in self._workers if worker.running)

    def inspect(self, image: ImageU8, template: ImageU8 | None = None) -> PoolResult:
        """Inspect one picture, uint8 (H, W, 3), with the grey template (H, W) that the model may need.

        NOT_INSPECTED when a worker is lost. Raises InferenceError when the workers cannot be started, ValueError when
        the picture does not fit the ring, or the template the model or the picture.
        """
        arrays = self._lay(SLOT, image, template)
        self._start_missing()
        asked_ns = self._ask(SLOT, (image.shape[0], image.shape[1]))
        answer, answered_ns, lefts = self._collect()
        predict_ms = sum(left.predict_ms for left in lefts)
        ms = {"frame": (answered_ns - asked_ns) / NS_PER_MS, "predict": predict_ms}
        if answer is None:
            return PoolResult(self._lost_verdict(answered_ns), None, sum(left.tiles for left in lefts), ms)
        mask = Mask(arrays.class_ids.copy(), arrays.scores.copy(), self._mask_stride_px)
        ms |= answer.stage_ms
        counts = answer.tile_counts
        return PoolResult(answer.verdict, mask, counts.computed, ms, counts, answer.tile_px, answer.engine)

    def pace_s(self, image: ImageU8, template: ImageU8 | None, seconds: float) -> float:
        """Seconds a frame when the next picture always waits, as on a busy line: over `seconds`, at least `PACED_MIN`.

        The picture is in its slot already. Raises InferenceError when a worker is lost, after which the pool is of no
        use, and as `inspect`.
        """
        for slot in PACED_SLOTS:
            self._lay(slot, image, template)
        self._start_missing()
        everybody = set(range(len(self._workers)))
        inside: dict[int, tuple[int, set[int]]] = {}
        done_ns: list[int] = []
        until_ns = self._clock.monotonic_ns() + round(seconds * NS_PER_S)
        while inside or not done_ns:
            for slot in set(PACED_SLOTS) - {slot for slot, _ in inside.values()}:
                if len(done_ns) + len(inside) < PACED_MIN or self._clock.monotonic_ns() < until_ns:
                    self._ask(slot, (image.shape[0], image.shape[1]))
                    inside[self._part_id] = (slot, set(everybody))
            for index, message in self._next_messages(everybody):
                if message is None:
                    raise InferenceError(self._last_failure or f"{self._workers[index].spec.name} is lost")
                if isinstance(message, Left):
                    now_ns = self._clock.monotonic_ns()
                    self._workers[index].answered(now_ns)
                    inside[message.part_id][1].discard(index)
                    if not inside[message.part_id][1]:
                        del inside[message.part_id]
                        done_ns.append(now_ns)
        return (done_ns[-1] - done_ns[0]) / (len(done_ns) - 1) / NS_PER_S

    # -- inside -------------------------------------------------------------------------------------------------

    def _lay(self, slot: int, image: ImageU8, template: ImageU8 | None) -> SlotArrays:
        image_hw = (image.shape[0], image.shape[1])
        if (template is not None) != self._takes_template:
            raise ValueError("the model needs a template" if template is None else "the model takes no template")
        if template is not None and template.shape != image_hw:
            raise ValueError(f"the template has {template.shape} px, the picture {image_hw}")
        arrays = slot_arrays(self._ring, slot, image_hw, self._mask_stride_px)
        arrays.image[...] = image
        if template is not None:
            arrays.template[...] = template
        return arrays

    def _ask(self, slot: int, image_hw: tuple[int, int]) -> int:
        """Give the slot's picture to the workers as a new part; when (monotonic ns)."""
        self._part_id += 1
        asked_ns = self._clock.monotonic_ns()
        self._ring.start(slot, self._part_id)
        for worker in self._workers:
            worker.ask(Inspect(slot, self._part_id, image_hw, self._recipe.number), asked_ns)
        return asked_ns

    def _collect(self) -> tuple[Inspected | None, int, list[Left]]:
        """Wait until every worker has left the slot or is gone."""
        answer, answered_ns, lefts = None, 0, []
        inside = set(range(len(self._workers)))
        while inside:
            for index, message in self._next_messages(inside):
                now_ns = self._clock.monotonic_ns()
                if isinstance(message, Inspected):
                    answer, answered_ns = message, now_ns
                elif isinstance(message, Left):
                    self._workers[index].answered(now_ns)
                    lefts.append(message)
                    inside.discard(index)
                elif message is None:
                    inside.discard(index)
                    self._ring.cancel(SLOT)
        return answer, answered_ns or self._clock.monotonic_ns(), lefts

    def _next_messages(self, inside: set[int]) -> list[tuple[int, Message | None]]:
        """What the workers say next; None for one that is gone (or is killed here because it hangs)."""
        poller, by_fd = select.poll(), {}
        for index in inside:
            worker = self._workers[index]
            if worker.channel is not None:
                by_fd[worker.channel.fileno()] = index
                poller.register(worker.channel.fileno(), select.POLLIN)
            overdue_ns = worker.overdue_ns()
            if overdue_ns is not None and self._clock.monotonic_ns() >= overdue_ns:
                log.error("%s has not answered in time; killing it", worker.spec.name)
                worker.kill()
        return [(by_fd[fd], self._receive(self._workers[by_fd[fd]])) for fd, _ in poller.poll(100)]

    def _receive(self, worker: Child) -> Message | None:
        assert worker.channel is not None
        try:
            message = worker.channel.receive()
        except (ChannelClosed, MessageError):
            worker.kill()
            log.error("%s %s", worker.spec.name, worker.reap(self._clock.monotonic_ns()))
            return None
        if isinstance(message, Failed):
            self._last_failure = message.reason
            log.error("%s: %s", worker.spec.name, message.reason)
        return message

    def _start_missing(self) -> None:
        starting = {index for index, worker in enumerate(self._workers) if not worker.running}
        for index in starting:
            self._workers[index].start(self._clock.monotonic_ns())
        while starting:
            for index, message in self._next_messages(starting):
                if message is None:
                    raise InferenceError(self._last_failure or f"{self._workers[index].spec.name} does not start")
                if isinstance(message, Ready):
                    self._workers[index].greet(self._clock.monotonic_ns())
                    starting.discard(index)

    def _lost_verdict(self, now_ns: int) -> Verdict:
        model_id, recipe_id = self._recipe.model_id, self._recipe.name
        return Verdict(self._part_id, Outcome.NOT_INSPECTED, ("worker_lost",), (), 0, now_ns, model_id, recipe_id)
