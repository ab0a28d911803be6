"""The position is the integral of the speed, and everything else follows from the position."""

import math
from itertools import islice, pairwise, takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.simulation.motion import Motion, Stretch

SPEEDS = st.one_of(st.just(0.0), st.floats(-300, 2000).map(lambda speed: round(speed, 1)))
STRETCHES = st.lists(
    st.builds(Stretch, st.floats(0.01, 5).map(lambda duration: round(duration, 3)), SPEEDS, SPEEDS),
    min_size=1,
    max_size=8,
)
MOTIONS = STRETCHES.map(Motion)


@given(STRETCHES, st.floats(0, 50))
def test_the_position_is_the_integral_of_the_speed(stretches, at_s):
    motion, steps = Motion(stretches), 400
    starts_s = [sum(each.duration_s for each in stretches[:count]) for count in range(len(stretches) + 1)]
    borders_s = [*(start_s for start_s in starts_s if start_s < at_s), at_s]
    integral = 0.0
    for from_s, to_s in pairwise(borders_s):
        width_s = (to_s - from_s) / steps
        integral += width_s * sum(motion.speed_mm_s(from_s + (step + 0.5) * width_s) for step in range(steps))
    assert math.isclose(motion.position_mm(at_s), integral, rel_tol=1e-6, abs_tol=1e-3)


@given(MOTIONS, st.floats(-500, 5000))
def test_at_each_crossing_the_belt_is_at_the_mark_and_they_alternate(motion, mark_mm):
    crossings = motion.crossings(mark_mm)
    for crossing in crossings:
        assert math.isclose(motion.position_mm(crossing.at_s), mark_mm, rel_tol=1e-6, abs_tol=1e-3)
    assert [c.at_s for c in crossings] == sorted(c.at_s for c in crossings)
    assert all(before.forwards is not after.forwards for before, after in pairwise(crossings))


@given(MOTIONS, st.floats(1, 4000), st.floats(0, 45))
def test_a_crossing_lies_wherever_the_side_of_the_mark_changes(motion, mark_mm, at_s):
    passed = [crossing for crossing in motion.crossings(mark_mm) if crossing.at_s <= at_s]
    position_mm = motion.position_mm(at_s)
    if abs(position_mm - mark_mm) > 1e-3:
        assert (position_mm >= mark_mm) is (bool(passed) and passed[-1].forwards)


@given(MOTIONS, st.floats(0, 3000), st.floats(1, 300), st.floats(0, 45))
def test_a_time_lies_in_a_span_exactly_when_the_position_lies_between(motion, low_mm, width_mm, at_s):
    position_mm, high_mm = motion.position_mm(at_s), low_mm + width_mm
    if min(abs(position_mm - low_mm), abs(position_mm - high_mm)) < 1e-3:
        return
    inside = any(from_s <= at_s < to_s for from_s, to_s in motion.spans_between(low_mm, high_mm))
    assert inside is (low_mm <= position_mm < high_mm)


@given(MOTIONS, st.floats(0.5, 40))
def test_counting_marks_forwards_and_backwards_gives_the_position(motion, pitch_mm):
    count, last_s = 0, 0.0
    for number, crossing in takewhile(lambda each: each[1].at_s <= motion.duration_s, motion.grid_crossings(pitch_mm)):
        assert number == (count + 1 if crossing.forwards else count), "no mark is left out"
        assert crossing.at_s >= last_s - 1e-9
        count, last_s = count + (1 if crossing.forwards else -1), crossing.at_s
    assert count == math.floor(motion.position_mm(motion.duration_s) / pitch_mm) or math.isclose(
        motion.position_mm(motion.duration_s) / pitch_mm, round(motion.position_mm(motion.duration_s) / pitch_mm)
    )


def test_a_stop_and_a_ramp_by_hand():
    motion = Motion([Stretch(1, 100, 100), Stretch(2, 100, 0), Stretch(1, 0, 0), Stretch(1, 0, 200)])
    assert [motion.position_mm(at_s) for at_s in (1, 2, 3, 4, 5, 6)] == [100, 175, 200, 200, 300, 500]
    assert motion.spans_between(190, 210)[0] == pytest.approx((3 - math.sqrt(0.4), 4 + math.sqrt(0.1)))


def test_marks_go_on_for_ever_at_the_last_speed():
    motion = Motion([Stretch(1, 0, 100)])
    assert [crossing.at_s for _, crossing in islice(motion.grid_crossings(50), 4, 6)] == pytest.approx([3.0, 3.5])


def test_a_stretch_without_time_is_refused():
    with pytest.raises(ValueError, match="last some time"):
        Stretch(0, 1, 1)
