"""What a controller can ask of the line, whichever wire it comes by."""

from __future__ import annotations

from dataclasses import dataclass

from edge_runtime.protocol.messages import MAX_LINE_SEQNO

MAX_MISSING = 100


@dataclass(frozen=True)
class PartSeen:
    """A trigger came in at `at_ns` (monotonic): `line_seqno` is the controller's number for it, None for an edge.

    `position`: the encoder's at that moment, where there is one. `lost_before`: triggers missing right before it.
    """

    at_ns: int
    line_seqno: int | None
    position: int | None = None
    lost_before: int = 0


@dataclass(frozen=True)
class ResetAsked:
    """Take back what is latched: overrun and the demand to stop. `source` is the wire it came by."""

    source: str


@dataclass(frozen=True)
class RecipeAsked:
    """Inspect by this recipe from the next trigger on; 0 is none.

    `at_ns` (monotonic) is when it was asked, where the wire tells; None: when it is read.
    """

    number: int
    source: str
    at_ns: int | None = None


@dataclass(frozen=True)
class RecipeQueried:
    """Tell which recipe the next part gets."""

    source: str


@dataclass(frozen=True)
class StatusAsked:
    """Tell state and counts."""

    source: str


ControllerEvent = PartSeen | ResetAsked | RecipeAsked | RecipeQueried | StatusAsked


def missing_between(last: int | None, line_seqno: int) -> int:
    """Trigger numbers left out after `last`; a step too long for that is a controller that started anew."""
    step = 0 if last is None else (line_seqno - last) % (MAX_LINE_SEQNO + 1)
    return step - 1 if 1 < step <= MAX_MISSING else 0
