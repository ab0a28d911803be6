"""When made-up exposures happen, on a clock that moves only through the waiting itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.camera.pacing import Pacer
from edge_runtime.clock import NS_PER_MS, NS_PER_S, ManualClock


def pacer_and_clock(rate_hz):
    clock = ManualClock(start_ns=5 * NS_PER_S)
    return Pacer(rate_hz, clock, clock.advance_ms), clock


def test_free_run_keeps_the_rate_without_drift():
    pacer, clock = pacer_and_clock(30.0)
    times = []
    for _ in range(31):
        times.append(pacer.wait_for_exposure(None, 1000))
        clock.advance_ms(7.3)
    assert times[-1] - times[0] == pytest.approx(NS_PER_S, abs=1000)


def test_without_a_rate_nothing_waits():
    pacer, clock = pacer_and_clock(None)
    assert [pacer.wait_for_exposure(None, 0) for _ in range(3)] == [clock.monotonic_ns()] * 3


def test_a_short_timeout_waits_just_that_long_and_the_exposure_still_comes():
    pacer, clock = pacer_and_clock(10.0)
    first_ns = pacer.wait_for_exposure(None, 0)
    assert pacer.wait_for_exposure(None, 40) is None
    assert clock.monotonic_ns() == first_ns + 40 * NS_PER_MS
    assert pacer.wait_for_exposure(None, 100) == first_ns + 100 * NS_PER_MS


def test_who_comes_late_is_served_at_once_and_gets_no_burst_afterwards():
    pacer, clock = pacer_and_clock(10.0)
    pacer.wait_for_exposure(None, 0)
    clock.advance_ms(5000)
    assert pacer.wait_for_exposure(None, 0) == clock.monotonic_ns()
    assert pacer.wait_for_exposure(None, 0) == clock.monotonic_ns()
    assert pacer.wait_for_exposure(None, 99) is None


def test_a_trigger_is_served_at_its_own_moment_whatever_the_rate():
    pacer, clock = pacer_and_clock(0.1)
    pacer.wait_for_exposure(None, 0)
    assert pacer.wait_for_exposure(clock.monotonic_ns() - 5, 0) == clock.monotonic_ns()
    later_ns = clock.monotonic_ns() + 20 * NS_PER_MS
    assert pacer.wait_for_exposure(later_ns, 1000) == later_ns


@given(
    rate_hz=st.floats(0.5, 1000),
    calls=st.lists(st.tuples(st.floats(0, 300), st.floats(0, 300)), min_size=1, max_size=30),
)
def test_no_two_exposures_of_three_are_closer_than_a_period(rate_hz, calls):
    """A late one may be followed at once by the next, never by two."""
    pacer, clock = pacer_and_clock(rate_hz)
    times = []
    for idle_ms, timeout_ms in calls:
        clock.advance_ms(idle_ms)
        before_ns = clock.monotonic_ns()
        exposed_ns = pacer.wait_for_exposure(None, timeout_ms)
        assert clock.monotonic_ns() - before_ns <= timeout_ms * NS_PER_MS + 1
        times += [] if exposed_ns is None else [exposed_ns]
    period_ns = NS_PER_S / rate_hz
    assert all(c - a >= period_ns - 2 for a, c in zip(times, times[2:], strict=False))


def test_a_rate_must_be_positive():
    with pytest.raises(ValueError, match="positive"):
        Pacer(0.0, ManualClock())
