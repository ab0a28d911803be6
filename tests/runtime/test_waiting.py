"""Who finds work at each turn rests all the same, and who waits by himself never does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.clock import NS_PER_MS
from edge_runtime.runtime.waiting import REST_NS, WORK_PER_REST, Rests

turns = st.lists(st.integers(1, 20 * NS_PER_MS), min_size=1, max_size=300)


@given(turns)
def test_work_without_a_wait_leaves_others_their_share(works_ns: list[int]) -> None:
    rests = Rests()
    unrested_ns = 0
    for work_ns in works_ns:
        unrested_ns += work_ns
        if rests.is_due_after_work(work_ns):
            unrested_ns = 0
        assert unrested_ns < REST_NS * WORK_PER_REST + len(works_ns) * WORK_PER_REST


@given(turns)
def test_whoever_waits_for_that_share_anyway_never_rests(works_ns: list[int]) -> None:
    rests = Rests()
    for work_ns in works_ns:
        assert not rests.is_due_after_work(work_ns)
        rests.waited(work_ns // WORK_PER_REST)
