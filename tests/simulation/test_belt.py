"""What photo-eye, camera, encoder and ejector meet is what the motion says."""

import math
import random
from dataclasses import replace
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.interfaces import Input
from edge_runtime.simulation.belt import Belt, BeltPart, Geometry, Level, lay_parts, settled
from edge_runtime.simulation.motion import Motion, Stretch

GEOMETRY = Geometry(eye_to_ejector_mm=500, part_mm=40, ejector_mm=20, view_mm=60, pulses_per_mm=0.5)
STEADY = Motion([Stretch(100, 500, 500)])


def eye(*changes: tuple[float, bool]) -> list[Level]:
    return [Level(at_s, Input.TRIGGER, active, part=1) for at_s, active in changes]


def test_a_part_on_a_steady_belt_by_hand():
    part = BeltPart(1, front_mm=100, defective=False)
    belt = Belt(GEOMETRY, STEADY, [part])
    assert list(belt.eye_levels()) == eye((0.2, True), (0.28, False))
    assert belt.in_view(part) == [pytest.approx((0.2, 0.32))]
    assert belt.at_ejector(part) == [pytest.approx((0.2 + 1.04 - 0.02, 0.2 + 1.04 + 0.02))]


def test_the_encoder_counts_the_way_and_a_leads_b():
    belt = Belt(GEOMETRY, Motion([Stretch(1, 4, 4), Stretch(1, -4, -4)]), [BeltPart(1, 0, False)])
    wires = [(level.input, level.active) for level in islice(belt.encoder_levels(), 16)]
    a, b = Input.ENCODER_A, Input.ENCODER_B
    forwards = [(b, True), (a, False), (b, False), (a, True)]
    assert wires[:8] == forwards * 2
    assert wires[8:] == [(wire, not active) for wire, active in reversed(wires[:8])]


def test_a_contact_that_bounces_is_one_edge_when_debounced_and_several_when_not():
    belt = Belt(GEOMETRY, STEADY, [BeltPart(1, 100, False, bounces=True)])
    assert len([level for level in settled(belt.eye_levels(), 0) if level.active]) > 1
    rising, falling = settled(belt.eye_levels(), 0.001)
    assert rising.active
    assert 0.201 <= rising.at_s <= 0.2017
    assert not falling.active


def test_a_gap_in_a_part_survives_the_debounce_as_a_second_edge():
    belt = Belt(GEOMETRY, STEADY, [BeltPart(1, 100, False, doubled=True)])
    rising = [level.at_s for level in settled(belt.eye_levels(), 0.001) if level.active]
    assert rising == pytest.approx([0.201, 0.245])


def test_the_lost_edge_is_that_of_its_part():
    parts = [BeltPart(1, 100, False), BeltPart(2, 200, False, lost=True, bounces=True), BeltPart(3, 300, False)]
    rising = [level for level in settled(Belt(GEOMETRY, STEADY, parts).eye_levels(), 0.001) if level.active]
    assert [level.lost for level in rising] == [False, True, False]


LEVELS = st.lists(st.floats(0.0001, 0.02), max_size=40).map(
    lambda waits: eye(*((sum(waits[: n + 1]), n % 2 == 0) for n in range(len(waits))))
)


@given(LEVELS, st.floats(0.0005, 0.01))
def test_debounced_levels_alternate_and_each_one_held(levels, debounce_s):
    edges = list(settled(levels, debounce_s))
    assert [edge.active for edge in edges] == [n % 2 == 0 for n in range(len(edges))]
    for edge in edges:
        assert not any(edge.at_s - debounce_s + 1e-9 < level.at_s < edge.at_s - 1e-9 for level in levels)
    if levels and not edges:
        assert not levels[-1].active


@given(st.integers(1, 60), st.integers(0, 999))
def test_the_same_seed_lays_the_same_parts_in_order_each_near_its_place(count, seed):
    laid = [lay_parts(count, 100, 50, [0.2] * count, 0.3, random.Random(seed)) for _ in range(2)]
    assert laid[0] == laid[1]
    assert [part.number for part in laid[0]] == list(range(1, count + 1))
    assert all(abs(part.front_mm - 50 - 100 * index) <= 20 for index, part in enumerate(laid[0]))


def test_while_the_belt_stands_under_the_ejector_the_part_stays_there():
    motion = Motion([Stretch(1.2, 500, 500), Stretch(2, 0, 0), Stretch(1, 500, 500)])
    part = BeltPart(1, front_mm=80, defective=True)
    ((from_s, to_s),) = Belt(GEOMETRY, motion, [part]).at_ejector(part)
    assert (from_s, to_s) == pytest.approx((1.18, 3.22))
    assert math.isclose(motion.position_mm(from_s) - 80, GEOMETRY.to_ejector_mm - 10)


def test_a_second_photo_eye_sees_where_parts_have_got_to():
    parts = [
        BeltPart(1, 100, False, slip_mm=10),
        BeltPart(2, 200, False, taken=True),
        BeltPart(3, 300, True, laid=True),
    ]
    belt = Belt(replace(GEOMETRY, second_eye_mm=400), STEADY, parts)
    assert [(level.part, level.active) for level in belt.eye_levels()] == [(1, True), (1, False), (2, True), (2, False)]
    seen = [(level.part, round(level.at_s, 6)) for level in belt.second_eye_levels() if level.active]
    assert seen == [(1, 1.02), (3, 1.4)]
    assert [bool(belt.in_view(part)) for part in parts] == [True, True, False]
    assert [bool(belt.at_ejector(part)) for part in parts] == [True, False, True]
    assert belt.at_ejector(parts[0])[0][0] == pytest.approx((110 + 520 - 10) / 500)
