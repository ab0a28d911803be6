"""What the line's books ask to be done, and what they count: plain values that wires and the snapshot read."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge_runtime.runtime.messages import Archive, Capture, Inspect
from edge_runtime.runtime.recipes import RecipeFacts
from edge_runtime.values import NO_TILES, Outcome, TileCounts, Trigger, Verdict


@dataclass(frozen=True)
class Announce:
    """Tell the controller; `recipe` is the one that was used, or would have been."""

    verdict: Verdict
    line_seqno: int | None
    trigger: Trigger
    recipe: RecipeFacts


@dataclass(frozen=True)
class StartFrame:
    """Reset the slot's counters, then ask these workers to inspect it."""

    workers: tuple[int, ...]
    request: Inspect


@dataclass(frozen=True)
class CancelFrame:
    """Let the workers leave this slot."""

    slot: int


@dataclass(frozen=True)
class RecipeSelected:
    """Tell the controller which recipe the next part gets, and have its number kept. `is_new`: it was another one."""

    recipe: RecipeFacts
    is_new: bool


@dataclass(frozen=True)
class OpenGate:
    """Let the bundles' gates skip tiles again, after a miss."""


Action = Capture | StartFrame | CancelFrame | Announce | Archive | RecipeSelected | OpenGate


@dataclass
class Counters:
    """Since the start of the daemon. `late` results came after their part's verdict or deadline.

    `tiles` are those of the parts that were inspected in time.
    """

    triggers: int = 0
    outcomes: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    not_inspected_by_reason: dict[str, int] = field(default_factory=dict)
    late: int = 0
    pictures_dropped: int = 0
    records_dropped: int = 0
    frames_not_captured: int = 0
    tiles: TileCounts = NO_TILES
