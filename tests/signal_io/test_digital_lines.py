"""The contract of DigitalLines, kept by the recording fake and by real GPIO where the kernel simulates a chip."""

import time

import pytest

from edge_runtime.errors import SignalError
from edge_runtime.interfaces import Input, Output

SAFE = {Output.OK: False, Output.REJECT: True, Output.BUSY: False, Output.FAULT: True}


def levels_of(field) -> dict[Output, bool]:
    return {output: field.is_active(output) for output in SAFE}


def test_outputs_are_safe_from_open_on(lines, field):
    lines.open()
    assert levels_of(field) == SAFE


def test_outputs_are_safe_after_close_whatever_they_said(lines, field):
    lines.open()
    for output, active in SAFE.items():
        lines.write(output, not active)
    assert levels_of(field) == {output: not active for output, active in SAFE.items()}
    lines.close()
    assert levels_of(field) == SAFE


def test_one_output_is_driven_without_the_others(lines, field):
    lines.open()
    lines.write(Output.OK, True)
    assert levels_of(field) == {**SAFE, Output.OK: True}


def test_an_output_that_is_not_wired_is_ignored(lines, field):
    lines.open()
    lines.write(Output.HEARTBEAT, True)
    assert levels_of(field) == SAFE


def test_edges_come_once_in_order_numbered_without_gap_in_monotonic_time(lines, field, is_readable):
    lines.open()
    assert lines.edges() == []
    before_ns = time.monotonic_ns()
    for _ in range(3):
        field.edge()
    assert is_readable(lines.fileno())
    edges = lines.edges()
    deadline = time.monotonic() + 5
    while len(edges) < 3 and time.monotonic() < deadline:
        edges += lines.edges()
    after_ns = time.monotonic_ns()
    assert [(edge.name, edge.seqno) for edge in edges] == [(Input.TRIGGER, 1), (Input.TRIGGER, 2), (Input.TRIGGER, 3)]
    times_ns = [before_ns, *(edge.at_ns for edge in edges), after_ns]
    assert times_ns == sorted(times_ns)
    assert lines.edges() == []


def test_close_is_harmless_twice_and_closed_lines_say_so(lines):
    lines.close()
    lines.open()
    lines.close()
    lines.close()
    for use in (lines.fileno, lines.edges, lambda: lines.write(Output.OK, True)):
        with pytest.raises(SignalError, match="not open"):
            use()


def test_lines_can_be_opened_again(lines, field):
    lines.open()
    lines.write(Output.OK, True)
    lines.open()
    assert levels_of(field) == SAFE
    field.edge()
    lines.close()
    lines.open()
    assert lines.edges() == []
