"""Results reach a forgetful controller over a lossy line exactly once, and none is dropped in silence."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_runtime.clock import NS_PER_MS, NS_PER_S
from edge_runtime.protocol.messages import MAX_SEQ, PartResult
from edge_runtime.protocol.outbox import REPEATS_AT_A_TIME, Outbox, OutboxFull
from edge_runtime.protocol.sentence import Decoder
from edge_runtime.values import Outcome

TIMEOUT_NS = 200 * NS_PER_MS


def part(part_id: int) -> PartResult:
    return PartResult(part_id, None, Outcome.PASS, 0, "", "")


def part_ids(sentences: list[bytes]) -> list[int]:
    return [message.part_id for message in Decoder().feed(b"".join(sentences))]


def outbox_with(*ids: int, **options) -> Outbox:
    outbox = Outbox(**{"ack_timeout_ns": TIMEOUT_NS, "max_unacknowledged": 100, **options})
    for part_id in ids:
        outbox.put_or_fault(part(part_id))
    return outbox


def test_a_new_result_is_due_at_once_and_then_waits_for_its_acknowledgement():
    outbox = outbox_with(1)
    assert outbox.next_due_ns() <= 1000
    assert part_ids(outbox.due(1000)) == [1]
    assert outbox.due(1000 + TIMEOUT_NS - 1) == []
    assert outbox.next_due_ns() == 1000 + TIMEOUT_NS
    assert part_ids(outbox.due(1000 + TIMEOUT_NS)) == [1]


def test_an_acknowledged_result_is_forgotten_and_a_second_acknowledgement_is_told_apart():
    outbox = outbox_with()
    seq = outbox.put_or_fault(part(1))
    outbox.due(0)
    assert outbox.acknowledge(seq)
    assert not outbox.acknowledge(seq)
    assert not outbox.acknowledge(seq + 1)
    assert outbox.unacknowledged == 0
    assert outbox.next_due_ns() is None
    assert outbox.due(10 * NS_PER_S) == []


def test_repeats_slow_down_to_one_a_second():
    outbox = outbox_with(1)
    sent_ns = []
    for _ in range(6):
        now_ns = outbox.next_due_ns()
        assert part_ids(outbox.due(now_ns)) == [1]
        sent_ns.append(now_ns // NS_PER_MS)
    assert sent_ns == [0, 200, 600, 1400, 2400, 3400]


def test_a_timeout_of_more_than_a_second_is_kept():
    outbox = outbox_with(1, ack_timeout_ns=3 * NS_PER_S)
    outbox.due(0)
    outbox.due(3 * NS_PER_S)
    assert outbox.next_due_ns() == 6 * NS_PER_S


def test_a_reconnect_makes_all_due_again_oldest_first_and_quick_again():
    outbox = outbox_with(1, 2, 3)
    for now_ns in (0, TIMEOUT_NS, 3 * TIMEOUT_NS):
        outbox.due(now_ns)
    outbox.acknowledge(2)
    now_ns = 3 * TIMEOUT_NS + 1
    outbox.reconnected(now_ns)
    assert outbox.next_due_ns() == now_ns
    assert part_ids(outbox.due(now_ns)) == [1, 3]
    assert outbox.next_due_ns() == now_ns + TIMEOUT_NS


def test_a_new_result_stands_behind_no_more_than_a_few_repeats():
    outbox = outbox_with(*range(1, 51))
    outbox.due(0)
    outbox.reconnected(TIMEOUT_NS)
    outbox.put_or_fault(part(51))
    sent = [part_ids(outbox.due(TIMEOUT_NS)) for _ in range(8)]
    assert sent[0] == [51, *range(1, REPEATS_AT_A_TIME + 1)]
    assert [part_id for batch in sent for part_id in batch] == [51, *range(1, 51)]


def test_a_repeat_is_the_same_to_the_byte():
    outbox = outbox_with(1)
    assert outbox.due(0) == outbox.due(TIMEOUT_NS)


def test_over_the_bound_a_result_is_refused_aloud_and_nothing_queued_is_lost():
    outbox = outbox_with(1, 2, max_unacknowledged=2)
    assert outbox.is_full
    with pytest.raises(OutboxFull, match="part 3: 2 results wait"):
        outbox.put_or_fault(part(3))
    assert part_ids(outbox.due(0)) == [1, 2]
    outbox.acknowledge(1)
    assert outbox.put_or_fault(part(3)) == 3


def test_numbers_in_use_never_span_more_than_the_bound():
    outbox = outbox_with(1, max_unacknowledged=4)
    for part_id in (2, 3, 4):
        seq = outbox.put_or_fault(part(part_id))
        outbox.due(0)
        outbox.acknowledge(seq)
    assert outbox.unacknowledged == 1
    assert outbox.is_full


def test_numbers_run_to_65535_and_begin_again_at_1():
    outbox = outbox_with(first_seq=MAX_SEQ - 1, max_unacknowledged=3)
    assert [outbox.put_or_fault(part(i)) for i in (1, 2, 3)] == [MAX_SEQ - 1, MAX_SEQ, 1]
    assert outbox.is_full
    assert part_ids(outbox.due(0)) == [1, 2, 3]


def test_without_acknowledgements_each_result_is_sent_once():
    outbox = outbox_with(1, 2, acknowledge_required=False)
    assert outbox.unacknowledged == 2
    assert part_ids(outbox.due(0)) == [1, 2]
    assert outbox.next_due_ns() is None
    outbox.written()
    assert outbox.unacknowledged == 0
    assert not outbox.acknowledge(1)
    outbox.reconnected(0)
    assert outbox.due(10 * NS_PER_S) == []


def test_without_acknowledgements_what_the_port_did_not_take_before_it_was_lost_is_sent_when_it_is_back():
    outbox = outbox_with(1, 2, acknowledge_required=False)
    outbox.due(0)
    outbox.reconnected(TIMEOUT_NS)
    assert outbox.next_due_ns() == TIMEOUT_NS
    assert part_ids(outbox.due(TIMEOUT_NS)) == [1, 2]
    outbox.written()
    assert outbox.due(10 * NS_PER_S) == []


def test_a_result_is_acknowledged_by_its_part_too():
    outbox = outbox_with(7, 8)
    outbox.due(0)
    assert outbox.acknowledge_part(8)
    assert not outbox.acknowledge_part(8)
    assert part_ids(outbox.due(TIMEOUT_NS)) == [7]


def test_what_was_never_sent_cannot_be_acknowledged():
    outbox = outbox_with(7)
    assert not outbox.acknowledge(1)
    assert not outbox.acknowledge_part(7)
    assert part_ids(outbox.due(0)) == [7]


def test_repeats_wait_for_a_free_wire_and_new_results_do_not():
    outbox = outbox_with(1)
    outbox.due(0)
    outbox.put_or_fault(part(2))
    assert outbox.next_due_ns(repeats_from_ns=NS_PER_S) <= 0
    assert part_ids(outbox.due(TIMEOUT_NS, repeats_max=0)) == [2]
    assert outbox.next_due_ns(repeats_from_ns=NS_PER_S) == NS_PER_S


def test_without_acknowledgements_a_closed_port_still_ends_in_a_fault_not_in_a_loss():
    outbox = outbox_with(1, 2, acknowledge_required=False, max_unacknowledged=2)
    with pytest.raises(OutboxFull):
        outbox.put_or_fault(part(3))


@pytest.mark.parametrize(
    "options",
    [{"ack_timeout_ns": 0}, {"max_unacknowledged": 0}, {"max_unacknowledged": 40_000}, {"first_seq": 0}],
)
def test_settings_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="outbox out of range"):
        outbox_with(**options)


class Controller:
    """Remembers, per slot of the number, the last part it took; acknowledges everything, new or not."""

    def __init__(self, slots: int) -> None:
        self.taken: list[int] = []
        self._parts = [0] * slots

    def receive(self, sentence: bytes) -> int:
        (result,) = Decoder().feed(sentence)
        slot = result.seq % len(self._parts)
        if self._parts[slot] != result.part_id:
            self._parts[slot] = result.part_id
            self.taken.append(result.part_id)
        return result.seq


steps = st.lists(
    st.one_of(
        st.just("put"),
        st.tuples(st.just("wait"), st.integers(0, 1500)),
        st.tuples(st.just("send"), st.sampled_from(["arrives", "lost", "twice"])),
        st.tuples(st.just("ack"), st.integers(0, 5), st.booleans()),
        st.just("reconnect"),
    ),
    max_size=120,
)


@settings(max_examples=150)
@given(steps, st.integers(1, 12), st.integers(1, MAX_SEQ))
@example([*["put"] * 9, ("send", "arrives")], 9, MAX_SEQ - 4)
def test_every_result_arrives_exactly_once_whatever_the_line_loses_repeats_or_reorders(script, bound, first_seq):
    outbox = outbox_with(max_unacknowledged=bound, first_seq=first_seq)
    controller = Controller(slots=1 << bound.bit_length())
    now_ns, put, acks = 0, [], []
    for step in script:
        if step == "put":
            if not outbox.is_full:
                put.append(len(put) + 1)
                outbox.put_or_fault(part(put[-1]))
        elif step == "reconnect":
            outbox.reconnected(now_ns)
        elif step[0] == "wait":
            now_ns += step[1] * NS_PER_MS
        elif step[0] == "send":
            copies = {"arrives": 1, "lost": 0, "twice": 2}[step[1]]
            acks += [controller.receive(sentence) for sentence in outbox.due(now_ns) * copies]
        elif acks:
            ack = acks.pop(step[1] % len(acks))
            if step[2]:
                outbox.acknowledge(ack)
    outbox.reconnected(now_ns)
    while sentences := outbox.due(now_ns):
        for sentence in sentences:
            outbox.acknowledge(controller.receive(sentence))
    assert sorted(controller.taken) == put
    assert outbox.unacknowledged == 0


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_on_a_line_that_loses_only_acknowledgements_results_arrive_in_order(acknowledged):
    outbox, controller = outbox_with(max_unacknowledged=100), Controller(slots=101)
    for part_id, is_acknowledged in enumerate(acknowledged, 1):
        outbox.put_or_fault(part(part_id))
        for sentence in outbox.due(part_id * TIMEOUT_NS):
            seq = controller.receive(sentence)
            if is_acknowledged:
                outbox.acknowledge(seq)
    assert controller.taken == list(range(1, len(acknowledged) + 1))
