"""The encoder's position is the way the belt went, forward and back, whatever its speed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.clock import NS_PER_MS
from edge_runtime.interfaces import Edge, Input
from edge_runtime.runtime.ejection import Ejection
from edge_runtime.runtime.encoder import Encoder
from edge_runtime.runtime.events import PartSeen
from edge_runtime.runtime.tracking import TrackRules
from edge_runtime.values import Outcome

A, B = Input.ENCODER_A, Input.ENCODER_B
GRAY = [(False, False), (True, False), (True, True), (False, True)]  # A leads B: forward
steps = st.lists(st.sampled_from([1, -1]), max_size=200)


def quadrature_edges(moves: list[int], spacing_ns: int = NS_PER_MS) -> Iterator[Edge]:
    """What a two-channel encoder gives for these steps, from phase 0."""
    phase = 0
    for number, move in enumerate(moves, 1):
        before, phase = GRAY[phase % 4], phase + move
        after = GRAY[phase % 4]
        channel = A if before[0] != after[0] else B
        yield Edge(channel, number * spacing_ns, number, after[0] if channel is A else after[1])


@given(steps)
def test_quadrature_position_is_the_sum_of_the_steps(moves):
    encoder = Encoder(quadrature=True, standstill_ms=100)
    for edge in quadrature_edges(moves):
        encoder.feed(edge)
    assert encoder.position == sum(moves)


@given(st.lists(st.integers(0, 3), max_size=50))
def test_one_channel_counts_every_edge_and_what_was_lost(lost):
    encoder = Encoder(quadrature=False, standstill_ms=100)
    for number, missing in enumerate(lost, 1):
        encoder.feed(Edge(A, number, number, number % 2 == 1), missing)
    assert encoder.position == len(lost) + sum(lost)
    assert encoder.lost == sum(lost)


@given(st.integers(2, 100), st.integers(10_000, 50_000_000), st.sampled_from([1, -1]))
def test_speed_is_pulses_over_time_with_its_sign(count, spacing_ns, direction):
    encoder = Encoder(quadrature=True, standstill_ms=100)
    for edge in quadrature_edges([direction] * count, spacing_ns):
        encoder.feed(edge)
    speed = encoder.speed_per_s(count * spacing_ns)
    assert abs(speed - direction * 1e9 / spacing_ns) < 1e-6 * 1e9 / spacing_ns


def test_a_stand_still_is_seen_once_and_ends_with_the_next_edge():
    encoder = Encoder(quadrature=False, standstill_ms=100)
    assert encoder.is_stopped(0)
    encoder.note_standstill(0)
    assert encoder.stops == 0, "a belt that never ran has not stopped"
    encoder.feed(Edge(A, 0, 1, True))
    assert not encoder.is_stopped(99 * NS_PER_MS)
    for at_ms in (100, 150, 900):
        assert encoder.is_stopped(at_ms * NS_PER_MS)
        encoder.note_standstill(at_ms * NS_PER_MS)
    assert encoder.stops == 1
    assert encoder.speed_per_s(900 * NS_PER_MS) == 0
    encoder.feed(Edge(A, 1000 * NS_PER_MS, 2, False))
    assert not encoder.is_stopped(1001 * NS_PER_MS)


@pytest.mark.parametrize("broken", [A, B])
def test_one_broken_channel_of_two_is_a_silent_encoder(broken):
    """The other one counts back and forth: no part would ever come to the ejector."""
    ejection = Ejection(TrackRules(travel=100, min_gap=20), Encoder(quadrature=True, standstill_ms=20))
    ejection.begin(0)
    fired = 0
    for number, edge in enumerate(quadrature_edges([1] * 1000)):
        if number % 50 == 0:
            part_id = number // 50
            ejection.see(part_id, PartSeen(edge.at_ns, None))
            ejection.conclude(part_id, Outcome.REJECT)
        if number < 500 or edge.name is not broken:
            ejection.feed(edge, 0)
        fired += len(ejection.advance(edge.at_ns))
        assert ejection.is_blind(edge.at_ns) is (number < 79 or number >= 600), number
    assert fired == 9
    assert ejection.encoder_is_silent
