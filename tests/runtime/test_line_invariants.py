"""Whatever happens on the line, in any order: one verdict a part and in time, no slot shared or lost, no record lost,
and each part by the recipe that was selected when it came.

Line control and the frame ring are the real ones; capture, workers and office are played by the test, each with its
own pipe, and may die at any step.
"""

from collections import Counter, deque
from datetime import datetime, timezone
from functools import partial

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge_runtime.clock import NS_PER_MS
from edge_runtime.runtime.events import RecipeAsked
from edge_runtime.runtime.frame_ring import FrameRing
from edge_runtime.runtime.line_actions import Announce, CancelFrame, RecipeSelected, StartFrame
from edge_runtime.runtime.line_control import LineControl
from edge_runtime.runtime.line_rules import LineRules
from edge_runtime.runtime.messages import Archive, Capture, Captured, Inspect, Inspected, Left
from edge_runtime.runtime.recipes import RecipeFacts
from edge_runtime.runtime.ring_layout import RingLayout
from edge_runtime.values import Outcome, Verdict

UTC = datetime(2026, 1, 1, tzinfo=timezone.utc)
HW = (1, 1)
TILES = 2
WORKERS = range(3)
DEADLINE_NS = 20 * NS_PER_MS


def recipes_of(era: int) -> tuple[RecipeFacts, ...]:
    return tuple(RecipeFacts(number, f"recipe-{number}", f"model-{era}", f"{era}{number:07x}") for number in (1, 2, 3))


class Worker:
    """An inspection process: what it was asked, the tile it is in, and what it said that the line has not read."""

    def __init__(self, era: int) -> None:
        self.era = era
        self.asked: deque[Inspect] = deque()
        self.inside: Inspect | None = None
        self.tile = 0
        self.concluding = False
        self.said: deque[Inspected | Left] = deque()


class LineMachine(RuleBasedStateMachine):
    @initialize(
        slot_count=st.integers(1, 4),
        reserved_slots=st.integers(0, 2),
        keep_ok_every=st.integers(0, 2),
        max_pending_records=st.sampled_from([3, 1000]),
        free_run=st.booleans(),
        guard_ms=st.sampled_from([0.0, 3.0]),
        knows_who_works=st.booleans(),
        recipe_by_code=st.booleans(),
        kept_recipe=st.sampled_from([None, 1, 2, 9]),
        worker_count=st.integers(0, 3),
    )
    def begin(self, guard_ms, knows_who_works, kept_recipe, worker_count, **rules) -> None:
        self.rules = LineRules(20, capture_timeout_ms=5, recipes=recipes_of(0), deadline_guard_ms=guard_ms, **rules)
        self.ring = FrameRing.create(RingLayout(rules["slot_count"], 1))
        working_on = self.ring.working_on if knows_who_works else None
        self.control = LineControl(self.rules, 1, working_on, kept_recipe)
        self.selections = [(0, kept_recipe if kept_recipe in (1, 2, 3) else 0)]
        self.recipes: dict[int, int] = {}
        self.era, self.eras, self.slot_eras = 0, dict[int, int](), dict[int, int]()
        self.now_ns = NS_PER_MS
        self.open_parts: dict[int, int] = {}
        self.line_seqnos: dict[int, int] = {}
        self.announced: dict[int, Verdict] = {}
        self.recorded: dict[int, Verdict] = {}
        self.unrecorded: list[int] = []
        self.pending: dict[int, Archive] = {}
        self.dropped = 0
        self.camera_asked: deque[Capture] | None = None
        self.pictures: dict[int, int] = {}
        self.slot_owners: dict[int, int] = {}
        self.workers: dict[int, Worker] = {}
        self.office: dict[int, int] | None = {}
        self.old_messages: list = []
        self.the_camera_comes()
        for index in range(worker_count):
            self.a_worker_comes(index)

    def teardown(self) -> None:
        if hasattr(self, "ring"):
            self.everything_comes_to_rest()
            self.ring.close()

    # -- what line control wants --------------------------------------------------------------------------------

    def do(self, actions: list) -> None:
        for action in actions:
            getattr(self, f"do_{type(action).__name__}")(action)
        assert len(self.unrecorded) == self.control.counters.records_dropped - self.dropped
        self.dropped += len(self.unrecorded)
        self.unrecorded.clear()

    def do_Capture(self, capture: Capture) -> None:  # noqa: N802
        assert self.camera_asked is not None, "a picture is asked of a camera that is not there"
        assert capture.part_id == 0 or capture.part_id in self.open_parts
        assert self.users(capture.slot) == [], "the slot is in use"
        assert sum(each.part_id == 0 for each in self.camera_asked) <= (capture.part_id != 0)
        assert capture.recipe == self.recipes.get(capture.part_id, self.selections[-1][1])
        assert capture.recipe or self.rules.recipe_by_code
        self.slot_owners[capture.slot], self.slot_eras[capture.slot] = capture.part_id, self.era
        self.camera_asked.append(capture)

    def users(self, slot: int) -> list:
        """Who may read or write this slot now."""
        in_capture = [each for each in self.camera_asked or () if each.slot == slot]
        in_workers = [index for index, worker in self.workers.items() if worker.inside and worker.inside.slot == slot]
        waiting = [part for part, of_part in self.pictures.items() if of_part == slot and part in self.open_parts]
        in_office = [part for part, lent in (self.office or {}).items() if lent == slot]
        return in_capture + in_workers + waiting + in_office

    def do_StartFrame(self, start: StartFrame) -> None:  # noqa: N802
        request = start.request
        assert request.part_id in self.open_parts, "a part with a verdict is inspected"
        assert self.pictures[request.part_id] == request.slot
        assert self.recipes[request.part_id] == request.recipe
        assert not any(each.inside and each.inside.slot == request.slot for each in self.workers.values())
        assert start.workers
        era = self.eras[request.part_id]
        assert set(start.workers) == {index for index, worker in self.workers.items() if worker.era == era}
        self.ring.start(request.slot, request.part_id)
        for index in start.workers:
            self.workers[index].asked.append(request)

    def do_CancelFrame(self, cancel: CancelFrame) -> None:  # noqa: N802
        self.ring.cancel(cancel.slot)

    def do_Announce(self, announce: Announce) -> None:  # noqa: N802
        verdict = announce.verdict
        deadline_ns = self.open_parts.pop(verdict.part_id)
        assert announce.trigger.deadline_ns == deadline_ns
        assert announce.line_seqno == self.line_seqnos.get(verdict.part_id)
        number = self.recipes[verdict.part_id]
        assert announce.recipe.number == number
        assert announce.recipe.model_id == verdict.model_id == (f"model-{self.eras[verdict.part_id]}" if number else "")
        assert verdict.recipe_id == (f"recipe-{number}" if number else "")
        assert verdict.reasons == ("no_recipe",) or number or verdict.outcome is Outcome.NOT_INSPECTED
        assert verdict.outcome is Outcome.NOT_INSPECTED or self.now_ns < deadline_ns, "a verdict after the deadline"
        self.announced[verdict.part_id] = verdict
        if self.recorded.pop(verdict.part_id, None) is not verdict:
            self.unrecorded.append(verdict.part_id)

    def do_Archive(self, archive: Archive) -> None:  # noqa: N802
        part_id = archive.record.trigger.part_id
        assert part_id not in self.announced, "the record goes first: whoever was told can look it up"
        assert archive.record.recipe_number == self.recipes[part_id]
        self.recorded[part_id] = archive.record.verdict
        self.pending[part_id] = Archive(archive.record)
        if archive.slot is None:
            return
        assert self.pictures[part_id] == archive.slot
        if self.office is None:
            assert self.control.slot_read(part_id) == []
        else:
            self.office[part_id] = archive.slot

    # -- recipes ------------------------------------------------------------------------------------------------

    @rule(
        number=st.integers(1, 4), source=st.sampled_from(["serial", "gpio"]), age_ms=st.sampled_from([None, 0, 2, 30])
    )
    def a_recipe_is_asked(self, number, source, age_ms) -> None:
        at_ns = None if age_ms is None else max(0, self.now_ns - age_ms * NS_PER_MS)
        refusal, actions = self.control.recipe_asked(RecipeAsked(number, source, at_ns), self.now_ns)
        if self.rules.recipe_by_code:
            assert (refusal, actions) == ("recipe_by_code", [])
            return
        assert refusal == ("" if number < 4 else "unknown_recipe")
        if number == 4 and source == "serial":
            assert actions == []
            return
        last_ns, last = self.selections[-1]
        chosen = number if number < 4 else 0
        if chosen != last:
            self.selections.append((max(last_ns, self.now_ns if at_ns is None else at_ns), chosen))
        (selected,) = actions
        assert isinstance(selected, RecipeSelected)
        assert selected.recipe.number == self.control.recipes.selected.number == chosen

    @rule()
    def other_recipes_are_taken_over(self) -> None:
        self.era += 1
        (selected,) = self.control.take_over(recipes_of(self.era), 0, self.now_ns)
        self.do([selected])
        assert selected.recipe.number == 0 or selected.recipe.model_id == f"model-{self.era}"

    @rule(index=st.sampled_from(WORKERS))
    def a_worker_that_nothing_needs_leaves(self, index) -> None:
        worker = self.workers.get(index)
        if worker is not None and not self.control.needs(index):
            assert worker.era < self.era
            assert worker.inside is None
            assert not any(each.part_id in self.open_parts for each in worker.asked), "it is wanted"
            newest = [each.slot for each in self.camera_asked or () if each.part_id == 0]
            assert all(self.slot_eras[slot] != worker.era for slot in newest), "free run's next picture is its own"
            self.a_worker_dies(index)

    def selected_at(self, at_ns: int) -> int:
        earlier = [number for since_ns, number in self.selections if since_ns <= at_ns]
        return earlier[-1]

    # -- time and triggers --------------------------------------------------------------------------------------

    @rule(duration_ms=st.sampled_from([0.5, 3, 10, 25]), look=st.booleans())
    def time_passes(self, duration_ms, look) -> None:
        self.now_ns += round(duration_ms * NS_PER_MS)
        if look:
            self.the_line_looks_at_its_deadlines()

    def the_line_looks_at_its_deadlines(self) -> None:
        self.do(self.control.expire(self.now_ns))
        self.control.sweep()
        limit_ns = self.now_ns + round(self.rules.deadline_guard_ms * NS_PER_MS)
        assert all(deadline_ns > limit_ns for deadline_ns in self.open_parts.values())

    @rule(age_ms=st.sampled_from([0, 0, 0, 1, 30]))
    def a_part_comes(self, age_ms) -> None:
        self.trigger(max(0, self.now_ns - age_ms * NS_PER_MS))

    @precondition(lambda self: self.camera_asked is not None)
    @rule(entered=st.booleans())
    def a_part_comes_and_its_picture_is_taken(self, entered) -> None:
        self.trigger(self.now_ns)
        while self.camera_asked:
            self.the_camera_answers(True)
        for index, worker in self.workers.items() if entered else ():
            while worker.asked and not worker.inside:
                self.work(index, worker, True)

    def trigger(self, at_ns: int) -> list:
        part_id = self.control.next_part_id
        self.open_parts[part_id], self.line_seqnos[part_id] = at_ns + DEADLINE_NS, part_id % 5
        self.recipes[part_id] = self.selected_at(at_ns)
        self.eras[part_id] = self.era
        given_id, actions = self.control.trigger(at_ns, self.now_ns, UTC, part_id % 5)
        assert given_id == part_id
        assert isinstance(actions[-1], Capture | Announce)
        self.do(actions)
        return actions

    @rule()
    def the_line_asks_for_the_newest_picture(self) -> None:
        actions = self.control.ask_free_run()
        assert self.rules.free_run or not actions
        self.do(actions)

    def the_line_stops_waiting(self) -> None:
        self.do(self.control.give_up_all("stopping", self.now_ns))
        assert self.control.parts_in_flight == 0

    # -- the camera ---------------------------------------------------------------------------------------------

    @precondition(lambda self: self.camera_asked is None)
    @rule()
    def the_camera_comes(self) -> None:
        self.camera_asked = deque()
        self.control.camera_ready = True

    @precondition(lambda self: self.camera_asked)
    @rule(
        works=st.sampled_from([True, True, True, False]),
        unfit=st.sampled_from(["", "", "", "not_template_size"]),
        code=st.integers(0, 4),
    )
    def the_camera_answers(self, works, unfit="", code=1) -> None:
        asked = self.camera_asked.popleft()
        if not works:
            self.do(self.control.not_captured(asked.part_id, "no_frame", False, self.now_ns))
            return
        part_id = asked.part_id or self.control.next_part_id
        if asked.part_id == 0:
            self.open_parts[part_id], self.recipes[part_id] = self.now_ns + DEADLINE_NS, asked.recipe
            self.eras[part_id] = self.slot_eras[asked.slot]
        self.pictures[part_id], self.slot_owners[asked.slot] = asked.slot, part_id
        recipe = asked.recipe
        if self.rules.recipe_by_code:
            recipe, unfit = self.read_code(part_id, code, unfit)
        picture = Captured(asked.slot, asked.part_id, HW, self.now_ns, UTC, recipe, unfit=unfit)
        self.do(self.control.captured(picture, self.now_ns))
        assert not unfit or part_id in self.announced
        assert recipe or part_id in self.announced
        assert self.control.next_part_id > part_id
        if asked.part_id:
            self.old_messages.append(picture)

    def read_code(self, part_id: int, code: int, unfit: str) -> tuple[int, str]:
        """The picture shows recipe 1, 2 or 3, an unknown code (0), or none that can be read (4)."""
        recipe, unfit = (0, "unreadable_code") if code == 4 else (code, unfit if code else "unknown_code")
        if part_id in self.open_parts:  # the record of one that was given up is written
            self.recipes[part_id] = recipe
        if code < 4 and code != self.selections[-1][1]:
            self.selections.append((max(self.selections[-1][0], self.now_ns), code))
        return recipe, unfit

    def do_RecipeSelected(self, selected: RecipeSelected) -> None:  # noqa: N802
        assert selected.recipe.number == self.selections[-1][1]

    def the_camera_dies(self) -> None:
        self.camera_asked = None
        self.do(self.control.camera_lost(self.now_ns))

    # -- the workers --------------------------------------------------------------------------------------------

    @rule(index=st.sampled_from(WORKERS))
    def a_worker_comes(self, index) -> None:
        if index not in self.workers:
            self.workers[index] = Worker(self.era)
            self.do(self.control.worker_ready(index))

    @rule(index=st.sampled_from(WORKERS), good=st.booleans(), steps=st.integers(1, 6))
    def a_worker_works(self, index, good, steps) -> None:
        for _ in range(steps if index in self.workers else 0):
            self.work(index, self.workers[index], good)

    def work(self, index: int, worker: Worker, good: bool) -> None:
        """One step of `InspectionWorker`: prepare the frame and claim a tile, finish it, rest, or leave."""
        if worker.concluding:
            worker.concluding, worker.inside = False, None
            self.ring.rest(index)
        elif worker.inside is not None:
            if self.ring.finish(worker.inside.slot, worker.inside.part_id, TILES, worker.tile):
                worker.said.append(self.result(worker.inside, good))
            worker.concluding = True
        elif worker.asked:
            asked = worker.asked[0]
            self.ring.prepare(asked.slot, asked.part_id, index, partial(self.enter, asked))
            tile = self.ring.claim(asked.slot, asked.part_id, TILES, index)
            if tile is None:
                worker.asked.popleft()
                worker.said.append(Left(asked.part_id, TILES, 0.0))
            else:
                self.enter(asked)
                worker.inside, worker.tile = asked, tile

    def enter(self, asked: Inspect) -> None:
        assert self.slot_owners[asked.slot] == asked.part_id, "a worker enters the slot of another part"

    def result(self, request: Inspect, good: bool) -> Inspected:
        outcome, reasons = (Outcome.PASS, ()) if good else (Outcome.REJECT, ("open",))
        return Inspected(
            Verdict(
                request.part_id,
                outcome,
                reasons,
                (),
                0,
                self.now_ns,
                f"model-{self.eras[request.part_id]}",
                f"recipe-{request.recipe}",
            )
        )

    @rule(index=st.sampled_from(WORKERS), count=st.integers(1, 5))
    def the_line_hears_a_worker(self, index, count) -> None:
        self.hear(index, count)

    def hear(self, index: int, count: int) -> None:
        said = self.workers[index].said if index in self.workers else deque()
        for _ in range(min(count, len(said))):
            message = said.popleft()
            if isinstance(message, Inspected):
                self.do(self.control.inspected(message, self.now_ns))
                self.old_messages.append(message)
            else:
                self.do(self.control.left(index, message.part_id))

    @rule(index=st.sampled_from(WORKERS))
    def a_worker_dies(self, index) -> None:
        if index in self.workers:
            self.hear(index, 1000)
            working_on = self.ring.working_on(index)
            self.ring.rest(index)
            del self.workers[index]
            self.do(self.control.worker_lost(index, working_on, self.now_ns))

    # -- the office ---------------------------------------------------------------------------------------------

    @precondition(lambda self: self.office)
    @rule(data=st.data())
    def the_office_has_read_a_picture(self, data) -> None:
        part_id = data.draw(st.sampled_from(sorted(self.office)))
        del self.office[part_id]
        self.do(self.control.slot_read(part_id))

    @precondition(lambda self: self.office is not None and self.pending)
    @rule(data=st.data())
    def the_office_has_committed(self, data) -> None:
        part_ids = data.draw(st.lists(st.sampled_from(sorted(self.pending)), max_size=4))
        self.control.committed([*part_ids, *part_ids, 999_999])
        for part_id in set(part_ids):
            del self.pending[part_id]

    def the_office_dies(self) -> None:
        self.office = None
        self.control.office_lost()

    @precondition(lambda self: self.office is None)
    @rule()
    def the_office_comes(self) -> None:
        self.office = {}

    @rule(what=st.sampled_from(["the_camera_dies", "the_office_dies", "the_line_stops_waiting"]))
    def something_ends(self, what) -> None:
        getattr(self, what)()

    # -- what was said once is said again -----------------------------------------------------------------------

    @precondition(lambda self: self.old_messages)
    @rule(data=st.data())
    def an_old_message_comes_again(self, data) -> None:
        message = data.draw(st.sampled_from(self.old_messages))
        hear = self.control.captured if isinstance(message, Captured) else self.control.inspected
        assert hear(message, self.now_ns) == []

    @rule(part_id=st.integers(1, 40))
    def a_message_about_a_part_long_gone_comes(self, part_id) -> None:
        if part_id in self.open_parts or part_id in (self.office or {}):
            return
        assert self.control.slot_read(part_id) == []
        asked = [each.part_id for each in self.camera_asked or ()]
        if part_id not in asked:
            assert self.control.not_captured(part_id, "no_frame", False, self.now_ns) == []
        for index in WORKERS:
            if index not in self.workers:
                assert self.control.left(index, part_id) == []

    # -- always -------------------------------------------------------------------------------------------------

    @invariant()
    def every_part_is_open_or_answered(self) -> None:
        counters = self.control.counters
        assert self.control.parts_in_flight == len(self.open_parts)
        assert counters.triggers == sum(counters.outcomes.values()) + len(self.open_parts)
        assert counters.outcomes == {**dict.fromkeys(Outcome, 0), **Counter(v.outcome for v in self.announced.values())}
        assert sum(counters.not_inspected_by_reason.values()) == counters.outcomes[Outcome.NOT_INSPECTED]

    @invariant()
    def the_next_deadline_is_known(self) -> None:
        guard_ns = round(self.rules.deadline_guard_ms * NS_PER_MS)
        assert self.control.next_expiry_ns() == min((d - guard_ns for d in self.open_parts.values()), default=None)

    @invariant()
    def every_record_is_kept_until_it_is_on_disk(self) -> None:
        assert self.control.pending_records == len(self.pending) <= self.rules.max_pending_records
        assert self.control.records_to_repeat(1000) == list(self.pending.values())

    def everything_comes_to_rest(self) -> None:
        """When all have answered, every slot is free and the line works as on the first day."""
        while self.camera_asked:
            self.the_camera_answers(False)
        for index, worker in self.workers.items():
            while worker.asked or worker.inside:
                self.work(index, worker, True)
            self.hear(index, 1000)
        self.now_ns += 10 * DEADLINE_NS
        self.the_line_looks_at_its_deadlines()
        assert self.open_parts == {}
        for part_id in sorted(self.office or {}):
            self.office.pop(part_id)
            self.do(self.control.slot_read(part_id))
        self.control.sweep()
        self.control.committed(list(self.pending))
        self.pending.clear()
        self.camera_asked = self.camera_asked or deque()
        self.control.camera_ready = True
        self.a_recipe_is_asked(1, "serial", None)
        actions = [self.trigger(self.now_ns)[-1] for _ in range(self.rules.slot_count + 1)]
        slots = [action.slot for action in actions if isinstance(action, Capture)]
        assert sorted(slots) == list(range(self.rules.slot_count))
        assert isinstance(actions[-1], Announce)


TestLine = LineMachine.TestCase
TestLine.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
