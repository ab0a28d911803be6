"""From the scores of many pictures to a gate, and what a gate does to the scores of others."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge_runtime.inference.manifest import Gate, GateCalibration
from edge_runtime.vision.gate import TemplateGate
from tools.errors import ToolError
from tools.gating.bound import check_bound, chosen_threshold
from tools.gating.scores import DefectScore, GatedPicture


@dataclass(frozen=True)
class Wish:
    """`miss_bound`: the share of defects that may be missed, with `confidence`. `lost`: how many of the data may be.

    `margin`: the threshold as a share of the lowest score that counts.
    """

    miss_bound: float
    confidence: float
    margin: float
    lost: int


@dataclass(frozen=True)
class Effect:
    """What a gate does to pictures: tiles skipped, and what was in them.

    Of `defects`, which the network finds, `lost_alone` would be skipped in a tile that held nothing else, and `lost`
    are in a tile that is skipped. `unfound`: labels that the network does not find, `unfound_skipped`: of those, what
    scores below the threshold. The times are medians.
    """

    pictures: int
    tiles: int
    clean_tiles: int
    skipped: int
    clean_skipped: int
    defects: int
    lost_alone: int
    lost: int
    unfound: int
    unfound_skipped: int
    lowest_score: float
    gate_ms: float
    predict_ms: float

    @property
    def skipped_share(self) -> float:
        return self.skipped / self.tiles

    @property
    def clean_skipped_share(self) -> float:
        return self.clean_skipped / self.clean_tiles if self.clean_tiles else 0.0

    @property
    def saved_ms(self) -> float:
        """Of a tile's time, on the average over all tiles; below 0 the gate costs more than it saves."""
        return self.skipped_share * self.predict_ms - self.gate_ms


def calibrate(
    pictures: Sequence[GatedPicture], gates: Sequence[TemplateGate], wish: Wish, data_set: str
) -> tuple[Gate, int]:
    """The gate that skips most tiles of those that keep the bound, as a bundle states it, and which of `gates` it was.

    Raises ToolError when the data cannot prove the bound, or no gate can tell every defect from its template.
    """
    defects = found_in(pictures)
    bound = check_bound(len(defects), wish.lost, wish.confidence, wish.miss_bound)
    choices = [
        replace(gate, threshold=chosen_threshold([one.scores[at] for one in defects], wish.lost, wish.margin))
        for at, gate in enumerate(gates)
    ]
    if not any(choice.threshold for choice in choices):
        raise ToolError(_hopeless(pictures, wish.lost))
    effects = [effect_of(pictures, choice, at) for at, choice in enumerate(choices)]
    best = max(range(len(gates)), key=lambda at: (effects[at].skipped, -gates[at].block_px, -gates[at].reach_px))
    return stated(choices[best], effects[best], wish, bound, data_set), best


def found_in(pictures: Sequence[GatedPicture]) -> list[DefectScore]:
    """What the network finds: a label that it does not find is lost with the gate and without."""
    return [one for picture in pictures for one in picture.defects if one.tile is not None]


def effect_of(pictures: Sequence[GatedPicture], gate: TemplateGate, at: int) -> Effect:
    """What `gate` does, whose scores are the `at`-th of each."""
    tiles = [
        (score < gate.threshold, clean)
        for picture in pictures
        for score, clean in zip(picture.tile_scores[at], picture.tile_clean, strict=True)
    ]
    defects = found_in(pictures)
    unfound = [one for picture in pictures for one in picture.defects if one.tile is None]
    return Effect(
        pictures=len(pictures),
        tiles=len(tiles),
        clean_tiles=sum(clean for _, clean in tiles),
        skipped=sum(skipped for skipped, _ in tiles),
        clean_skipped=sum(skipped and clean for skipped, clean in tiles),
        defects=len(defects),
        lost_alone=sum(one.scores[at] < gate.threshold for one in defects),
        lost=sum(
            picture.tile_scores[at][one.tile] < gate.threshold
            for picture in pictures
            for one in picture.defects
            if one.tile is not None
        ),
        unfound=len(unfound),
        unfound_skipped=sum(one.scores[at] < gate.threshold for one in unfound),
        lowest_score=min((one.scores[at] for one in defects), default=0.0),
        gate_ms=statistics.median(picture.gate_ms for picture in pictures),
        predict_ms=statistics.median(picture.predict_ms for picture in pictures),
    )


def stated(gate: TemplateGate, effect: Effect, wish: Wish, bound: float, data_set: str) -> Gate:
    calibration = GateCalibration(
        data_set=data_set,
        pictures=effect.pictures,
        defects=effect.defects,
        lost=effect.lost_alone,
        confidence=wish.confidence,
        lost_share_max=bound,
        skipped_share=round(effect.skipped_share, 4),
        clean_skipped_share=round(effect.clean_skipped_share, 4),
    )
    return Gate(
        kind="template_difference",
        tolerance_px=gate.tolerance_px,
        block_px=gate.block_px,
        reach_px=gate.reach_px,
        threshold=gate.threshold,
        calibration=calibration,
    )


def _hopeless(pictures: Sequence[GatedPicture], lost: int) -> str:
    blind = [
        f"{picture.name} at {one.box_xyxy_px}"
        for picture in pictures
        for one in picture.defects
        if one.tile is not None and not any(one.scores)
    ]
    shown = "; ".join(blind[:5])
    return (
        f"{len(blind) or 'some'} defects look like the template to every gate tried, so none can tell them from it: "
        f"{shown}; correct the labels or templates, set some aside by --lost (now {lost}), or try a smaller --tolerance"
    )
