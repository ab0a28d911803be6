"""The line's end of a field bus: every result is shown until its id comes back, and repeated writes do nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.protocol.modbus_bank import Command
from edge_runtime.protocol.modbus_image import FieldState
from edge_runtime.runtime.events import PartSeen, RecipeAsked, ResetAsked
from edge_runtime.runtime.field_wire import FieldWire, result_id_of
from edge_runtime.runtime.health import State
from edge_runtime.runtime.line_actions import Announce, Counters
from edge_runtime.runtime.messages import FieldCommands
from edge_runtime.runtime.recipes import RecipeFacts
from edge_runtime.values import Outcome, Trigger, Verdict

NOW_NS = 1000


RECIPE = RecipeFacts(2, "strict", "model", "00000005")


def verdict(part_id: int, outcome: Outcome = Outcome.PASS) -> Verdict:
    reasons = () if outcome is Outcome.PASS else ("deadline",)
    return Verdict(part_id, outcome, reasons, (), 0, 0, "model", "recipe")


def announce(field: FieldWire, verdict: Verdict, line_seqno: int | None) -> None:
    trigger = Trigger(verdict.part_id, 0, 1)
    field.announce(Announce(verdict, line_seqno, trigger, RECIPE), NOW_NS)


def link(acknowledge: bool = True, max_results: int = 100) -> FieldWire:
    made = FieldWire(takes_triggers=True, acknowledge_required=acknowledge, max_results=max_results)
    made.condition(State.READY, has_room=True, now_ns=NOW_NS)
    return made


def shown(field: FieldWire, state: State = State.READY) -> FieldState:
    return field.image(state, Counters())


def write(field: FieldWire, now_ns: int = NOW_NS, at_ns: int = 500, **values: int) -> list[object]:
    return field.obey(FieldCommands(tuple(Command(name, v) for name, v in values.items()), at_ns), now_ns)


def take_all(field: FieldWire) -> list[int]:
    """Read and acknowledge until nothing is shown."""
    parts = []
    while result := shown(field).result:
        parts.append(result.part_id)
        write(field, acknowledge=shown(field).result_id)
    return parts


@given(st.permutations(range(1, 9)), st.sets(st.integers(1, 8)))
def test_results_come_in_the_order_of_the_triggers_each_once(order: list[int], taken_between: set[int]) -> None:
    field = link()
    for part_id in range(1, 9):
        field.accepted(PartSeen(NOW_NS, part_id), part_id)
    parts = []
    for part_id in order:
        announce(field, verdict(part_id), part_id)
        if part_id in taken_between:
            parts += take_all(field)
    assert parts + take_all(field) == list(range(1, 9))
    assert field.waiting == 0


def test_a_result_stands_until_its_own_id_comes_back() -> None:
    field = link()
    announce(field, verdict(7), 1)
    announce(field, verdict(8), 2)
    for wrong in (0, 9, 100, 9):
        write(field, acknowledge=wrong)
        assert (shown(field).result_id, shown(field).waiting) == (8, 2)
    write(field, acknowledge=8)
    assert (shown(field).result_id, shown(field).waiting) == (9, 1)
    write(field, acknowledge=8)
    assert shown(field).result_id == 9, "the same acknowledgement again takes nothing more"
    write(field, acknowledge=9)
    assert shown(field).result is None


@given(st.integers(1, 2**63 - 2))
def test_result_ids_follow_each_other_and_are_never_0(part_id: int) -> None:
    first, second = result_id_of(part_id), result_id_of(part_id + 1)
    assert 1 <= first <= 65535
    assert second == first % 65535 + 1


def test_a_trigger_acts_when_its_number_changes() -> None:
    field = link()
    assert write(field, trigger=17) == [PartSeen(500, 17)]
    for again in (17, 0, 17):
        assert write(field, trigger=again) == []
    assert write(field, trigger=18) == [PartSeen(500, 18)]
    field.refused(PartSeen(NOW_NS, 18))
    assert write(field, trigger=18) == [PartSeen(500, 18)], "a refused trigger may be sent again"


def test_missing_trigger_numbers_are_told_and_1_follows_65535() -> None:
    field = link()
    for number, missing in ((65534, 0), (65535, 0), (1, 0), (2, 0), (5, 2)):
        assert write(field, trigger=number) == [PartSeen(500, number, lost_before=missing)]


def test_a_trigger_is_never_later_than_now() -> None:
    assert write(link(), now_ns=1000, at_ns=2000, trigger=1) == [PartSeen(1000, 1)]


def test_reset_and_recipe_act_on_a_change_and_0_arms_them_anew() -> None:
    field = link()
    assert write(field, reset=1) == [ResetAsked("modbus")]
    assert write(field, reset=1) == []
    assert write(field, reset=0) == []
    assert write(field, reset=1) == [ResetAsked("modbus")]
    assert write(field, select_recipe=3) == [RecipeAsked(3, "modbus", 500)]
    assert write(field, select_recipe=3) == []
    assert write(field, trigger=1, acknowledge=0, reset=1, select_recipe=4) == [
        RecipeAsked(4, "modbus", 500),
        PartSeen(500, 1),
    ], "the part that is triggered with a recipe gets it"
    assert shown(field).commands == (1, 0, 1, 4)


def test_too_many_results_raise_a_fault_until_a_reset_and_are_counted() -> None:
    field = link(max_results=3)
    for part_id in range(1, 6):
        announce(field, verdict(part_id), part_id)
    state = shown(field)
    assert (state.fault, state.ready, state.result, field.takes_no_results) == (True, False, None, True)
    assert state.counters[-1] == 5
    write(field, reset=1)
    announce(field, verdict(6), 6)
    assert (shown(field).fault, shown(field).ready, take_all(field)) == (False, True, [6])


def test_another_wire_s_reset_leaves_the_results() -> None:
    field = link()
    field.condition(State.READY, has_room=False, now_ns=NOW_NS)
    field.accepted(PartSeen(NOW_NS, None), 1)
    announce(field, verdict(1, Outcome.NOT_INSPECTED), None)
    assert shown(field).overrun
    field.reset(ResetAsked("gpio"), NOW_NS)
    assert not shown(field).overrun
    assert take_all(field) == [1]


def test_where_nobody_acknowledges_the_newest_result_stands() -> None:
    field = link(acknowledge=False, max_results=1)
    for part_id in range(1, 500):
        field.accepted(PartSeen(NOW_NS, None), part_id)
        announce(field, verdict(part_id), None)
        assert shown(field).result_id == result_id_of(part_id)
    assert (field.waiting, field.takes_no_results) == (0, False)


@pytest.mark.parametrize(
    ("state", "has_room", "expected"),
    [
        (State.READY, True, (True, False, False)),
        (State.DEGRADED, True, (True, False, False)),
        (State.INSPECTING, False, (False, True, False)),
        (State.FAULT, True, (False, False, True)),
        (State.STARTING, True, (False, False, True)),
        (State.STOPPING, True, (False, False, True)),
    ],
)
def test_ready_busy_and_fault_exclude_each_other(
    state: State, has_room: bool, expected: tuple[bool, bool, bool]
) -> None:
    field = link()
    field.condition(state, has_room, NOW_NS)
    told = shown(field, state)
    assert (told.ready, told.busy, told.fault) == expected


def test_a_line_that_must_stand_is_not_ready() -> None:
    field = link()
    field.levels(State.READY, False, True, NOW_NS)
    assert (shown(field).stop, shown(field).ready) == (True, False)


def test_news_is_what_has_changed() -> None:
    field = link()
    field.has_news = False
    field.condition(State.READY, has_room=True, now_ns=NOW_NS)
    assert not field.has_news
    for change in (
        lambda: field.condition(State.FAULT, has_room=True, now_ns=NOW_NS),
        lambda: announce(field, verdict(1), None),
        lambda: write(field, acknowledge=2),
        lambda: field.recipe_active(RECIPE),
        lambda: field.levels(State.READY, False, True, NOW_NS),
        lambda: field.accepted(PartSeen(NOW_NS, 4), 3),
        lambda: field.close("stopped", NOW_NS),
    ):
        field.has_news = False
        change()
        assert field.has_news


def test_after_the_end_the_box_is_down() -> None:
    field = link()
    announce(field, verdict(1), None)
    field.close("stopped", NOW_NS)
    assert shown(field) == FieldState()
