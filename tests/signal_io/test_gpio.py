"""The parts of the GPIO driver that need no chip: which line is meant, and how it is asked for."""

from datetime import timedelta

import pytest
from gpiod.line import Bias, Clock, Direction, Value
from gpiod.line import Edge as LineEdge

from edge_runtime.errors import SignalError
from edge_runtime.interfaces import Input, Output
from edge_runtime.signal_io.gpio import GpioLines, InputLine, OutputLine, find_chip, plan_lines, resolve

NAMES = ["PIN_7", "PIN_11", "", "PIN_13", "", "TWIN", "TWIN"]


@pytest.mark.parametrize(("line", "offset"), [("PIN_7", 0), ("PIN_13", 3), (0, 0), (6, 6)])
def test_a_line_is_found_by_name_or_offset(line, offset):
    assert resolve(line, NAMES) == offset


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("PIN_12", r"'PIN_12': no such name; near: .*PIN_1[13]"),
        ("nothing like it", "near: none; `gpioinfo` lists them"),
        ("", "''"),
        ("TWIN", r"used at offsets \[5, 6\]"),
        (7, "line 7: the chip has lines 0 to 6"),
        (-1, "line -1"),
    ],
)
def test_a_line_that_is_not_exactly_one_is_an_error_that_helps(line, message):
    with pytest.raises(SignalError, match=message):
        resolve(line, NAMES)


@pytest.mark.parametrize("output", list(Output))
def test_by_default_a_line_without_power_says_the_safe_thing(output):
    assert OutputLine(0).is_safe_without_power(output)


@pytest.mark.parametrize(
    ("output", "is_safe_active"),
    [
        (Output.OK, False),
        (Output.REJECT, True),
        (Output.BUSY, False),
        (Output.FAULT, True),
        (Output.HEARTBEAT, False),
    ],
)
def test_every_output_is_requested_at_its_safe_level(output, is_safe_active):
    settings = plan_lines(NAMES, {output: OutputLine("PIN_11")}, {}).output_settings[1]
    assert settings.direction is Direction.OUTPUT
    assert settings.output_value is (Value.ACTIVE if is_safe_active else Value.INACTIVE)
    assert settings.active_low is is_safe_active


def test_a_board_that_inverts_is_described_by_both_settings():
    line = OutputLine(0, active_low=False, safe_active=True)
    settings = plan_lines(NAMES, {Output.REJECT: line}, {}).output_settings[0]
    assert (settings.active_low, settings.output_value) == (False, Value.ACTIVE)
    assert not line.is_safe_without_power(Output.REJECT)


def test_an_input_is_stamped_in_monotonic_time_when_it_becomes_active():
    line = InputLine("PIN_13", edge="falling", debounce_us=300, bias="pull_up")
    plan = plan_lines(NAMES, {}, {Input.TRIGGER: line})
    settings = plan.input_settings[3]
    assert settings.direction is Direction.INPUT
    assert (settings.active_low, settings.edge_detection) == (True, LineEdge.RISING)
    assert settings.bias is Bias.PULL_UP
    assert settings.debounce_period == timedelta(microseconds=300)
    assert settings.event_clock is Clock.MONOTONIC
    assert plan.input_names == {3: Input.TRIGGER}


def test_an_input_whose_end_matters_is_watched_both_ways():
    plan = plan_lines(NAMES, {}, {Input.ENCODER_A: InputLine(0), Input.ACK: InputLine(1), Input.RESET: InputLine(2)})
    assert {name: plan.input_settings[offset].edge_detection for offset, name in plan.input_names.items()} == {
        Input.ENCODER_A: LineEdge.BOTH,
        Input.ACK: LineEdge.BOTH,
        Input.RESET: LineEdge.RISING,
    }


def test_the_plan_says_where_each_output_is():
    plan = plan_lines(
        NAMES, {Output.OK: OutputLine("PIN_7"), Output.REJECT: OutputLine(3)}, {Input.TRIGGER: InputLine(1)}
    )
    assert plan.offsets == {Output.OK: 0, Output.REJECT: 3}
    assert sorted(plan.output_settings) == [0, 3]
    assert sorted(plan.input_settings) == [1]


def test_a_line_wired_twice_is_an_error():
    with pytest.raises(SignalError, match=r"lines \[0\] are used twice"):
        plan_lines(NAMES, {Output.OK: OutputLine("PIN_7")}, {Input.TRIGGER: InputLine(0)})


def test_a_negative_debounce_is_refused():
    with pytest.raises(ValueError, match="debounce_us"):
        InputLine(0, debounce_us=-1)


@pytest.mark.parametrize("chip", ["gpiochip-none", "/dev/gpiochip-none", "/dev/null"])
def test_a_chip_that_is_not_there_is_named_with_those_that_are(chip):
    with pytest.raises(SignalError, match=f"{chip}.*chips of this machine"):
        GpioLines(chip, {Output.OK: OutputLine(0)}, {}).open()


def test_a_path_is_taken_as_it_is():
    assert find_chip("/dev/gpiochip7") == "/dev/gpiochip7"
