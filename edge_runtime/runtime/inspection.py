"""Inspection child: one predictor; shares the tiles of each frame with its siblings through the ring."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

from edge_runtime.clock import NS_PER_MS, Clock
from edge_runtime.interfaces import Segmenter
from edge_runtime.pictures import grey_of
from edge_runtime.runtime.channel import Channel
from edge_runtime.runtime.frame_ring import FrameRing
from edge_runtime.runtime.messages import Inspect, Inspected, Left, Ping, Pong, Ready, Stop
from edge_runtime.runtime.slot_arrays import SlotArrays, slot_arrays
from edge_runtime.values import DefectClass, Mask, Recipe, TileGrid, Verdict
from edge_runtime.vision.blobs import find_defects
from edge_runtime.vision.decision import make_verdict
from edge_runtime.vision.preprocess import TilePreprocessor
from edge_runtime.vision.registration import register_template
from edge_runtime.vision.stitching import place_core
from edge_runtime.vision.tiling import plan_grid

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InspectionPlan:
    """What a worker needs to know beside its predictor."""

    classes: Sequence[DefectClass]
    recipe: Recipe
    model_id: str


class InspectionWorker:
    """Owns the predictor and its buffers. Writes only the cores of the tiles it claimed."""

    def __init__(
        self, index: int, channel: Channel, ring: FrameRing, segmenter: Segmenter, plan: InspectionPlan, clock: Clock
    ) -> None:
        self._index = index
        self._channel = channel
        self._ring = ring
        self._segmenter = segmenter
        self._plan = plan
        self._clock = clock
        self._preprocessor = TilePreprocessor(segmenter.input_contract)
        self._takes_template = segmenter.input_contract.template
        self._class_names = {each.class_id: each.name for each in plan.classes}
        self._grid = lru_cache(maxsize=32)(self._plan_grid)

    def serve(self) -> None:
        """Work until told to stop. Any error ends the process: the line starts a fresh one."""
        self._channel.send_patiently(Ready(model_id=self._plan.model_id))
        while True:
            message = self._channel.wait(None)
            if isinstance(message, Inspect):
                self._inspect(message)
            elif isinstance(message, Ping):
                self._channel.send_patiently(Pong())
            elif isinstance(message, Stop):
                return

    def _inspect(self, request: Inspect) -> None:
        arrays = slot_arrays(self._ring, request.slot, request.image_hw, self._segmenter.mask_stride_px)
        grid = self._grid(request.image_hw)
        started_ns = self._clock.monotonic_ns()
        tiles, predict_ns = 0, 0
        if self._takes_template:
            self._ring.prepare(request.slot, request.part_id, self._index, partial(_lay_template, arrays))
        while (tile := self._ring.claim(request.slot, request.part_id, len(grid), self._index)) is not None:
            predict_ns += self._inspect_tile(arrays, grid, tile)
            tiles += 1
            if self._ring.finish(request.slot, request.part_id, len(grid), self._index):
                self._conclude(request, arrays, started_ns)
            self._ring.rest(self._index)
        self._channel.send_patiently(Left(request.part_id, tiles, predict_ns / NS_PER_MS))

    def _inspect_tile(self, arrays: SlotArrays, grid: TileGrid, index: int) -> int:
        """Segment one tile into the slot's planes; the nanoseconds that the predictor took."""
        template = arrays.template if self._takes_template else None
        tile = self._preprocessor.tile(arrays.image, grid.origins_yx[index], template)
        started_ns = self._clock.monotonic_ns()
        class_ids, scores = self._segmenter.predict(tile)
        predict_ns = self._clock.monotonic_ns() - started_ns
        place_core(arrays.class_ids, class_ids, grid, index, self._segmenter.mask_stride_px)
        place_core(arrays.scores, scores, grid, index, self._segmenter.mask_stride_px)
        return predict_ns

    def _conclude(self, request: Inspect, arrays: SlotArrays, started_ns: int) -> None:
        """The frame's last tile is done: decide and tell the line."""
        tiled_ns = self._clock.monotonic_ns()
        verdict = self._decide(request, arrays)
        decided_ns = verdict.decided_ns
        stage_ms = {"tiles": (tiled_ns - started_ns) / NS_PER_MS, "decide": (decided_ns - tiled_ns) / NS_PER_MS}
        self._channel.send_patiently(Inspected(verdict, stage_ms))

    def _decide(self, request: Inspect, arrays: SlotArrays) -> Verdict:
        mask = Mask(arrays.class_ids, arrays.scores, self._segmenter.mask_stride_px)
        defects = find_defects(mask, self._plan.classes, self._plan.recipe, request.image_hw)
        return make_verdict(
            part_id=request.part_id,
            defects=defects,
            recipe=self._plan.recipe,
            class_names=self._class_names,
            decided_ns=self._clock.monotonic_ns(),
            model_id=self._plan.model_id,
            recipe_id=self._plan.recipe.name,
        )

    def _plan_grid(self, image_hw: tuple[int, int]) -> TileGrid:
        contract = self._segmenter.input_contract
        return plan_grid(image_hw, contract.tile_px, contract.margin_px, contract.stride_px)


def _lay_template(arrays: SlotArrays) -> None:
    """The slot's template, moved in place onto its picture: once a frame, so that no two tiles disagree."""
    arrays.template[...] = register_template(grey_of(arrays.image), arrays.template)
