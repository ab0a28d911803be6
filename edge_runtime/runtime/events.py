"""What a controller can ask of the line, whichever wire it comes by."""

from __future__ import annotations

from dataclasses import dataclass


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
    """Inspect by this recipe from the next trigger on."""

    number: int
    source: str


ControllerEvent = PartSeen | ResetAsked | RecipeAsked
