"""The one picture of the daemon that everybody outside the line may see; swapped whole, never changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache

from pydantic import TypeAdapter

from edge_runtime.values import NO_TILES, TileCounts, Verdict

MAX_SHOWN = 20


@dataclass(frozen=True)
class WireCounts:
    """What went wrong on the way to and from the controller, since start.

    `missed_edges` and `unannounced` verdicts; messages `rejected` by cause; `irregular` steps of the handshake by
    name; `voided` results that a reset made void.
    """

    missed_edges: int
    unannounced: int
    rejected: dict[str, int]
    irregular: dict[str, int]
    voided: int


@dataclass(frozen=True)
class Snapshot:
    """State, counts since start, last verdicts (newest last, see `shown`) and standing faults at `at` (UTC).

    `model_id` and `recipe_…` are of the recipe that the next part gets.
    `passed + rejected + not_inspected + in_flight == triggers` always.
    """

    at: datetime
    station: str
    state: str
    faults: tuple[str, ...]
    triggers: int
    passed: int
    rejected: int
    not_inspected: int
    not_inspected_by_reason: dict[str, int]
    in_flight: int
    late: int
    triggers_per_minute: float
    pending_records: int
    pictures_dropped: int
    records_dropped: int
    unacknowledged: int
    wire: WireCounts
    restarts: dict[str, int]
    model_id: str
    recipe_id: str
    recipe_number: int
    recipe_digest: str
    last_verdicts: tuple[Verdict, ...]
    stop_reason: str = ""
    stop_demands: int = 0
    tracking: dict[str, float] = field(default_factory=dict)
    reporter_trouble: str = ""
    tiles: TileCounts = NO_TILES
    takeover: str = ""
    engines: str = ""


def shown(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """The verdicts with at most `MAX_SHOWN` reasons and defects each: a Snapshot must fit into one message."""
    return tuple(replace(each, reasons=each.reasons[:MAX_SHOWN], defects=each.defects[:MAX_SHOWN]) for each in verdicts)


@lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[Snapshot]:
    return TypeAdapter(Snapshot)


def to_json(snapshot: Snapshot) -> str:
    return _adapter().dump_json(snapshot).decode()


def from_json(text: str) -> Snapshot:
    """Raises pydantic.ValidationError for anything that `to_json` cannot have made."""
    return _adapter().validate_json(text)
