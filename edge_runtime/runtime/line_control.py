"""The line's book-keeping: which part is where, and exactly one verdict for each. No port, process or clock inside.

Each event method takes what happened and returns the actions that must follow, in order.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from edge_runtime.clock import NS_PER_MS
from edge_runtime.runtime.events import RecipeAsked
from edge_runtime.runtime.line_actions import Action, Announce, CancelFrame, Counters, RecipeSelected, StartFrame
from edge_runtime.runtime.messages import Archive, Capture, Captured, Inspect, Inspected
from edge_runtime.runtime.part_times import Path, durations_ms, picture_path, work_path
from edge_runtime.runtime.recipes import NO_RECIPE, RecipeBook, RecipeFacts, number_at_start
from edge_runtime.values import NO_TILES, InspectionRecord, Outcome, TileCounts, Trigger, Verdict


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


@dataclass(frozen=True)
class _Era:
    """The recipes that were in service at a time, by number. Each take-over begins another."""

    index: int
    recipes: Mapping[int, RecipeFacts]


@dataclass
class _Part:
    trigger: Trigger
    triggered_at: datetime
    line_seqno: int | None
    recipe: RecipeFacts
    era: _Era
    slot: int | None = None
    capturing: bool = False
    path: Path = field(default_factory=dict)
    picture: Captured | None = None
    holders: set[int] = field(default_factory=set)
    started: bool = False
    tiles: TileCounts = NO_TILES
    tile_px: int = 0
    verdict: Verdict | None = None
    lent: bool = False

    @property
    def finished(self) -> bool:
        return self.verdict is not None and not (self.capturing or self.lent)


class LineControl:
    """Parts in flight, slots, and the records not yet on disk."""

    def __init__(
        self,
        rules: LineRules,
        first_part_id: int = 1,
        working_on: Callable[[int], int | None] | None = None,
        kept_recipe: int | None = None,
    ) -> None:
        """`working_on`: the part whose tile a worker has claimed, as `FrameRing.working_on` knows it.

        `kept_recipe`: the number selected in the last run.
        """
        self.rules = rules
        known = [recipe.number for recipe in rules.recipes]
        self.recipes = RecipeBook(rules.recipes, rules.recipe_at_start or number_at_start(known, kept_recipe))
        self._guard_ns = round(rules.deadline_guard_ms * NS_PER_MS)
        self._working_on = working_on
        self.counters = Counters()
        self.last_verdicts: deque[Verdict] = deque(maxlen=20)
        self.camera_ready = False
        self.end_of_pictures = False
        self.next_part_id = first_part_id
        self._parts: dict[int, _Part] = {}
        # The slot that was used last is taken first: its memory is in the processor's caches.
        self._free_slots = list(reversed(range(rules.slot_count)))
        self._era = _Era(0, self.recipes.known)
        self._free_run: tuple[int, _Era] | None = None
        self._workers: dict[int, int] = {}
        self._records: dict[int, InspectionRecord] = {}
        self._ok_count = 0

    # -- what the outside may ask -------------------------------------------------------------------------------

    @property
    def parts_in_flight(self) -> int:
        """Parts that have no verdict yet."""
        return sum(part.verdict is None for part in self._parts.values())

    @property
    def pending_records(self) -> int:
        """Records whose commit has not been acknowledged."""
        return len(self._records)

    @property
    def records_full(self) -> bool:
        return len(self._records) >= self.rules.max_pending_records

    @property
    def has_room(self) -> bool:
        """Whether a slot is free for the next part's picture."""
        return bool(self._free_slots)

    @property
    def models_in_use(self) -> set[str]:
        """The ids of all models that a part may yet be inspected by."""
        return {recipe.model_id for era in self._eras_in_use() for recipe in era.recipes.values()}

    @property
    def recipe_missing(self) -> bool:
        """Whether nothing is inspected because no recipe is selected."""
        return self.recipes.selected is NO_RECIPE and not self.rules.recipe_by_code

    @property
    def workers_ready(self) -> int:
        """Those that can work on the next part."""
        return len(self._workers_of(self._era))

    def next_expiry_ns(self) -> int | None:
        """When `expire` next has something to do."""
        deadlines = [p.trigger.deadline_ns for p in self._parts.values() if p.verdict is None]
        return min(deadlines) - self._guard_ns if deadlines else None

    # -- recipes ------------------------------------------------------------------------------------------------

    def recipe_asked(self, asked: RecipeAsked, now_ns: int) -> tuple[str, list[Action]]:
        """Why a recipe cannot be selected (empty: it is), and what to do.

        Parts triggered from then on get it, those before keep theirs. An unknown number leaves the recipe as it is,
        but on input lines: a code that stands there is no single question that the controller sees refused, so
        nothing is inspected until the lines show a number that is known.
        """
        at_ns = now_ns if asked.at_ns is None else asked.at_ns
        if self.rules.recipe_by_code:
            return "recipe_by_code", []
        if asked.number in self.recipes:
            return "", self._select(asked.number, at_ns)
        return "unknown_recipe", self._select(0, at_ns) if asked.source == "gpio" else []

    def _select(self, number: int, at_ns: int) -> list[Action]:
        before = self.recipes.selected
        self.recipes.select(number, at_ns)
        return [RecipeSelected(self.recipes.selected, self.recipes.selected is not before)]

    def take_over(self, recipes: tuple[RecipeFacts, ...], recipe_at_start: int, now_ns: int) -> list[Action]:
        """Other recipes from the next part on; parts that have come keep theirs, and the workers of that time."""
        self.rules = replace(self.rules, recipes=recipes, recipe_at_start=recipe_at_start)
        before = self.recipes.selected
        self.recipes.replace(recipes, recipe_at_start or before.number)
        self._era = _Era(self._era.index + 1, self.recipes.known)
        return [RecipeSelected(self.recipes.selected, self.recipes.selected != before)]

    def needs(self, worker: int) -> bool:
        """Whether a part may yet want this worker, or is in its hands."""
        wanted = self._workers.get(worker) in {era.index for era in self._eras_in_use()}
        return wanted or any(worker in part.holders for part in self._parts.values())

    # -- triggers and pictures ----------------------------------------------------------------------------------

    def trigger(self, at_ns: int, now_ns: int, now_utc: datetime, line_seqno: int | None) -> tuple[int, list[Action]]:
        """A part has come: its id, and what to do. A part that cannot be looked at is answered at once."""
        part = self._new_part(at_ns, now_utc, line_seqno, self.recipes.at(at_ns))
        part.path["heard"] = now_ns
        part_id, timeout_ms = part.trigger.part_id, self.rules.capture_timeout_ms
        blocker = self._why_blind(part.recipe)
        if blocker:
            return part_id, self._give_up(part, blocker, now_ns)
        part.slot, part.capturing = self._free_slots.pop(), True
        return part_id, [Capture(part.slot, part_id, at_ns, timeout_ms, part.recipe.number)]

    def ask_free_run(self) -> list[Action]:
        """In free run, ask for the newest picture as soon as there is room for it."""
        if not self.rules.free_run or self._free_run is not None or self.end_of_pictures:
            return []
        recipe = self.recipes.selected
        if self._why_blind(recipe) or not self.workers_ready or len(self._free_slots) <= 1:
            return []
        slot = self._free_slots.pop()
        self._free_run = slot, self._era
        return [Capture(slot, 0, None, self.rules.capture_timeout_ms, recipe.number)]

    def captured(self, picture: Captured, now_ns: int) -> list[Action]:
        part = self._free_run_part(picture) if picture.part_id == 0 else self._parts.get(picture.part_id)
        if part is None or not part.capturing:
            return []
        part.capturing, part.picture = False, picture
        part.path |= picture_path(picture, now_ns)
        selected = self._follow_code(picture, now_ns)
        if part.verdict is not None:
            return [*selected, *self._release(part)]
        part.recipe = part.era.recipes.get(picture.recipe, NO_RECIPE)
        unfit = picture.unfit or ("" if part.recipe.number else "no_recipe")
        return [*selected, *(self._give_up(part, unfit, now_ns) if unfit else self._start(part))]

    def _follow_code(self, picture: Captured, now_ns: int) -> list[Action]:
        """The code in a picture selects the recipe of its own part and of those that follow; an unknown one, none."""
        unread = not self.rules.recipe_by_code or picture.unfit == "unreadable_code"
        if unread or picture.recipe == self.recipes.selected.number:
            return []
        return self._select(picture.recipe, now_ns)

    def not_captured(self, part_id: int, reason: str, end: bool, now_ns: int) -> list[Action]:
        """No picture for this part (0: for the free run's request)."""
        self.end_of_pictures |= end
        if part_id == 0:
            self._return_free_run_slot()
            return []
        part = self._parts.get(part_id)
        if part is None or not part.capturing:
            return []
        self.counters.frames_not_captured += 1
        part.capturing = False
        return self._give_up(part, "end_of_pictures" if end else reason, now_ns)

    def camera_lost(self, now_ns: int) -> list[Action]:
        """The capture process is gone; what it was asked for will not come."""
        self.camera_ready = False
        self._return_free_run_slot()
        actions: list[Action] = []
        for part in [p for p in self._parts.values() if p.capturing]:
            part.capturing = False
            actions += self._give_up(part, "camera_lost", now_ns)
        return actions

    # -- workers ------------------------------------------------------------------------------------------------

    def worker_ready(self, worker: int) -> list[Action]:
        """A worker can work by the recipes of now: it gets their frames that nobody has started."""
        self._workers[worker] = self._era.index
        waiting = [p for p in self._parts.values() if p.picture and not p.started and p.verdict is None]
        return [action for part in waiting for action in self._start(part)]

    def inspected(self, result: Inspected, now_ns: int) -> list[Action]:
        """A worker's verdict.

        One that comes at the deadline or later, or was made by another recipe than the part's, never lets it through.
        """
        part = self._parts.get(result.verdict.part_id)
        if part is None or part.verdict is not None or part.trigger.deadline_ns <= now_ns:
            self.counters.late += 1
            return self._give_up(part, "deadline", now_ns) if part is not None else []
        if (result.verdict.recipe_id, result.verdict.model_id) != (part.recipe.name, part.recipe.model_id):
            return self._give_up(part, "wrong_recipe", now_ns)
        part.path |= work_path(result, now_ns)
        part.tiles, part.tile_px = result.tile_counts, result.tile_px
        self.counters.tiles += result.tile_counts
        return self._conclude(part, result.verdict, now_ns) + self._release(part)

    def left(self, worker: int, part_id: int) -> list[Action]:
        part = self._parts.get(part_id)
        if part is None:
            return []
        part.holders.discard(worker)
        return self._release(part)

    def worker_lost(self, worker: int, working_on: int | None, now_ns: int) -> list[Action]:
        """A worker is gone. Its frame has a hole and is given up; the other frames go on without it."""
        self._workers.pop(worker, None)
        actions: list[Action] = []
        for part in [p for p in self._parts.values() if worker in p.holders]:
            part.holders.discard(worker)
            if part.verdict is None and part.trigger.part_id == working_on:
                actions += self._give_up(part, "worker_lost", now_ns)
            elif part.verdict is None and not part.holders:
                part.started = False
                actions += self._start(part)
            else:
                actions += self._release(part)
        return actions

    # -- time ---------------------------------------------------------------------------------------------------

    def expire(self, now_ns: int) -> list[Action]:
        """Give up every part whose deadline is `deadline_guard_ms` away or less."""
        limit_ns = now_ns + self._guard_ns
        due = [p for p in self._parts.values() if p.verdict is None and p.trigger.deadline_ns <= limit_ns]
        return [action for part in due for action in self._give_up(part, "deadline", now_ns)]

    def give_up(self, part_ids: Iterable[int], reason: str, now_ns: int) -> list[Action]:
        """Answer these parts now, as far as they have no verdict yet."""
        parts = [self._parts[part_id] for part_id in part_ids if part_id in self._parts]
        return [action for part in parts if part.verdict is None for action in self._give_up(part, reason, now_ns)]

    def sweep(self) -> None:
        """Free the slots of cancelled frames that no worker is inside of; call it after actions were carried out."""
        for part in list(self._parts.values()):
            self._release(part)

    def give_up_all(self, reason: str, now_ns: int) -> list[Action]:
        """Answer every open part now, because the daemon stops."""
        open_parts = [p for p in self._parts.values() if p.verdict is None]
        return [action for part in open_parts for action in self._give_up(part, reason, now_ns)]

    # -- office -------------------------------------------------------------------------------------------------

    def slot_read(self, part_id: int) -> list[Action]:
        part = self._parts.get(part_id)
        if part is None:
            return []
        part.lent = False
        return self._release(part)

    def committed(self, part_ids: Iterable[int]) -> None:
        for part_id in part_ids:
            self._records.pop(part_id, None)

    def office_lost(self) -> None:
        """Lent slots come back; what was not committed stays pending."""
        for part in [p for p in self._parts.values() if p.lent]:
            part.lent = False
            self.counters.pictures_dropped += 1
            self._release(part)

    def records_to_repeat(self, limit: int) -> list[Archive]:
        """The oldest records whose commit was not heard of, without their pictures."""
        return [Archive(record) for record in itertools.islice(self._records.values(), limit)]

    # -- inside -------------------------------------------------------------------------------------------------

    def _why_blind(self, recipe: RecipeFacts) -> str:
        if self.records_full:
            return "records_full"
        if not self.camera_ready:
            return "no_camera"
        if recipe is NO_RECIPE and not self.rules.recipe_by_code:
            return "no_recipe"
        return "" if self._free_slots else "busy"

    def _new_part(self, at_ns: int, utc: datetime, line_seqno: int | None, recipe: RecipeFacts) -> _Part:
        deadline_ns = at_ns + round(self.rules.deadline_ms * NS_PER_MS)
        part = _Part(Trigger(self.next_part_id, at_ns, deadline_ns), utc, line_seqno, recipe, self._era)
        self._parts[self.next_part_id] = part
        self.next_part_id += 1
        self.counters.triggers += 1
        return part

    def _free_run_part(self, picture: Captured) -> _Part | None:
        if self._free_run is None:
            return None
        (slot, era), self._free_run = self._free_run, None
        recipe = era.recipes.get(picture.recipe, NO_RECIPE)
        part = self._new_part(picture.captured_ns, picture.captured_at, None, recipe)
        part.slot, part.capturing, part.era = slot, True, era
        return part

    def _return_free_run_slot(self) -> None:
        if self._free_run is not None:
            self._free_slots.append(self._free_run[0])
            self._free_run = None

    def _eras_in_use(self) -> list[_Era]:
        """That of now, of each part without a verdict, and of the picture that free run has asked for."""
        asked = [self._free_run[1]] if self._free_run is not None else []
        return [self._era, *asked, *(part.era for part in self._parts.values() if part.verdict is None)]

    def _workers_of(self, era: _Era) -> set[int]:
        return {worker for worker, index in self._workers.items() if index == era.index}

    def _start(self, part: _Part) -> list[Action]:
        workers = self._workers_of(part.era)
        if not workers:
            return []
        assert part.slot is not None
        assert part.picture is not None
        part.started, part.holders = True, workers
        request = Inspect(part.slot, part.trigger.part_id, part.picture.image_hw, part.recipe.number)
        return [StartFrame(tuple(sorted(part.holders)), request)]

    def _give_up(self, part: _Part, reason: str, now_ns: int) -> list[Action]:
        """Answer a part that will not be inspected; one that has its verdict may only have become free to go."""
        if part.verdict is not None:
            return self._release(part)
        part_id, recipe = part.trigger.part_id, part.recipe
        verdict = Verdict(part_id, Outcome.NOT_INSPECTED, (reason,), (), 0, now_ns, recipe.model_id, recipe.name)
        by_reason = self.counters.not_inspected_by_reason
        by_reason[reason] = by_reason.get(reason, 0) + 1
        if not part.holders or part.slot is None:
            return self._conclude(part, verdict, now_ns) + self._release(part)
        # Until the cancellation is carried out a worker may still claim a tile: the slot waits for Left or `sweep`.
        return [CancelFrame(part.slot), *self._conclude(part, verdict, now_ns)]

    def _conclude(self, part: _Part, verdict: Verdict, now_ns: int) -> list[Action]:
        """The one place where a part gets its verdict."""
        part.verdict = verdict
        self.counters.outcomes[verdict.outcome] += 1
        self.last_verdicts.append(verdict)
        label = part.picture.label if part.picture is not None else ""
        recipe = part.recipe
        all_ms = durations_ms(part.trigger.at_ns, part.path, part.picture, now_ns)
        record = InspectionRecord(
            part.trigger,
            verdict,
            part.triggered_at,
            part.line_seqno,
            all_ms,
            label,
            recipe.number,
            recipe.digest,
            part.tiles,
            part.tile_px,
        )
        # The record first: whatever was announced is in the office's hands, even if this process is killed in between.
        return [*self._keep(part, record), Announce(verdict, part.line_seqno, part.trigger, recipe)]

    def _keep(self, part: _Part, record: InspectionRecord) -> list[Action]:
        """Archive the record; a full memory of records (the office is long dead) costs the newest, counted."""
        if self.records_full:
            self.counters.records_dropped += 1
            return []
        self._records[record.trigger.part_id] = record
        if part.picture is None:
            return [Archive(record)]
        if not self._wants_picture(record.verdict) or self._too_few_slots():
            return [Archive(record)]
        part.lent = True
        return [Archive(record, part.slot, part.picture.image_hw)]

    def _too_few_slots(self) -> bool:
        scarce = len(self._free_slots) < self.rules.reserved_slots
        self.counters.pictures_dropped += scarce
        return scarce

    def _wants_picture(self, verdict: Verdict) -> bool:
        if verdict.outcome is not Outcome.PASS:
            return True
        self._ok_count += 1
        return self.rules.keep_ok_every > 0 and self._ok_count % self.rules.keep_ok_every == 0

    def _still_inside(self, part: _Part) -> bool:
        """Whether a worker may yet write into the slot of a part whose tiles can no longer be claimed."""
        if self._working_on is None:
            return bool(part.holders)
        return any(self._working_on(worker) == part.trigger.part_id for worker in part.holders)

    def _release(self, part: _Part) -> list[Action]:
        """Forget a finished part and free its slot."""
        known = self._parts.get(part.trigger.part_id) is part
        if known and part.finished and not self._still_inside(part):
            del self._parts[part.trigger.part_id]
            self._free_slots += [part.slot] if part.slot is not None else []
        return []
