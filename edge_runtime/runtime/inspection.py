"""Inspection child: a predictor for each model; shares the tiles of each frame with its siblings through the ring."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING
from zlib import crc32

from edge_runtime.clock import NS_PER_MS, Clock
from edge_runtime.errors import InferenceError
from edge_runtime.interfaces import Segmenter
from edge_runtime.pictures import grey_of
from edge_runtime.processes import freeze_garbage
from edge_runtime.runtime.channel import Channel
from edge_runtime.runtime.frame_ring import FrameRing, TileFate
from edge_runtime.runtime.messages import Inspect, Inspected, Left, Ping, Pong, Ready, Stop
from edge_runtime.runtime.slot_arrays import SlotArrays, slot_arrays
from edge_runtime.runtime.tile_gate import (
    TileGate,
    audit_fate,
    counts_of,
    missed_tiles,
    skip_tile,
    tiles_to_ask,
    tiles_with,
)
from edge_runtime.values import DefectClass, Mask, Recipe, TilePlan, Verdict
from edge_runtime.vision.blobs import LocatedDefects, Thresholds, defect_batches, locate_defects, reach_cells
from edge_runtime.vision.decision import counted, make_verdict
from edge_runtime.vision.defect_columns import DefectColumns
from edge_runtime.vision.preprocess import cut_tile
from edge_runtime.vision.regions import clear_unwatched
from edge_runtime.vision.registration import register_template
from edge_runtime.vision.stitching import core_cells, place_core
from edge_runtime.vision.tile_plan import tiles_for

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edge_runtime.values import Box, ImageU8

    Bools = npt.NDArray[np.bool_]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InspectionPlan:
    """A recipe, and predictor, classes and gate of its model; `engine`: what computes, as records name it.

    Recipes of one model share its predictor.
    """

    segmenter: Segmenter
    classes: Sequence[DefectClass]
    recipe: Recipe
    model_id: str
    digest: str
    engine: str
    gate: TileGate | None = None


class RecipeWork:
    """All that one recipe takes, ready for its next frame. One thread owns it."""

    def __init__(self, plan: InspectionPlan) -> None:
        self.gate = plan.gate
        self.takes_template = plan.segmenter.input_contract.template
        self.mask_stride_px = plan.segmenter.mask_stride_px
        self.tiles = lru_cache(maxsize=32)(self._plan_tiles)
        self.model_id, self.engine = plan.model_id, plan.engine
        self._engine_digest = crc32(plan.engine.encode())
        self._plan = plan
        self._segmenter, self._tile_px = plan.segmenter, plan.segmenter.input_contract.tile_px
        self._thresholds = Thresholds(plan.classes)
        self._class_names = {each.class_id: each.name for each in plan.classes}

    def digest(self, plan: TilePlan) -> int:
        """1..2^32 - 1, in every process the same for the same tiles by the same engine."""
        return plan.digest ^ self._engine_digest or 1

    def predict(self, arrays: SlotArrays, origin_yx: tuple[int, int]) -> tuple[ImageU8, ImageU8]:
        """A tile's class ids and scores, valid until the next call."""
        picture = cut_tile(arrays.image, origin_yx, self._tile_px)
        template = cut_tile(arrays.template, origin_yx, self._tile_px) if self.takes_template else None
        return self._segmenter.predict(picture, template)

    def spot(self, arrays: SlotArrays, plan: TilePlan, index: int) -> Box | None:
        """The box of the mask's cells around what tile `index`, computed, gives to decide on; None: it is clean."""
        rows, columns = core_cells(plan, index, self.mask_stride_px)
        box = self._thresholds.box_xyxy(arrays.class_ids[rows, columns], arrays.scores[rows, columns])
        if box is None:
            return None
        x0, y0, x1, y1 = box
        return x0 + columns.start, y0 + rows.start, x1 + columns.start, y1 + rows.start

    def decide(self, request: Inspect, arrays: SlotArrays, spotted: Box | None, clock: Clock) -> Verdict:
        """The verdict on a frame whose tiles are all done, and of which `spotted` holds all that is not clean."""
        plan = self._plan
        for plane in (arrays.class_ids, arrays.scores):
            clear_unwatched(plane, plan.recipe, self.mask_stride_px)
        return make_verdict(
            part_id=request.part_id,
            batches=self._batches(arrays, request.image_hw, spotted),
            recipe=plan.recipe,
            class_names=self._class_names,
            now_ns=clock.monotonic_ns,
            model_id=plan.model_id,
            recipe_id=plan.recipe.name,
        )

    def audit(self, arrays: SlotArrays, plan: TilePlan, index: int) -> TileFate:
        """What this recipe makes of a tile that was computed although the gate called it clean."""
        batches = self._batches(arrays, plan.image_hw, self.spot(arrays, plan, index))
        return audit_fate(batches, self._counts, plan.cores_xyxy_px[index], plan.image_hw, self._plan.recipe.join_px)

    def locate(self, arrays: SlotArrays, plan: TilePlan, spotted: Box | None) -> LocatedDefects:
        """All defects of a frame whose tiles are done, and their cells. `spotted` as in `decide`."""
        mask = Mask(arrays.class_ids, arrays.scores, self.mask_stride_px)
        return locate_defects(mask, self._plan.classes, self._plan.recipe, plan.image_hw, spotted)

    def tiles_to_ask(self, found: LocatedDefects, plan: TilePlan, fates: Sequence[TileFate]) -> list[int]:
        """The skipped tiles that may tell more of what the doubted ones hold."""
        reach = reach_cells(self._plan.recipe, self.mask_stride_px)
        return tiles_to_ask(found, plan, fates, self.mask_stride_px, reach)

    def missed_tiles(self, found: LocatedDefects, plan: TilePlan, fates: Sequence[TileFate]) -> list[int]:
        """The doubted tiles that hold a piece of a defect that the recipe counts, when there are none to ask."""
        return missed_tiles(found, self._counts, plan, fates, self.mask_stride_px)

    def _batches(self, arrays: SlotArrays, image_hw: tuple[int, int], within: Box | None) -> Iterable[DefectColumns]:
        """The defects in the box of the mask's cells that holds all there is to look at; None: there is nothing."""
        mask = Mask(arrays.class_ids, arrays.scores, self.mask_stride_px)
        return defect_batches(mask, self._plan.classes, self._plan.recipe, image_hw, within) if within else ()

    def _counts(self, found: DefectColumns) -> Bools:
        return counted(found, self._plan.recipe, self._class_names)

    def _plan_tiles(self, image_hw: tuple[int, int]) -> TilePlan:
        return tiles_for(self._segmenter.input_contract, self.mask_stride_px, image_hw, self._plan.recipe)


class InspectionWorker:
    """Inspects each frame by the recipe it is asked for. Writes only the cores of the tiles it claimed."""

    def __init__(
        self,
        index: int,
        channel: Channel,
        ring: FrameRing,
        plans: Mapping[int, InspectionPlan],
        clock: Clock,
        engines: str = "",
    ) -> None:
        """`plans`: the recipes by their numbers; `engines`: what runs their models, in words."""
        self._index = index
        self._channel = channel
        self._ring = ring
        self._digests = {number: plan.digest for number, plan in plans.items()}
        self._works = {number: RecipeWork(plan) for number, plan in plans.items()}
        self._clock = clock
        self._engines = engines

    def serve(self) -> None:
        """Work until told to stop. Any error ends the process: the line starts a fresh one."""
        freeze_garbage()
        self._channel.send_patiently(Ready(digests=self._digests, engines=self._engines))
        while True:
            message = self._channel.wait(None)
            if isinstance(message, Inspect):
                self._inspect(message, self._works[message.recipe])
            elif isinstance(message, Ping):
                self._channel.send_patiently(Pong())
            elif isinstance(message, Stop):
                return

    def _inspect(self, request: Inspect, work: RecipeWork) -> None:
        arrays = slot_arrays(self._ring, request.slot, request.image_hw, work.mask_stride_px)
        plan = work.tiles(request.image_hw)
        self._ring.begin(request.slot, request.part_id, self._clock.monotonic_ns())
        if not self._ring.agrees(request.slot, request.part_id, work.digest(plan)):
            raise InferenceError(
                f"part {request.part_id}: {len(plan)} tiles of {plan.tile_px} px by {work.engine}, others do otherwise"
            )
        tiles, predict_ns = 0, 0
        if work.takes_template:
            self._ring.prepare(request.slot, request.part_id, self._index, partial(_lay_template, arrays))
        while (tile := self._ring.claim(request.slot, request.part_id, len(plan), self._index)) is not None:
            fate, spent_ns = self._do_tile(request, work, arrays, plan, tile)
            predict_ns += spent_ns
            tiles += fate is not TileFate.SKIPPED
            if self._ring.finish(request.slot, request.part_id, len(plan), tile, fate):
                self._conclude(request, work, arrays, plan)
            self._ring.rest(self._index)
        self._channel.send_patiently(Left(request.part_id, tiles, predict_ns / NS_PER_MS))

    def _do_tile(
        self, request: Inspect, work: RecipeWork, arrays: SlotArrays, plan: TilePlan, index: int
    ) -> tuple[TileFate, int]:
        """Compute or skip one tile; what became of it, and the nanoseconds that the predictor took.

        The first miss closes the gate for all workers, until the line opens it again.
        """
        gate = None if self._ring.gate.is_closed else work.gate
        if gate is None or not gate.calls_clean(arrays, plan, index):
            return TileFate.COMPUTED, self._inspect_tile(request, work, arrays, plan, index)
        if not gate.audits(request.part_id, index):
            skip_tile(arrays, plan, index, work.mask_stride_px)
            return TileFate.SKIPPED, 0
        spent_ns = self._inspect_tile(request, work, arrays, plan, index)
        fate = work.audit(arrays, plan, index)
        if fate is TileFate.MISSED:
            self._close_gate(request, work)
        return fate, spent_ns

    def _close_gate(self, request: Inspect, work: RecipeWork) -> None:
        self._ring.gate.close(work.model_id)
        log.error("part %d: the gate called a tile clean that holds a defect: it is closed", request.part_id)

    def _inspect_tile(self, request: Inspect, work: RecipeWork, arrays: SlotArrays, plan: TilePlan, index: int) -> int:
        """Segment one tile into the slot's planes; the nanoseconds that the predictor took."""
        started_ns = self._clock.monotonic_ns()
        class_ids, scores = work.predict(arrays, plan.origins_yx[index])
        predict_ns = self._clock.monotonic_ns() - started_ns
        place_core(arrays.class_ids, class_ids, plan, index, work.mask_stride_px)
        place_core(arrays.scores, scores, plan, index, work.mask_stride_px)
        if (box := work.spot(arrays, plan, index)) is not None:
            self._ring.spot(request.slot, request.part_id, box)
        return predict_ns

    def _conclude(self, request: Inspect, work: RecipeWork, arrays: SlotArrays, plan: TilePlan) -> None:
        """The frame's last tile is done: decide and tell the line."""
        fates = self._ring.fates(request.slot, len(plan))
        # A reset may have opened the gate since: what this frame has missed still tells of this frame.
        if self._ring.gate.is_closed or TileFate.MISSED in fates:
            self._make_up(request, work, arrays, plan, fates, tiles_with(TileFate.SKIPPED, fates))
        if TileFate.DOUBTED in fates:
            self._resolve_doubts(request, work, arrays, plan, fates)
        spotted = self._ring.spotted(request.slot, request.part_id)
        tiled_ns = self._clock.monotonic_ns()
        verdict = work.decide(request, arrays, spotted, self._clock)
        decided_ns, began_ns = verdict.decided_ns, self._ring.began_ns(request.slot, request.part_id) or tiled_ns
        stage_ms = {"tiles": (tiled_ns - began_ns) / NS_PER_MS, "decide": (decided_ns - tiled_ns) / NS_PER_MS}
        self._channel.send_patiently(Inspected(verdict, stage_ms, counts_of(fates), plan.tile_px, work.engine))

    def _make_up(
        self,
        request: Inspect,
        work: RecipeWork,
        arrays: SlotArrays,
        plan: TilePlan,
        fates: list[TileFate],
        skipped: Sequence[int],
    ) -> None:
        """Compute these tiles, which were skipped by a gate that has missed a defect since, or may have."""
        for index in skipped:
            if self._ring.is_open(request.slot, request.part_id):
                self._inspect_tile(request, work, arrays, plan, index)
                fates[index] = TileFate.COMPUTED

    def _resolve_doubts(
        self, request: Inspect, work: RecipeWork, arrays: SlotArrays, plan: TilePlan, fates: list[TileFate]
    ) -> None:
        """Compute what tells whether the doubted tiles were misses, and all tiles if one was.

        A frame that was cancelled is not whole, and lets no part through.
        """
        locate = partial(self._locate, request, work, arrays, plan)
        found = locate()
        while asked := work.tiles_to_ask(found, plan, fates):
            self._make_up(request, work, arrays, plan, fates, asked)
            if not self._ring.is_open(request.slot, request.part_id):
                return
            found = locate()
        missed = work.missed_tiles(found, plan, fates)
        for index in missed:
            fates[index] = TileFate.MISSED
        if missed:
            self._close_gate(request, work)
            self._make_up(request, work, arrays, plan, fates, tiles_with(TileFate.SKIPPED, fates))

    def _locate(self, request: Inspect, work: RecipeWork, arrays: SlotArrays, plan: TilePlan) -> LocatedDefects:
        return work.locate(arrays, plan, self._ring.spotted(request.slot, request.part_id))


def _lay_template(arrays: SlotArrays) -> None:
    """The slot's template, moved in place onto its picture: once a frame, so that no two tiles disagree."""
    arrays.template[...] = register_template(grey_of(arrays.image), arrays.template)
