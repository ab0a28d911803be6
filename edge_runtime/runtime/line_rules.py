"""What bounds the line: times, slots, recipes."""

from __future__ import annotations

from dataclasses import dataclass

from edge_runtime.runtime.recipes import RecipeFacts


@dataclass(frozen=True)
class LineRules:
    """Bounds of the line.

    A part is given up `deadline_guard_ms` before its deadline, for the way to the wire on a busy machine.
    `reserved_slots` are never lent to the office for pictures. `recipe_at_start` is selected whatever was kept from the
    last run, unless it is 0. With `recipe_by_code` the code in each part's picture selects, and nothing else does.
    """

    deadline_ms: float
    slot_count: int
    capture_timeout_ms: float
    recipes: tuple[RecipeFacts, ...]
    recipe_at_start: int = 0
    recipe_by_code: bool = False
    deadline_guard_ms: float = 10.0
    free_run: bool = False
    reserved_slots: int = 2
    keep_ok_every: int = 10
    max_pending_records: int = 50_000
