"""Whatever a controller does, it never takes a result for another part's; a missed acknowledgement makes it late."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.protocol.handshake import Handshake, HandshakeFull, HandshakeRules, HandshakeSignals
from edge_runtime.protocol.handshake_table import (
    IRREGULARITIES,
    RESULT_TABLE,
    TRIGGER_TABLE,
    ResultEvent,
    ResultState,
    TriggerEvent,
    TriggerState,
)
from edge_runtime.protocol.messages import PartResult
from edge_runtime.values import Outcome

SETUP_NS, OFF_NS = 10, 30
GPIO = HandshakeRules(max_results=3, setup_ns=SETUP_NS, off_ns=OFF_NS)
OWN_DOING = {ResultEvent.PRESENT, ResultEvent.SETTLED, ResultEvent.HELD, ResultEvent.RELEASED}
ABLE, FULL, BLIND = TriggerEvent.ABLE, TriggerEvent.FULL, TriggerEvent.BLIND


def result(part_id: int) -> PartResult:
    return PartResult(part_id, None, Outcome.PASS, 0, "", "")


def ready(rules: HandshakeRules = GPIO) -> Handshake[PartResult]:
    handshake: Handshake[PartResult] = Handshake(rules)
    handshake.condition(ABLE)
    return handshake


def presented(handshake: Handshake, now_ns: int) -> int | None:
    """The part whose result stands at `now_ns`, everything due by then done."""
    handshake.work(now_ns)
    signals = handshake.signals
    assert not signals.result_valid or signals.result is not None
    return signals.result.part_id if signals.result_valid and signals.result else None


# -- tables -----------------------------------------------------------------------------------------------------


def test_what_comes_from_outside_has_its_transition_in_every_state():
    assert TRIGGER_TABLE.keys() == set(TriggerState)
    assert RESULT_TABLE.keys() == set(ResultState)
    for row in TRIGGER_TABLE.values():
        assert row.keys() == set(TriggerEvent)
    for row in RESULT_TABLE.values():
        assert row.keys() - OWN_DOING == set(ResultEvent) - OWN_DOING


def test_the_own_doings_are_few():
    own = {(state, event) for state, row in RESULT_TABLE.items() for event in row if event in OWN_DOING}
    assert own == {
        (ResultState.EMPTY, ResultEvent.PRESENT),
        (ResultState.SETUP, ResultEvent.SETTLED),
        (ResultState.HOLD, ResultEvent.HELD),
        (ResultState.TAKEN, ResultEvent.RELEASED),
    }


def test_result_valid_never_falls_and_rises_without_an_acknowledge_a_reset_or_a_loss_between():
    leaving = {event for event, step in RESULT_TABLE[ResultState.VALID].items() if step.to is not ResultState.VALID}
    assert leaving == {ResultEvent.ACK, ResultEvent.RESET, ResultEvent.OVERFLOW, ResultEvent.INTERRUPTED}


# -- trigger side -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "shown"),
    [(ABLE, (True, False, False)), (FULL, (False, True, False)), (BLIND, (False, False, True))],
)
def test_a_condition_is_shown(condition, shown):
    handshake = ready()
    handshake.condition(condition)
    assert (handshake.signals.ready, handshake.signals.busy, handshake.signals.fault) == shown


def test_before_the_first_condition_the_box_is_not_able():
    assert Handshake(GPIO).signals == HandshakeSignals(False, False, True, False, False, None)


@pytest.mark.parametrize("condition", [FULL, BLIND, TriggerEvent.OFF])
def test_a_trigger_while_not_ready_is_an_overrun_until_a_reset_and_its_part_gets_its_result(condition):
    handshake = ready()
    handshake.condition(condition)
    assert not handshake.trigger(1)
    handshake.condition(ABLE)
    assert handshake.trigger(2)
    assert handshake.signals.overrun
    assert handshake.irregular["overrun"] == 1
    handshake.put_or_fault(result(1), 0)
    handshake.work(0)
    assert presented(handshake, OFF_NS) == 1
    handshake.reset(OFF_NS)
    assert not handshake.signals.overrun


def test_a_trigger_before_there_are_ids_is_an_overrun_without_a_part():
    handshake = Handshake(GPIO)
    assert not handshake.trigger(None)
    assert handshake.signals.overrun


# -- result side ------------------------------------------------------------------------------------------------


def test_data_stand_before_result_valid_and_after_it_and_the_next_comes_after_the_off_time():
    handshake = ready()
    for part_id in (1, 2):
        handshake.trigger(part_id)
        handshake.put_or_fault(result(part_id), 0)
    changes, last = [], None
    for now_ns in range(120):
        if now_ns in (20, 21):
            handshake.acknowledge_level(now_ns == 20, now_ns, now_ns)
        handshake.work(now_ns)
        signals = handshake.signals
        seen = (signals.result.part_id if signals.result else None, signals.result_valid)
        if seen != last:
            changes.append((now_ns, *seen))
        last = seen
    assert changes == [
        (0, 1, False),
        (SETUP_NS, 1, True),
        (20, 1, False),
        (20 + SETUP_NS, 2, False),
        (20 + OFF_NS, 2, True),
    ]


def test_the_next_result_waits_for_the_release_and_data_do_not():
    handshake = ready()
    for part_id in (1, 2):
        handshake.put_or_fault(result(part_id), 0)
    assert presented(handshake, 0) is None
    assert presented(handshake, 10) == 1
    assert handshake.acknowledge_level(True, 15, 15)
    assert presented(handshake, 1000) is None
    assert handshake.signals.result is None
    assert handshake.next_wake_ns() is None
    handshake.acknowledge_level(False, 1001, 1001)
    handshake.work(1001)
    assert presented(handshake, 1011) == 2


def test_a_level_that_rose_before_result_valid_takes_nothing():
    handshake = ready()
    handshake.acknowledge_level(True, 1, 1)
    handshake.put_or_fault(result(1), 2)
    assert presented(handshake, 100) is None
    handshake.acknowledge_level(False, 101, 101)
    handshake.work(101)
    assert presented(handshake, 111) == 1
    assert not handshake.acknowledge_level(True, 110, 112)
    assert presented(handshake, 200) == 1
    handshake.acknowledge_level(False, 201, 201)
    assert handshake.acknowledge_level(True, 202, 202)
    assert (handshake.irregular["ack_without_result"], handshake.irregular["ack_too_early"]) == (1, 1)


def test_another_id_is_ignored_and_counted():
    handshake = ready(HandshakeRules())
    for part_id in (1, 2):
        handshake.put_or_fault(result(part_id), 0)
    assert presented(handshake, 0) == 1
    assert not handshake.acknowledge_id(2, 0)
    assert presented(handshake, 0) == 1
    assert handshake.acknowledge_id(1, 0)
    assert presented(handshake, 0) == 2
    assert not handshake.acknowledge_id(1, 0)
    assert handshake.acknowledge_id(2, 0)
    assert not handshake.acknowledge_id(2, 0)
    assert presented(handshake, 0) is None
    assert handshake.irregular["ack_of_other_part"] == 2
    assert handshake.irregular["ack_repeated"] == 1


def test_results_come_in_the_order_of_their_triggers():
    handshake = ready(HandshakeRules())
    for part_id in (1, 2, 3):
        handshake.trigger(part_id)
    handshake.put_or_fault(result(3), 0)
    handshake.put_or_fault(result(2), 0)
    assert presented(handshake, 0) is None
    handshake.put_or_fault(result(1), 0)
    seen = []
    while (part_id := presented(handshake, 0)) is not None:
        seen.append(part_id)
        handshake.acknowledge_id(part_id, 0)
    assert seen == [1, 2, 3]


def test_too_many_results_end_in_a_fault_and_only_parts_after_the_reset_are_told():
    handshake = ready()
    for part_id in (1, 2, 3, 4, 5):
        handshake.trigger(part_id)
    for part_id in (1, 2, 3):
        handshake.put_or_fault(result(part_id), 0)
    with pytest.raises(HandshakeFull, match="part 4"):
        handshake.put_or_fault(result(4), 0)
    handshake.condition(ABLE)
    assert handshake.signals.fault
    assert not handshake.signals.ready
    assert presented(handshake, 1000) is None
    handshake.put_or_fault(result(5), 1000)
    assert handshake.voided == 4
    handshake.trigger(6)
    handshake.reset(2000)
    assert handshake.signals.ready
    handshake.trigger(7)
    handshake.put_or_fault(result(6), 2000)
    handshake.put_or_fault(result(7), 2000)
    handshake.work(2000)
    assert presented(handshake, 2000 + OFF_NS) == 7


def test_while_results_are_lost_each_further_one_says_so():
    handshake = ready(HandshakeRules(max_results=1))
    handshake.put_or_fault(result(1), 0)
    for part_id in (2, 3):
        handshake.trigger(part_id)
        with pytest.raises(HandshakeFull):
            handshake.put_or_fault(result(part_id), 0)
    assert handshake.irregular["result_lost"] == 2
    assert handshake.waiting == 0


def test_lines_lost_while_a_result_stands_need_a_reset_and_otherwise_do_not():
    handshake = ready()
    handshake.put_or_fault(result(1), 0)
    handshake.work(0)
    handshake.interrupted(5)
    handshake.work(6)
    assert presented(handshake, 16) == 1
    handshake.interrupted(17)
    assert presented(handshake, 1000) is None
    assert handshake.signals.fault
    handshake.reset(1000)
    handshake.work(1000)
    handshake.put_or_fault(result(2), 1000)
    handshake.work(1000)
    assert presented(handshake, 1000 + SETUP_NS) == 2


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="handshake out of range"):
        HandshakeRules(max_results=0)


# -- a controller that knows no id ------------------------------------------------------------------------------


class Controller:
    """Takes each result for the oldest part of its list, acknowledges by level, late, or after a reset not at all."""

    def __init__(self, handshake: Handshake) -> None:
        self.box = handshake
        self.open: deque[int] = deque()
        self.took: list[tuple[int, int]] = []
        self.ack = self.has_taken = False

    def trigger(self, part_id: int) -> None:
        self.open.append(part_id)
        self.box.trigger(part_id)

    def scan(self, now_ns: int, is_slow: bool) -> None:
        """One cycle: see the lines, then set the own ones; a slow one sees and forgets to acknowledge."""
        signals = self.box.signals
        if signals.result_valid and not self.has_taken and signals.result is not None and not self.ack:
            self.took.append((self.open.popleft(), signals.result.part_id))
            self.has_taken = True
        if self.has_taken and not is_slow:
            self._set(signals.result_valid, now_ns)
            self.has_taken = signals.result_valid

    def reset(self, now_ns: int) -> None:
        self.open.clear()
        self.has_taken = False
        self._set(False, now_ns)
        self.box.reset(now_ns)

    def _set(self, active: bool, now_ns: int) -> None:
        if active != self.ack:
            self.ack = active
            self.box.acknowledge_level(active, now_ns, now_ns)


steps = st.lists(
    st.one_of(
        st.just("trigger"),
        st.tuples(st.just("verdict"), st.integers(0, 5)),
        st.tuples(st.just("scan"), st.booleans()),
        st.tuples(st.just("wait"), st.integers(1, 2 * OFF_NS)),
        st.sampled_from([ABLE, FULL, BLIND]),
        st.sampled_from(["reset", "interrupted"]),
    ),
    max_size=150,
)


@settings(max_examples=300)
@given(steps)
def test_no_controller_takes_a_result_for_another_part(script):
    box = ready(HandshakeRules(max_results=4, setup_ns=SETUP_NS, off_ns=OFF_NS))
    controller, in_work, next_part, now_ns = Controller(box), [], 1, 0
    for step in script:
        if step == "trigger":
            controller.trigger(next_part)
            in_work.append(next_part)
            next_part += 1
        elif step == "reset":
            controller.reset(now_ns)
        elif step == "interrupted":
            box.interrupted(now_ns)
        elif isinstance(step, TriggerEvent):
            box.condition(step)
        elif step[0] == "verdict" and in_work:
            put(box, in_work.pop(step[1] % len(in_work)), now_ns)
        elif step[0] == "scan":
            controller.scan(now_ns, step[1])
        elif step[0] == "wait":
            now_ns += step[1]
        box.work(now_ns)
        if box.signals.fault and box.result_state is ResultState.LOST:
            controller.reset(now_ns)
    assert [part for part, told in controller.took if part != told] == []


@given(st.lists(st.booleans(), max_size=200), st.integers(1, 12))
def test_a_missed_acknowledgement_makes_results_late_and_loses_none(slow, parts):
    box = ready(HandshakeRules(max_results=parts, setup_ns=SETUP_NS, off_ns=OFF_NS))
    controller = Controller(box)
    for part_id in range(1, parts + 1):
        controller.trigger(part_id)
        box.put_or_fault(result(part_id), 0)
    now_ns = 0
    for is_slow in slow + [False] * 20 * parts:
        now_ns += 7
        box.work(now_ns)
        controller.scan(now_ns, is_slow)
    assert controller.took == [(part_id, part_id) for part_id in range(1, parts + 1)]


def put(box: Handshake, part_id: int, now_ns: int) -> None:
    try:
        box.put_or_fault(result(part_id), now_ns)
    except HandshakeFull:
        assert box.result_state is ResultState.LOST


def test_every_irregularity_is_counted_from_the_start():
    assert Handshake().irregular == dict.fromkeys(IRREGULARITIES, 0)
