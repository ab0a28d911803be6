"""The parts in flight, their slots and their records: exactly one verdict for each part. Time is an argument."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from edge_runtime.clock import NS_PER_MS
from edge_runtime.runtime.line_actions import Action, Announce, CancelFrame, Counters, StartFrame
from edge_runtime.runtime.line_rules import LineRules
from edge_runtime.runtime.messages import Archive, Captured, Inspect
from edge_runtime.runtime.part_times import Path, durations_ms
from edge_runtime.runtime.recipes import NO_RECIPE, RecipeFacts
from edge_runtime.values import NO_TILES, InspectionRecord, Outcome, TileCounts, Trigger, Verdict


@dataclass(frozen=True)
class Era:
    """The recipes that were in service at a time, by number. Each take-over begins another."""

    index: int
    recipes: Mapping[int, RecipeFacts]


@dataclass
class Part:
    """One part: what is known of it, and who may yet write into its slot.

    `holders`: the workers that were asked and have not left. `capturing`, `lent`: capture, or the office, has the slot.
    """

    trigger: Trigger
    triggered_at: datetime
    line_seqno: int | None
    recipe: RecipeFacts
    era: Era
    slot: int | None = None
    capturing: bool = False
    path: Path = field(default_factory=dict)
    picture: Captured | None = None
    holders: set[int] = field(default_factory=set)
    started: bool = False
    tiles: TileCounts = NO_TILES
    tile_px: int = 0
    engine: str = ""
    verdict: Verdict | None = None
    lent: bool = False

    @property
    def part_id(self) -> int:
        return self.trigger.part_id

    @property
    def finished(self) -> bool:
        return self.verdict is not None and not (self.capturing or self.lent)

    def record(self, verdict: Verdict, now_ns: int) -> InspectionRecord:
        """What is kept of a part that gets this verdict now."""
        label = self.picture.label if self.picture is not None else ""
        all_ms = durations_ms(self.trigger.at_ns, self.path, self.picture, now_ns)
        return InspectionRecord(
            self.trigger,
            verdict,
            self.triggered_at,
            self.line_seqno,
            all_ms,
            label,
            self.recipe.number,
            self.recipe.digest,
            self.tiles,
            self.tile_px,
            self.engine,
        )


class PartBook:
    """Parts until they have their verdict and nobody touches their slot; records until they are committed.

    `working_on`: the part whose tile a worker has claimed, as `FrameRing.working_on` knows it.
    """

    def __init__(self, rules: LineRules, first_part_id: int, working_on: Callable[[int], int | None] | None) -> None:
        self.counters = Counters()
        self.last_verdicts: deque[Verdict] = deque(maxlen=20)
        self.next_part_id = first_part_id
        self._rules = rules
        self._working_on = working_on
        self._parts: dict[int, Part] = {}
        # The slot that was used last is taken first: its memory is in the processor's caches.
        self._free_slots = list(reversed(range(rules.slot_count)))
        self._reserved: tuple[int, Era] | None = None
        self._records: dict[int, InspectionRecord] = {}
        self._ok_count = 0

    def __iter__(self) -> Iterator[Part]:
        """All parts as they are now, oldest first; they may be released meanwhile."""
        return iter(list(self._parts.values()))

    @property
    def open_parts(self) -> list[Part]:
        """Those that have no verdict yet, oldest first."""
        return [part for part in self._parts.values() if part.verdict is None]

    @property
    def eras_in_use(self) -> list[Era]:
        """That of each open part, and that of the reserved slot."""
        reserved = [self._reserved[1]] if self._reserved is not None else []
        return [*reserved, *(part.era for part in self.open_parts)]

    def get(self, part_id: int) -> Part | None:
        return self._parts.get(part_id)

    def new(self, at_ns: int, utc: datetime, line_seqno: int | None, recipe: RecipeFacts, era: Era) -> Part:
        """A part that was triggered at `at_ns`; it has an id, a deadline, and no slot yet."""
        deadline_ns = at_ns + round(self._rules.deadline_ms * NS_PER_MS)
        part = Part(Trigger(self.next_part_id, at_ns, deadline_ns), utc, line_seqno, recipe, era)
        self._parts[part.part_id] = part
        self.next_part_id += 1
        self.counters.triggers += 1
        return part

    # -- slots --------------------------------------------------------------------------------------------------

    @property
    def free_slots(self) -> int:
        return len(self._free_slots)

    def give_slot(self, part: Part) -> int:
        """The slot for the part's picture, which capture has from now on."""
        part.slot, part.capturing = self._free_slots.pop(), True
        return part.slot

    def reserve_slot(self, era: Era) -> int:
        """A slot for a picture whose part comes with it, as in free run; one at a time."""
        slot = self._free_slots.pop()
        self._reserved = slot, era
        return slot

    @property
    def has_reserved(self) -> bool:
        return self._reserved is not None

    def new_in_reserved(self, picture: Captured) -> Part | None:
        """The part that comes with the picture in the reserved slot; None: there is none."""
        if self._reserved is None:
            return None
        (slot, era), self._reserved = self._reserved, None
        recipe = era.recipes.get(picture.recipe, NO_RECIPE)
        part = self.new(picture.captured_ns, picture.captured_at, None, recipe, era)
        part.slot, part.capturing = slot, True
        return part

    def return_reserved(self) -> None:
        """Its picture will not come; harmless without one."""
        if self._reserved is not None:
            self._free_slots.append(self._reserved[0])
            self._reserved = None

    def start(self, part: Part, workers: set[int]) -> list[Action]:
        """Have these workers inspect the picture in the part's slot; nothing yet when there are none."""
        if not workers:
            return []
        assert part.slot is not None
        assert part.picture is not None
        part.started, part.holders = True, workers
        request = Inspect(part.slot, part.part_id, part.picture.image_hw, part.recipe.number)
        return [StartFrame(tuple(sorted(part.holders)), request)]

    def release(self, part: Part) -> None:
        """Forget a finished part and free its slot; harmless while it must be kept, and once it is forgotten."""
        known = self._parts.get(part.part_id) is part
        if known and part.finished and not self._still_inside(part):
            del self._parts[part.part_id]
            self._free_slots += [part.slot] if part.slot is not None else []

    def _still_inside(self, part: Part) -> bool:
        """Whether a worker may yet write into the slot of a part whose tiles can no longer be claimed."""
        if self._working_on is None:
            return bool(part.holders)
        return any(self._working_on(worker) == part.part_id for worker in part.holders)

    # -- verdicts -----------------------------------------------------------------------------------------------

    def give_up(self, part: Part, reason: str, now_ns: int) -> list[Action]:
        """Answer a part that will not be inspected; one that has its verdict may only have become free to go."""
        if part.verdict is not None:
            self.release(part)
            return []
        model_id, recipe_id = part.recipe.model_id, part.recipe.name
        verdict = Verdict(part.part_id, Outcome.NOT_INSPECTED, (reason,), (), 0, now_ns, model_id, recipe_id)
        by_reason = self.counters.not_inspected_by_reason
        by_reason[reason] = by_reason.get(reason, 0) + 1
        if not part.holders or part.slot is None:
            return self.conclude(part, verdict, now_ns)
        # Until the cancellation is carried out a worker may still claim a tile: the slot waits for Left or a sweep.
        return [CancelFrame(part.slot), *self._conclude(part, verdict, now_ns)]

    def conclude(self, part: Part, verdict: Verdict, now_ns: int) -> list[Action]:
        """Answer an open part, and let go of it when nobody is in its slot."""
        actions = self._conclude(part, verdict, now_ns)
        self.release(part)
        return actions

    def _conclude(self, part: Part, verdict: Verdict, now_ns: int) -> list[Action]:
        """The one place where a part gets its verdict."""
        part.verdict = verdict
        self.counters.outcomes[verdict.outcome] += 1
        self.last_verdicts.append(verdict)
        # The record first: whatever was announced is in the office's hands, even if this process is killed in between.
        kept = self._keep(part, part.record(verdict, now_ns))
        return [*kept, Announce(verdict, part.line_seqno, part.trigger, part.recipe)]

    # -- records ------------------------------------------------------------------------------------------------

    @property
    def pending_records(self) -> int:
        """Records whose commit has not been acknowledged."""
        return len(self._records)

    @property
    def records_full(self) -> bool:
        return len(self._records) >= self._rules.max_pending_records

    def committed(self, part_ids: Iterable[int]) -> None:
        for part_id in part_ids:
            self._records.pop(part_id, None)

    def records_to_repeat(self, limit: int) -> list[Archive]:
        """The oldest records whose commit was not heard of, without their pictures."""
        return [Archive(record) for record in itertools.islice(self._records.values(), limit)]

    def _keep(self, part: Part, record: InspectionRecord) -> list[Action]:
        """Archive the record; a full memory of records (the office is long dead) costs the newest, counted."""
        if self.records_full:
            self.counters.records_dropped += 1
            return []
        self._records[part.part_id] = record
        if part.picture is None:
            return [Archive(record)]
        if not self._wants_picture(record.verdict) or self._too_few_slots():
            return [Archive(record)]
        part.lent = True
        return [Archive(record, part.slot, part.picture.image_hw)]

    def _wants_picture(self, verdict: Verdict) -> bool:
        if verdict.outcome is not Outcome.PASS:
            return True
        self._ok_count += 1
        return self._rules.keep_ok_every > 0 and self._ok_count % self._rules.keep_ok_every == 0

    def _too_few_slots(self) -> bool:
        scarce = len(self._free_slots) < self._rules.reserved_slots
        self.counters.pictures_dropped += scarce
        return scarce
