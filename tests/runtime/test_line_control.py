"""Each event of the line by itself: one verdict a part, in time, and no slot or record lost."""

from datetime import datetime, timezone

import pytest

from edge_runtime.clock import NS_PER_MS
from edge_runtime.runtime.events import RecipeAsked
from edge_runtime.runtime.line_actions import Announce, CancelFrame, RecipeSelected, StartFrame
from edge_runtime.runtime.line_control import LineControl
from edge_runtime.runtime.line_rules import LineRules
from edge_runtime.runtime.messages import Archive, Capture, Captured, Inspect, Inspected
from edge_runtime.runtime.part_times import STATIONS
from edge_runtime.runtime.recipes import RecipeFacts
from edge_runtime.values import Outcome, Verdict

UTC = datetime(2026, 1, 1, tzinfo=timezone.utc)
HW = (480, 640)
DEADLINE_MS = 100
RECIPE = RecipeFacts(1, "recipe", "model", "01234567")


class Here:
    """A line with its own time; every method gives the actions that line control wants."""

    def __init__(self, workers: int = 1, camera: bool = True, **rules) -> None:
        defaults = {"slot_count": 6, "deadline_guard_ms": 0.0, "keep_ok_every": 1, "reserved_slots": 0}
        self.rules = LineRules(
            deadline_ms=DEADLINE_MS, capture_timeout_ms=50, **{"recipes": (RECIPE,), **defaults, **rules}
        )
        self.control = LineControl(self.rules, first_part_id=7)
        self.control.camera_ready = camera
        for worker in range(workers):
            self.control.worker_ready(worker)
        self.now_ns = 1000 * NS_PER_MS

    def after_ms(self, duration_ms: float) -> None:
        self.now_ns += round(duration_ms * NS_PER_MS)

    def trigger(self, line_seqno: int | None = None) -> list:
        return self.control.trigger(self.now_ns, self.now_ns, UTC, line_seqno)[1]

    def captured(self, capture: Capture, label: str = "") -> list:
        asked_ns, taken_ns, stored_ns = (self.now_ns - round(ms * NS_PER_MS) for ms in (8, 3, 1))
        picture = Captured(
            capture.slot,
            capture.part_id,
            HW,
            self.now_ns,
            UTC,
            capture.recipe,
            label,
            asked_ns=asked_ns,
            taken_ns=taken_ns,
            stored_ns=stored_ns,
        )
        return self.control.captured(picture, self.now_ns)

    def start(self) -> StartFrame:
        """A part as far as its inspection."""
        (capture,) = self.trigger()
        (start,) = self.captured(capture)
        return start

    def inspected(self, part_id: int, outcome: Outcome = Outcome.PASS) -> list:
        reasons = () if outcome is Outcome.PASS else ("open",)
        verdict = Verdict(part_id, outcome, reasons, (), 0, self.now_ns, "model", "recipe")
        return self.control.inspected(Inspected(verdict, {"tiles": 5.0, "decide": 1.0}), self.now_ns)

    def lost(self, worker: int, working_on: int | None) -> list:
        return self.control.worker_lost(worker, working_on, self.now_ns)

    def expire(self) -> list:
        return self.control.expire(self.now_ns)


def kinds(actions: list) -> list[type]:
    return [type(action) for action in actions]


def answers(actions: list) -> list[tuple[int, Outcome, tuple[str, ...]]]:
    verdicts = [action.verdict for action in actions if isinstance(action, Announce)]
    return [(verdict.part_id, verdict.outcome, verdict.reasons) for verdict in verdicts]


def not_inspected(part_id: int, reason: str) -> list[tuple[int, Outcome, tuple[str, ...]]]:
    return [(part_id, Outcome.NOT_INSPECTED, (reason,))]


# -- a part that goes well --------------------------------------------------------------------------------------


def test_a_part_goes_from_trigger_to_picture_to_workers_to_verdict():
    here = Here(workers=2)
    triggered_ns = here.now_ns
    assert here.trigger(line_seqno=17) == [Capture(0, 7, here.now_ns, 50, 1)]
    here.after_ms(10)
    assert here.captured(Capture(0, 7, None, 0, 1), "board.png") == [StartFrame((0, 1), Inspect(0, 7, HW, 1))]
    here.after_ms(20)
    archive, announce = here.inspected(7, Outcome.REJECT)
    assert (announce.verdict.outcome, announce.line_seqno, announce.trigger.part_id) == (Outcome.REJECT, 17, 7)
    assert announce.trigger.deadline_ns == triggered_ns + DEADLINE_MS * NS_PER_MS
    record = archive.record
    assert (archive.slot, archive.image_hw) == (0, HW)
    assert (record.trigger, record.verdict, record.triggered_at) == (announce.trigger, announce.verdict, UTC)
    assert (record.line_seqno, record.label) == (17, "board.png")
    hops_ms = {"heard": 0, "asked": 2, "camera": 5, "slot": 2, "told": 1, "begun": 14, "tiles": 5, "decide": 1}
    hops_ms |= {"answered": 0}
    assert record.stage_ms == {**hops_ms, "total": 30, "capture": 10}
    assert (tuple(hops_ms), sum(hops_ms.values())) == (STATIONS, 30)
    assert (here.control.parts_in_flight, here.control.pending_records) == (0, 1)


def test_the_slot_is_free_again_when_the_workers_have_left_and_the_office_has_read():
    here = Here(workers=2, slot_count=1)
    start = here.start()
    here.inspected(7)
    for step in (
        lambda: here.control.left(0, 7),
        lambda: here.control.slot_read(7),
        lambda: here.control.left(1, 7),
    ):
        assert answers(here.trigger())[0][2] == ("busy",)
        step()
    assert here.trigger()[0].slot == start.request.slot


def test_good_pictures_are_kept_every_nth_time():
    here = Here(workers=1, keep_ok_every=3)
    kept = []
    for part_id in range(7, 13):
        here.start()
        archive, _ = here.inspected(part_id)
        kept.append(archive.slot is not None)
        here.control.left(0, part_id)
        here.control.slot_read(part_id)
    assert kept == [False, False, True, False, False, True]


# -- time -------------------------------------------------------------------------------------------------------


def test_a_part_without_a_result_is_given_up_at_its_deadline_and_not_before():
    here = Here()
    here.start()
    assert here.control.next_expiry_ns() == here.now_ns + DEADLINE_MS * NS_PER_MS
    here.after_ms(DEADLINE_MS - 0.001)
    assert here.expire() == []
    here.after_ms(0.001)
    actions = here.expire()
    assert kinds(actions) == [CancelFrame, Archive, Announce]
    assert answers(actions) == not_inspected(7, "deadline")
    assert here.expire() == []
    assert here.control.next_expiry_ns() is None


def test_the_guard_gives_a_part_up_so_much_before_its_deadline():
    here = Here(deadline_guard_ms=10.0)
    here.start()
    here.after_ms(DEADLINE_MS - 10.001)
    assert here.expire() == []
    here.after_ms(0.001)
    assert answers(here.expire()) == not_inspected(7, "deadline")


def test_a_late_result_is_counted_and_changes_nothing():
    here = Here()
    here.start()
    here.after_ms(DEADLINE_MS)
    here.expire()
    assert here.inspected(7) == []
    assert here.control.counters.late == 1
    assert here.control.counters.outcomes == {Outcome.PASS: 0, Outcome.REJECT: 0, Outcome.NOT_INSPECTED: 1}


def test_a_good_result_read_at_the_deadline_does_not_let_its_part_through():
    here = Here()
    here.start()
    here.after_ms(DEADLINE_MS)
    assert answers(here.inspected(7)) == not_inspected(7, "deadline")
    assert here.control.counters.late == 1
    assert here.expire() == []


@pytest.mark.parametrize("end", ["captured", "not_captured", "camera_lost"])
def test_a_part_given_up_while_its_picture_is_taken_gets_no_second_verdict(end):
    here = Here(slot_count=1)
    (capture,) = here.trigger()
    here.after_ms(DEADLINE_MS)
    assert answers(here.expire()) == not_inspected(7, "deadline")
    assert answers(here.trigger()) == not_inspected(8, "busy")
    if end == "captured":
        assert here.captured(capture) == []
    elif end == "not_captured":
        assert here.control.not_captured(7, "no_frame", False, here.now_ns) == []
    else:
        assert here.control.camera_lost(here.now_ns) == []
        here.control.camera_ready = True
    assert here.trigger()[0].slot == capture.slot
    assert here.control.counters.outcomes[Outcome.NOT_INSPECTED] == 2


def test_a_picture_told_twice_does_not_start_its_frame_again():
    here = Here()
    (capture,) = here.trigger()
    assert kinds(here.captured(capture)) == [StartFrame]
    assert here.captured(capture) == []


# -- the camera -------------------------------------------------------------------------------------------------


def test_without_a_camera_the_answer_comes_at_once():
    here = Here(camera=False)
    actions = here.trigger(line_seqno=3)
    assert kinds(actions) == [Archive, Announce]
    assert answers(actions) == not_inspected(7, "no_camera")
    assert (actions[1].line_seqno, actions[0].slot) == (3, None)


@pytest.mark.parametrize("reason", ["no_frame", "wrong_frame_size", "camera_lost"])
def test_a_picture_that_does_not_come_is_an_answer(reason):
    here = Here(slot_count=1)
    here.trigger()
    assert answers(here.control.not_captured(7, reason, False, here.now_ns)) == not_inspected(7, reason)
    assert here.control.counters.frames_not_captured == 1
    assert kinds(here.trigger()) == [Capture]


@pytest.mark.parametrize("free_run", [False, True])
def test_a_picture_that_is_unfit_is_never_inspected_and_kept(free_run):
    here = Here(free_run=free_run)
    (capture,) = here.control.ask_free_run() if free_run else here.trigger()
    picture = Captured(capture.slot, capture.part_id, HW, here.now_ns, UTC, 1, "1.png", "not_template_size")
    actions = here.control.captured(picture, here.now_ns)
    assert kinds(actions) == [Archive, Announce]
    assert answers(actions) == not_inspected(7, "not_template_size")
    assert (actions[0].slot, actions[0].record.label) == (capture.slot, "1.png")
    assert here.control.worker_ready(1) == []
    assert here.control.counters.not_inspected_by_reason == {"not_template_size": 1}


def test_a_lost_camera_costs_the_pictures_asked_for_and_no_others():
    here = Here()
    here.start()
    here.trigger()
    here.trigger()
    actions = here.control.camera_lost(here.now_ns)
    assert answers(actions) == [*not_inspected(8, "camera_lost"), *not_inspected(9, "camera_lost")]
    assert answers(here.trigger()) == not_inspected(10, "no_camera")
    assert answers(here.inspected(7)) == [(7, Outcome.PASS, ())]


# -- the workers ------------------------------------------------------------------------------------------------


def test_a_lost_worker_costs_the_frame_it_worked_on_and_no_other():
    here = Here(workers=2)
    here.start()
    here.start()
    actions = here.lost(0, working_on=7)
    assert kinds(actions) == [CancelFrame, Archive, Announce]
    assert answers(actions) == not_inspected(7, "worker_lost")
    assert answers(here.inspected(8)) == [(8, Outcome.PASS, ())]


def test_a_frame_goes_on_without_a_worker_that_was_lost_elsewhere():
    here = Here(workers=2)
    here.start()
    assert here.lost(0, working_on=None) == []
    assert answers(here.inspected(7)) == [(7, Outcome.PASS, ())]
    assert here.start() == StartFrame((1,), Inspect(1, 8, HW, 1))


def test_a_frame_that_only_the_lost_worker_had_is_started_again_by_the_next():
    here = Here(workers=1)
    start = here.start()
    assert here.lost(0, working_on=None) == []
    assert here.control.worker_ready(0) == [start]
    assert here.control.worker_ready(1) == []
    assert answers(here.inspected(7)) == [(7, Outcome.PASS, ())]


def test_a_frame_that_waits_for_its_first_worker_starts_with_it():
    here = Here(workers=0)
    (capture,) = here.trigger()
    assert here.captured(capture) == []
    assert here.control.worker_ready(4) == [StartFrame((4,), Inspect(0, 7, HW, 1))]


def test_a_worker_lost_after_the_verdict_costs_nothing():
    here = Here(slot_count=1, keep_ok_every=0)
    here.start()
    here.inspected(7)
    assert here.lost(0, working_on=7) == []
    assert kinds(here.trigger()) == [Capture]


def test_the_slot_of_a_cancelled_frame_waits_only_for_a_worker_that_is_inside():
    inside = {0: 7, 1: None}
    here = Here(workers=0, slot_count=1)
    here.control = LineControl(here.rules, 7, inside.get)
    here.control.camera_ready = True
    for worker in inside:
        here.control.worker_ready(worker)
    here.start()
    here.after_ms(DEADLINE_MS)
    assert kinds(here.expire()) == [CancelFrame, Archive, Announce]
    here.control.slot_read(7)
    here.control.sweep()
    assert answers(here.trigger()) == not_inspected(8, "busy")
    inside[0] = None
    here.control.sweep()
    assert kinds(here.trigger()) == [Capture]


# -- slots and pictures -----------------------------------------------------------------------------------------


def test_a_part_too_many_is_answered_at_once():
    here = Here(slot_count=2)
    assert [action.slot for action in here.trigger() + here.trigger()] == [0, 1]
    assert answers(here.trigger()) == not_inspected(9, "busy")


def test_reserved_slots_are_not_lent_for_pictures():
    here = Here(slot_count=3, reserved_slots=2)
    here.start()
    here.trigger()
    archive, _ = here.inspected(7, Outcome.REJECT)
    assert archive.slot is None
    assert here.control.counters.pictures_dropped == 1
    here.control.left(0, 7)
    here.control.not_captured(8, "no_frame", False, here.now_ns)
    here.start()
    archive, _ = here.inspected(9, Outcome.REJECT)
    assert archive.slot is not None
    assert here.control.counters.pictures_dropped == 1


def test_a_lost_office_gives_its_slots_back_and_keeps_its_records_pending():
    here = Here(slot_count=1)
    here.start()
    archive, _ = here.inspected(7, Outcome.REJECT)
    here.control.left(0, 7)
    here.control.office_lost()
    assert here.control.counters.pictures_dropped == 1
    assert kinds(here.trigger()) == [Capture]
    assert here.control.records_to_repeat(10) == [Archive(archive.record)]
    here.control.committed([7, 7, 99])
    assert here.control.records_to_repeat(10) == []


def test_the_oldest_records_are_repeated_first():
    here = Here(camera=False)
    for _ in range(4):
        here.trigger()
    here.control.committed([8])
    assert [each.record.trigger.part_id for each in here.control.records_to_repeat(2)] == [7, 9]


def test_no_part_is_inspected_that_could_not_be_recorded():
    here = Here(max_pending_records=2, slot_count=6)
    for _ in range(3):
        here.start()
    here.inspected(7)
    here.inspected(8)
    assert here.control.records_full
    assert kinds(here.inspected(9)) == [Announce]
    assert here.control.counters.records_dropped == 1
    actions = here.trigger()
    assert kinds(actions) == [Announce]
    assert answers(actions) == not_inspected(10, "records_full")
    here.control.committed([7])
    assert kinds(here.trigger()) == [Capture]


# -- free run ---------------------------------------------------------------------------------------------------


def test_free_run_asks_for_one_picture_at_a_time_and_its_part_begins_with_the_picture():
    here = Here(free_run=True)
    (capture,) = here.control.ask_free_run()
    assert capture == Capture(0, 0, None, 50, 1)
    assert here.control.ask_free_run() == []
    assert here.control.counters.triggers == 0
    here.after_ms(30)
    assert here.captured(capture) == [StartFrame((0,), Inspect(0, 7, HW, 1))]
    assert here.control.next_expiry_ns() == here.now_ns + DEADLINE_MS * NS_PER_MS
    assert kinds(here.control.ask_free_run()) == [Capture]
    assert here.control.counters.triggers == 1


@pytest.mark.parametrize("why", ["no camera", "no worker", "no room", "not wanted"])
def test_free_run_asks_for_no_picture_that_could_not_be_inspected(why):
    here = Here(
        workers=0 if why == "no worker" else 1,
        camera=why != "no camera",
        slot_count=1 if why == "no room" else 4,
        free_run=why != "not wanted",
    )
    assert here.control.ask_free_run() == []


def test_a_free_run_picture_that_does_not_come_is_no_part_and_is_asked_for_again():
    here = Here(free_run=True, slot_count=2)
    for _ in range(3):
        assert kinds(here.control.ask_free_run()) == [Capture]
        assert here.control.not_captured(0, "no_frame", False, here.now_ns) == []
    assert kinds(here.control.ask_free_run()) == [Capture]
    assert here.control.camera_lost(here.now_ns) == []
    assert here.control.ask_free_run() == []
    here.control.camera_ready = True
    assert kinds(here.control.ask_free_run()) == [Capture]
    assert here.control.counters.triggers == 0


def test_the_end_of_the_pictures_ends_free_run():
    here = Here(free_run=True)
    here.control.ask_free_run()
    assert here.control.not_captured(0, "end_of_pictures", True, here.now_ns) == []
    assert here.control.end_of_pictures
    assert here.control.ask_free_run() == []


def test_the_end_of_the_pictures_is_the_reason_of_a_trigger_that_comes_later():
    here = Here()
    here.trigger()
    actions = here.control.not_captured(7, "whatever", True, here.now_ns)
    assert answers(actions) == not_inspected(7, "end_of_pictures")


# -- stopping ---------------------------------------------------------------------------------------------------


def test_stopping_answers_every_open_part_once():
    here = Here()
    here.start()
    here.trigger()
    actions = here.control.give_up_all("stopping", here.now_ns)
    assert answers(actions) == [*not_inspected(7, "stopping"), *not_inspected(8, "stopping")]
    assert here.control.parts_in_flight == 0
    assert here.control.give_up_all("stopping", here.now_ns) == []
    assert here.control.counters.not_inspected_by_reason == {"stopping": 2}


# -- recipes ----------------------------------------------------------------------------------------------------

OTHER = RecipeFacts(2, "other", "model-2", "89abcdef")


def with_two_recipes(kept: int | None, **rules) -> Here:
    here = Here(recipes=(RECIPE, OTHER), **rules)
    here.control = LineControl(here.rules, 7, kept_recipe=kept)
    here.control.camera_ready = True
    here.control.worker_ready(0)
    return here


def picture_of(here: Here, capture: Capture, recipe: int, unfit: str = "") -> list:
    picture = Captured(capture.slot, capture.part_id, HW, here.now_ns, UTC, recipe, unfit=unfit, code_ms=5.0)
    return here.control.captured(picture, here.now_ns)


@pytest.mark.parametrize("kept", [None, 0, 9])
def test_without_a_selected_recipe_nothing_is_inspected_until_one_is(kept):
    here = with_two_recipes(kept)
    assert here.control.recipe_missing
    announce = here.trigger()[-1]
    assert answers([announce]) == not_inspected(7, "no_recipe")
    assert (announce.verdict.recipe_id, announce.verdict.model_id, announce.recipe.number) == ("", "", 0)
    assert here.control.recipe_asked(RecipeAsked(2, "serial"), here.now_ns) == (
        "",
        [RecipeSelected(OTHER, is_new=True)],
    )
    assert here.trigger() == [Capture(0, 8, here.now_ns, 50, 2)]


def test_a_selection_is_for_the_next_trigger_and_an_unknown_number_changes_nothing():
    here = with_two_recipes(1)
    (before,) = here.trigger()
    assert here.control.recipe_asked(RecipeAsked(9, "serial"), here.now_ns) == ("unknown_recipe", [])
    here.after_ms(1)
    here.control.recipe_asked(RecipeAsked(2, "serial"), here.now_ns)
    (after,) = here.trigger()
    assert (before.recipe, after.recipe) == (1, 2)
    (start,) = here.captured(before)
    assert start.request.recipe == 1
    assert answers(here.inspected(7)) == [(7, Outcome.PASS, ())]


def test_an_edge_seen_late_gets_the_recipe_of_its_own_moment():
    here = with_two_recipes(1)
    edge_ns = here.now_ns
    here.after_ms(3)
    here.control.recipe_asked(RecipeAsked(2, "serial"), here.now_ns)
    here.after_ms(2)
    _, (capture,) = here.control.trigger(edge_ns, here.now_ns, UTC, None)
    assert capture.recipe == 1


def test_an_unknown_code_on_input_lines_selects_nothing():
    here = with_two_recipes(1)
    refusal, actions = here.control.recipe_asked(RecipeAsked(0, "gpio", here.now_ns), here.now_ns)
    assert (refusal, kinds(actions)) == ("unknown_recipe", [RecipeSelected])
    assert here.control.recipe_missing
    assert answers(here.trigger()) == not_inspected(7, "no_recipe")


def test_a_verdict_made_by_another_recipe_never_lets_a_part_through():
    here = with_two_recipes(2)
    here.start()
    assert answers(here.inspected(7)) == not_inspected(7, "wrong_recipe")


def test_the_code_in_a_picture_selects_for_its_own_part_and_the_next_and_nothing_else_does():
    here = with_two_recipes(None, recipe_by_code=True)
    assert not here.control.recipe_missing
    assert here.control.recipe_asked(RecipeAsked(1, "serial"), here.now_ns) == ("recipe_by_code", [])
    (capture,) = here.trigger()
    assert capture.recipe == 0
    selected, start = picture_of(here, capture, 2)
    assert (selected, start.request.recipe) == (RecipeSelected(OTHER, is_new=True), 2)
    assert here.trigger()[0].recipe == 2
    (again,) = picture_of(here, Capture(1, 8, None, 0, 2), 2)
    assert again.request.recipe == 2


def test_an_unknown_code_is_never_inspected_and_an_unreadable_one_keeps_the_selection():
    here = with_two_recipes(1, recipe_by_code=True)
    (capture,) = here.trigger()
    archive, announce = picture_of(here, capture, 0, "unreadable_code")
    assert answers([announce]) == not_inspected(7, "unreadable_code")
    assert (archive.record.recipe_number, archive.record.recipe_digest, announce.recipe.number) == (0, "", 0)
    assert archive.record.stage_ms["code"] == 5.0
    (capture,) = here.trigger()
    assert capture.recipe == 1
    selected, *rest = picture_of(here, capture, 0, "unknown_code")
    assert selected.recipe.number == 0
    assert answers(rest) == not_inspected(8, "unknown_code")


# -- a take-over ------------------------------------------------------------------------------------------------

NEW = RecipeFacts(1, "recipe", "model-2", "76543210")


def taken_over(here: Here, *recipes: RecipeFacts, worker: int = 64) -> list:
    actions = here.control.take_over(recipes, 1, here.now_ns)
    return [*actions, *here.control.worker_ready(worker)]


def test_parts_that_had_come_keep_recipe_and_workers_and_the_next_one_gets_the_new_ones():
    here = Here()
    (asked,) = here.trigger()
    assert taken_over(here, NEW) == [RecipeSelected(NEW, is_new=True)]
    (next_asked,) = here.trigger()
    (start,), (next_start,) = here.captured(asked), here.captured(next_asked)
    assert (start.workers, next_start.workers) == ((0,), (64,))
    assert here.control.needs(0)
    assert here.control.workers_ready == 1
    (archive, announce) = here.inspected(7)[:2]
    assert (announce.recipe, archive.record.recipe_digest) == (RECIPE, RECIPE.digest)
    assert here.control.left(0, 7) == []
    here.control.slot_read(7)
    assert not here.control.needs(0)
    assert here.control.needs(64)


def test_a_trigger_stamped_before_and_read_after_a_take_over_is_by_the_new_recipe():
    here = with_two_recipes(2)
    stamped_ns = here.now_ns
    here.after_ms(1)
    new = RecipeFacts(2, "other", "model-3", "11111111")
    here.control.take_over((NEW, new), 0, here.now_ns)
    here.control.worker_ready(64)
    capture = here.control.trigger(stamped_ns, here.now_ns, UTC, None)[1][0]
    (start,) = here.captured(capture)
    assert (start.workers, start.request.recipe) == ((64,), 2)
    assert here.control.recipes.selected == new


def test_an_old_worker_that_dies_after_a_take_over_costs_its_part_alone_and_the_new_ones_never_see_it():
    here = Here(workers=2)
    start = here.start()
    taken_over(here, NEW)
    assert answers(here.lost(0, 7)) == not_inspected(7, "worker_lost")
    assert start.workers == (0, 1)
    here.control.left(1, 7)
    here.control.slot_read(7)
    here.control.sweep()
    assert not here.control.needs(1)


def test_a_selected_recipe_that_a_take_over_does_not_bring_is_missing():
    here = with_two_recipes(2)
    assert here.control.take_over((NEW,), 0, here.now_ns)[0].recipe.number == 0
    assert here.control.recipe_missing


def test_in_free_run_a_picture_asked_for_before_a_take_over_is_by_the_old_recipe():
    here = Here(free_run=True)
    (capture,) = here.control.ask_free_run()
    taken_over(here, NEW)
    assert (here.control.needs(0), here.control.models_in_use) == (True, {"model", "model-2"})
    (start,) = here.captured(capture)
    assert start.workers == (0,)
    (announce,) = [each for each in here.inspected(7) if isinstance(each, Announce)]
    assert announce.recipe == RECIPE
    here.control.left(0, 7)
    here.control.slot_read(7)
    assert (here.control.needs(0), here.control.models_in_use) == (False, {"model-2"})


@pytest.mark.parametrize("camera_dies", [False, True])
def test_a_free_run_picture_that_does_not_come_keeps_no_old_worker(camera_dies):
    here = Here(free_run=True)
    here.control.ask_free_run()
    taken_over(here, NEW)
    assert here.control.needs(0)
    if camera_dies:
        here.control.camera_lost(here.now_ns)
    else:
        here.control.not_captured(0, "no_frame", False, here.now_ns)
    assert (here.control.needs(0), here.control.models_in_use) == (False, {"model-2"})
