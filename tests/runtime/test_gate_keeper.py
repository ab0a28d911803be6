"""Who may open a gate that missed a defect: the reset always, a take-over where it takes away all that missed one."""

import pytest

from edge_runtime.runtime.frame_ring import FrameRing
from edge_runtime.runtime.gate_keeper import GateKeeper
from edge_runtime.runtime.gate_latch import SEVERAL_MODELS
from edge_runtime.runtime.office_link import OfficeLink
from edge_runtime.runtime.ring_layout import RingLayout
from edge_runtime.runtime.service_notify import ServiceNotifier
from edge_runtime.runtime.supervisor import Supervisor

A, A_AGAIN, A_NEXT, B = "a/1@00000000", "a/1@11111111", "a/2@00000000", "b/1@00000000"


@pytest.mark.parametrize(
    ("closed_by", "in_use", "stays_closed_by"),
    [
        ([A], [A, B], A),
        ([A], [A_AGAIN], A),
        ([A], [A_NEXT, B], ""),
        ([A, A], [B], ""),
        ([A, B], [A, B], SEVERAL_MODELS),
        ([A, B], [A_NEXT, B], SEVERAL_MODELS),
        ([A, B, A], [], SEVERAL_MODELS),
    ],
)
def test_a_take_over_opens_the_gate_only_if_the_one_model_that_missed_a_defect_left(closed_by, in_use, stays_closed_by):
    ring = FrameRing.create(RingLayout(1, 1))
    keeper = GateKeeper(ring.gate, OfficeLink(Supervisor([], ServiceNotifier({}))))
    for model_id in closed_by:
        ring.gate.close(model_id)
    keeper.work(in_use)
    assert ring.gate.closed_by == stays_closed_by
    next_run = FrameRing.create(RingLayout(1, 1))
    after = GateKeeper(next_run.gate, OfficeLink(Supervisor([], ServiceNotifier({}))))
    after.begin(ring.gate.closed_by)
    after.work(in_use)
    assert next_run.gate.closed_by == stays_closed_by
    keeper.open()
    assert not ring.gate.is_closed
    ring.close()
    next_run.close()
