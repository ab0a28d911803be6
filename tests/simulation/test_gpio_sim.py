"""The machine's wires on a chip that the kernel simulates; skipped where there is none."""

import os
import time

import pytest

from edge_runtime.clock import SystemClock
from edge_runtime.errors import SignalError
from edge_runtime.interfaces import Input, Output
from edge_runtime.signal_io.edge_feed import FedEdge
from edge_runtime.signal_io.gpio import GpioLines, InputLine, OutputLine
from edge_runtime.simulation.gpio_sim import CONFIG, LABEL, GpioSimWires

HAS_GPIO_SIM = os.access(CONFIG, os.W_OK)
GPIO = {"inputs": {"trigger": {"line": 7, "edge": "falling"}}, "outputs": {"reject": {"line": 9}, "ok": {"line": 3}}}


@pytest.mark.skipif(HAS_GPIO_SIM, reason="this machine can simulate a chip")
def test_without_the_module_it_says_what_to_load():
    with pytest.raises(SignalError, match="load the kernel's module gpio-sim"):
        GpioSimWires(GPIO, SystemClock())


@pytest.mark.skipif(not HAS_GPIO_SIM, reason=f"{CONFIG} is not there or not writable (modprobe gpio-sim, as root)")
def test_edges_reach_the_driver_and_its_outputs_are_seen():
    wires = GpioSimWires(GPIO, SystemClock())
    moved = wires.settings(GPIO)
    assert (moved["driver"], moved["chip"], moved["outputs"]["reject"]["line"]) == ("gpio", LABEL, 1)
    lines = GpioLines(
        LABEL, {Output.REJECT: OutputLine(1), Output.OK: OutputLine(2)}, {Input.TRIGGER: InputLine(0, edge="falling")}
    )
    try:
        lines.open()
        wires.send([FedEdge(Input.TRIGGER, 0), FedEdge(Input.TRIGGER, 0, active=False)])
        assert [edge.name for edge in lines.edges()] == [Input.TRIGGER]
        time.sleep(0.05)
        lines.write(Output.REJECT, False)
        time.sleep(0.05)
        told = [(each.output, each.active) for each in wires.driven()]
        assert told == [(Output.REJECT, True), (Output.OK, False), (Output.REJECT, False)]
    finally:
        lines.close()
        wires.close()
    assert not list(CONFIG.iterdir())
