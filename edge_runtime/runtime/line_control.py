"""What follows from each event of the line. No port, process or clock inside.

Each event method takes what happened and returns the actions that must follow, in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from edge_runtime.clock import NS_PER_MS
from edge_runtime.runtime.events import RecipeAsked
from edge_runtime.runtime.line_actions import Action, RecipeSelected
from edge_runtime.runtime.line_rules import LineRules
from edge_runtime.runtime.messages import Archive, Capture, Captured, Inspected
from edge_runtime.runtime.part_book import Era, Part, PartBook
from edge_runtime.runtime.part_times import picture_path, work_path
from edge_runtime.runtime.recipes import NO_RECIPE, RecipeBook, RecipeFacts, number_at_start


class LineControl:
    """Which recipe a part gets and which workers inspect it; its book holds parts, slots and records."""

    def __init__(
        self,
        rules: LineRules,
        first_part_id: int = 1,
        working_on: Callable[[int], int | None] | None = None,
        kept_recipe: int | None = None,
    ) -> None:
        """`working_on` as in `PartBook`. `kept_recipe`: the number selected in the last run."""
        known = [recipe.number for recipe in rules.recipes]
        self.recipes = RecipeBook(rules.recipes, rules.recipe_at_start or number_at_start(known, kept_recipe))
        self.camera_ready = False
        self.end_of_pictures = False
        self._rules = rules
        self._guard_ns = round(rules.deadline_guard_ms * NS_PER_MS)
        self._book = PartBook(rules, first_part_id, working_on)
        self.counters, self.last_verdicts = self._book.counters, self._book.last_verdicts
        self._era = Era(0, self.recipes.known)
        self._workers: dict[int, int] = {}

    # -- what the outside may ask -------------------------------------------------------------------------------

    @property
    def next_part_id(self) -> int:
        return self._book.next_part_id

    @property
    def parts_in_flight(self) -> int:
        """Parts that have no verdict yet."""
        return len(self._book.open_parts)

    @property
    def pending_records(self) -> int:
        """Records whose commit has not been acknowledged."""
        return self._book.pending_records

    @property
    def records_full(self) -> bool:
        return self._book.records_full

    @property
    def has_room(self) -> bool:
        """Whether a slot is free for the next part's picture."""
        return self._book.free_slots > 0

    @property
    def models_in_use(self) -> set[str]:
        """The ids of all models that a part may yet be inspected by."""
        return {recipe.model_id for era in self._eras_in_use() for recipe in era.recipes.values()}

    @property
    def recipe_missing(self) -> bool:
        """Whether nothing is inspected because no recipe is selected."""
        return self.recipes.selected is NO_RECIPE and not self._rules.recipe_by_code

    @property
    def workers_ready(self) -> int:
        """Those that can work on the next part."""
        return len(self._workers_of(self._era))

    def next_expiry_ns(self) -> int | None:
        """When `expire` next has something to do."""
        deadlines = [part.trigger.deadline_ns for part in self._book.open_parts]
        return min(deadlines) - self._guard_ns if deadlines else None

    # -- recipes ------------------------------------------------------------------------------------------------

    def recipe_asked(self, asked: RecipeAsked, now_ns: int) -> tuple[str, list[Action]]:
        """Why a recipe cannot be selected (empty: it is), and what to do.

        Parts triggered from then on get it, those before keep theirs. An unknown number leaves the recipe as it is,
        but on input lines: a code that stands there is no single question that the controller sees refused, so
        nothing is inspected until the lines show a number that is known.
        """
        at_ns = now_ns if asked.at_ns is None else asked.at_ns
        if self._rules.recipe_by_code:
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
        before = self.recipes.selected
        self.recipes.replace(recipes, recipe_at_start or before.number)
        self._era = Era(self._era.index + 1, self.recipes.known)
        return [RecipeSelected(self.recipes.selected, self.recipes.selected != before)]

    def needs(self, worker: int) -> bool:
        """Whether a part may yet want this worker, or is in its hands."""
        wanted = self._workers.get(worker) in {era.index for era in self._eras_in_use()}
        return wanted or any(worker in part.holders for part in self._book)

    # -- triggers and pictures ----------------------------------------------------------------------------------

    def trigger(self, at_ns: int, now_ns: int, now_utc: datetime, line_seqno: int | None) -> tuple[int, list[Action]]:
        """A part has come: its id, and what to do. A part that cannot be looked at is answered at once."""
        part = self._book.new(at_ns, now_utc, line_seqno, self.recipes.at(at_ns), self._era)
        part.path["heard"] = now_ns
        part_id, timeout_ms = part.part_id, self._rules.capture_timeout_ms
        blocker = self._why_blind(part.recipe)
        if blocker:
            return part_id, self._book.give_up(part, blocker, now_ns)
        return part_id, [Capture(self._book.give_slot(part), part_id, at_ns, timeout_ms, part.recipe.number)]

    def ask_free_run(self) -> list[Action]:
        """In free run, ask for the newest picture as soon as there is room for it."""
        if not self._rules.free_run or self._book.has_reserved or self.end_of_pictures:
            return []
        recipe = self.recipes.selected
        if self._why_blind(recipe) or not self.workers_ready or self._book.free_slots <= 1:
            return []
        slot = self._book.reserve_slot(self._era)
        return [Capture(slot, 0, None, self._rules.capture_timeout_ms, recipe.number)]

    def captured(self, picture: Captured, now_ns: int) -> list[Action]:
        part = self._book.new_in_reserved(picture) if picture.part_id == 0 else self._book.get(picture.part_id)
        if part is None or not part.capturing:
            return []
        part.capturing, part.picture = False, picture
        part.path |= picture_path(picture, now_ns)
        selected = self._follow_code(picture, now_ns)
        if part.verdict is not None:
            self._book.release(part)
            return selected
        part.recipe = part.era.recipes.get(picture.recipe, NO_RECIPE)
        unfit = picture.unfit or ("" if part.recipe.number else "no_recipe")
        follows = self._book.give_up(part, unfit, now_ns) if unfit else self._start(part)
        return [*selected, *follows]

    def _follow_code(self, picture: Captured, now_ns: int) -> list[Action]:
        """The code in a picture selects the recipe of its own part and of those that follow; an unknown one, none."""
        unread = not self._rules.recipe_by_code or picture.unfit == "unreadable_code"
        if unread or picture.recipe == self.recipes.selected.number:
            return []
        return self._select(picture.recipe, now_ns)

    def not_captured(self, part_id: int, reason: str, end: bool, now_ns: int) -> list[Action]:
        """No picture for this part (0: for the free run's request)."""
        self.end_of_pictures |= end
        if part_id == 0:
            self._book.return_reserved()
            return []
        part = self._book.get(part_id)
        if part is None or not part.capturing:
            return []
        self.counters.frames_not_captured += 1
        part.capturing = False
        return self._book.give_up(part, "end_of_pictures" if end else reason, now_ns)

    def camera_lost(self, now_ns: int) -> list[Action]:
        """The capture process is gone; what it was asked for will not come."""
        self.camera_ready = False
        self._book.return_reserved()
        actions: list[Action] = []
        for part in [each for each in self._book if each.capturing]:
            part.capturing = False
            actions += self._book.give_up(part, "camera_lost", now_ns)
        return actions

    # -- workers ------------------------------------------------------------------------------------------------

    def worker_ready(self, worker: int) -> list[Action]:
        """A worker can work by the recipes of now: it gets their frames that nobody has started."""
        self._workers[worker] = self._era.index
        waiting = [part for part in self._book.open_parts if part.picture and not part.started]
        return [action for part in waiting for action in self._start(part)]

    def inspected(self, result: Inspected, now_ns: int) -> list[Action]:
        """A worker's verdict.

        One that comes at the deadline or later, or was made by another recipe than the part's, never lets it through.
        """
        part = self._book.get(result.verdict.part_id)
        if part is None or part.verdict is not None or part.trigger.deadline_ns <= now_ns:
            self.counters.late += 1
            return self._book.give_up(part, "deadline", now_ns) if part is not None else []
        if (result.verdict.recipe_id, result.verdict.model_id) != (part.recipe.name, part.recipe.model_id):
            return self._book.give_up(part, "wrong_recipe", now_ns)
        part.path |= work_path(result, now_ns)
        part.tiles, part.tile_px, part.engine = result.tile_counts, result.tile_px, result.engine
        self.counters.tiles += result.tile_counts
        return self._book.conclude(part, result.verdict, now_ns)

    def left(self, worker: int, part_id: int) -> list[Action]:
        part = self._book.get(part_id)
        if part is not None:
            part.holders.discard(worker)
            self._book.release(part)
        return []

    def worker_lost(self, worker: int, working_on: int | None, now_ns: int) -> list[Action]:
        """A worker is gone. Its frame has a hole and is given up; the other frames go on without it."""
        self._workers.pop(worker, None)
        actions: list[Action] = []
        for part in [each for each in self._book if worker in each.holders]:
            part.holders.discard(worker)
            if part.verdict is None and part.part_id == working_on:
                actions += self._book.give_up(part, "worker_lost", now_ns)
            elif part.verdict is None and not part.holders:
                part.started = False
                actions += self._start(part)
            else:
                self._book.release(part)
        return actions

    # -- time ---------------------------------------------------------------------------------------------------

    def expire(self, now_ns: int) -> list[Action]:
        """Give up every part whose deadline is `deadline_guard_ms` away or less."""
        limit_ns = now_ns + self._guard_ns
        due = [part for part in self._book.open_parts if part.trigger.deadline_ns <= limit_ns]
        return [action for part in due for action in self._book.give_up(part, "deadline", now_ns)]

    def give_up(self, part_ids: Iterable[int], reason: str, now_ns: int) -> list[Action]:
        """Answer these parts now, as far as they have no verdict yet."""
        parts = filter(None, map(self._book.get, part_ids))
        still_open = (part for part in parts if part.verdict is None)
        return [action for part in still_open for action in self._book.give_up(part, reason, now_ns)]

    def give_up_all(self, reason: str, now_ns: int) -> list[Action]:
        """Answer every open part now, because the daemon stops."""
        return [action for part in self._book.open_parts for action in self._book.give_up(part, reason, now_ns)]

    def sweep(self) -> None:
        """Free the slots of cancelled frames that no worker is inside of; call it after actions were carried out."""
        for part in self._book:
            self._book.release(part)

    # -- office -------------------------------------------------------------------------------------------------

    def slot_read(self, part_id: int) -> list[Action]:
        part = self._book.get(part_id)
        if part is not None:
            part.lent = False
            self._book.release(part)
        return []

    def committed(self, part_ids: Iterable[int]) -> None:
        self._book.committed(part_ids)

    def office_lost(self) -> None:
        """Lent slots come back; what was not committed stays pending."""
        for part in [each for each in self._book if each.lent]:
            part.lent = False
            self.counters.pictures_dropped += 1
            self._book.release(part)

    def records_to_repeat(self, limit: int) -> list[Archive]:
        """The oldest records whose commit was not heard of, without their pictures."""
        return self._book.records_to_repeat(limit)

    # -- inside -------------------------------------------------------------------------------------------------

    def _why_blind(self, recipe: RecipeFacts) -> str:
        if self.records_full:
            return "records_full"
        if not self.camera_ready:
            return "no_camera"
        if recipe is NO_RECIPE and not self._rules.recipe_by_code:
            return "no_recipe"
        return "" if self.has_room else "busy"

    def _eras_in_use(self) -> list[Era]:
        """That of now, of each part without a verdict, and of the picture that free run has asked for."""
        return [self._era, *self._book.eras_in_use]

    def _workers_of(self, era: Era) -> set[int]:
        return {worker for worker, index in self._workers.items() if index == era.index}

    def _start(self, part: Part) -> list[Action]:
        return self._book.start(part, self._workers_of(part.era))
