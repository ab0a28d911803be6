"""The real GPIO driver on a chip that the kernel simulates (module `gpio-sim`, root): a line in sysfs is a wire."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_runtime.clock import NS_PER_MS, Clock
from edge_runtime.errors import SignalError
from edge_runtime.interfaces import Input, Output
from edge_runtime.signal_io.edge_feed import FedEdge
from edge_runtime.signal_io.gpio import OutputLine
from edge_runtime.signal_io.recording import Driven

CONFIG = Path("/sys/kernel/config/gpio-sim")
LABEL = "edge-runtime-simulation"
LINES = 32
SAMPLE_EVERY_S = 0.0005
STAMP_SLACK_NS = 30 * NS_PER_MS


class GpioSimWires:
    """A chip of its own for one run. Edges happen when they are sent, and the kernel stamps and debounces them.

    Outputs are looked at two thousand times a second by a thread, so a shorter pulse may be overlooked. The kernel
    loses no edge on demand. Raises SignalError where the kernel has no gpio-sim.
    """

    debounces = True
    stamp_slack_ns = STAMP_SLACK_NS

    def __init__(self, gpio: Mapping[str, Any], clock: Clock) -> None:
        wired_in, wired_out = gpio["inputs"], gpio["outputs"]
        self._inputs = {Input(name): (offset, wired_in[name]) for offset, name in enumerate(wired_in)}
        first_output = len(wired_in)
        self._outputs = {
            Output(name): (first_output + offset, wired_out[name]) for offset, name in enumerate(wired_out)
        }
        self._clock = clock
        self._chip = CONFIG / f"edge-runtime-{os.getpid()}"
        self._back_at_ns: int | None = None
        self._driven: list[Driven] = []
        self._stop = threading.Event()
        self._pulls: dict[Input, int] = {}
        self._values: dict[Output, int] = {}
        self._make_chip()
        self._watcher = threading.Thread(target=self._watch, name="outputs", daemon=True)
        self._watcher.start()

    @property
    def pending(self) -> int:
        return int(self._back_at_ns is not None)

    def settings(self, gpio: dict[str, Any]) -> dict[str, Any]:
        """Every line has a new number; polarity, edge and debounce stay."""
        inputs = {name.value: {**wiring, "line": offset} for name, (offset, wiring) in self._inputs.items()}
        outputs = {name.value: {**wiring, "line": offset} for name, (offset, wiring) in self._outputs.items()}
        return {**gpio, "driver": "gpio", "chip": LABEL, "inputs": inputs, "outputs": outputs}

    def send(self, edges: Sequence[FedEdge] = ()) -> None:
        if self._back_at_ns is not None and self._clock.monotonic_ns() >= self._back_at_ns:
            self._back_at_ns = None
            self._set_live(True)
        for edge in edges:
            if edge.name in self._pulls:
                is_falling = self._inputs[edge.name][1].get("edge") == "falling"
                os.pwrite(self._pulls[edge.name], b"pull-up" if edge.active is not is_falling else b"pull-down", 0)

    def lose_chip(self, for_ms: float) -> None:
        self._back_at_ns = self._clock.monotonic_ns() + round(for_ms * NS_PER_MS)
        self._set_live(False)

    def driven(self) -> list[Driven]:
        return list(self._driven)

    def close(self) -> None:
        self._stop.set()
        self._watcher.join()
        if self._back_at_ns is None:
            self._set_live(False)
        (self._chip / "bank0").rmdir()
        self._chip.rmdir()

    # -- inside -------------------------------------------------------------------------------------------------

    def _make_chip(self) -> None:
        bank = self._chip / "bank0"
        try:
            bank.mkdir(parents=True)
            (bank / "num_lines").write_text(str(LINES))
            (bank / "label").write_text(LABEL)
            self._set_live(True)
        except OSError as exc:
            raise SignalError(f"{CONFIG}: {exc}; load the kernel's module gpio-sim and run this as root") from exc

    def _set_live(self, live: bool) -> None:
        pulls, self._pulls = self._pulls, {}
        values, self._values = self._values, {}
        (self._chip / "live").write_text(str(int(live)))
        for fd in (*pulls.values(), *values.values()):
            os.close(fd)
        if live:
            device = (self._chip / "dev_name").read_text().strip()
            wires = Path("/sys/devices/platform") / device / (self._chip / "bank0" / "chip_name").read_text().strip()
            for name, (offset, _) in self._inputs.items():
                self._pulls[name] = os.open(wires / f"sim_gpio{offset}" / "pull", os.O_WRONLY)
            self.send([FedEdge(name, 0, active=False) for name in self._inputs])
            self._values = {
                output: os.open(wires / f"sim_gpio{offset}" / "value", os.O_RDONLY)
                for output, (offset, _) in self._outputs.items()
            }

    def _watch(self) -> None:
        """Note each change of an output; a chip that is gone has no power on its wires."""
        levels: dict[Output, bool] = {}
        while not self._stop.wait(SAMPLE_EVERY_S):
            for output, (offset, wiring) in self._outputs.items():
                line = OutputLine(offset, wiring.get("active_low"), wiring.get("safe_active"))
                active = self._is_high(output) is not line.is_active_low(output)
                if levels.get(output) is not active:
                    levels[output] = active
                    self._driven.append(Driven(time.monotonic_ns(), output, active))

    def _is_high(self, output: Output) -> bool:
        try:
            return os.pread(self._values[output], 4, 0).strip() == b"1"
        except (OSError, KeyError):
            return False
