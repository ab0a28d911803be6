"""The wires of a chip simulated by the kernel: pull inputs, read outputs, and see every level that is ever driven.

The kernel's trace tells each call that drives a line, with monotonic time; reading levels alone would miss a glitch.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

CONFIG = Path("/sys/kernel/config/gpio-sim/bench")
TRACING = Path("/sys/kernel/tracing")
DRIVEN = re.compile(r"-(\d+) +\[\d+\] \S+ +(\d+)\.(\d{6}): gpio_value: (\d+) set ([01])")


def make_chip(names: list[str]) -> str:
    """A chip with these lines, pulled down; its device's name."""
    bank = CONFIG / "bank0"
    bank.mkdir(parents=True)
    (bank / "num_lines").write_text(str(len(names)))
    (bank / "label").write_text("bench")
    for offset, name in enumerate(names):
        (bank / f"line{offset}").mkdir()
        (bank / f"line{offset}" / "name").write_text(name)
    (CONFIG / "live").write_text("1")
    return (bank / "chip_name").read_text().strip()


def _names() -> dict[str, int]:
    bank = CONFIG / "bank0"
    return {(line / "name").read_text().strip(): int(line.name[4:]) for line in bank.glob("line*")}


def _wire(line: str) -> Path:
    device = (CONFIG / "dev_name").read_text().strip()
    chip = (CONFIG / "bank0" / "chip_name").read_text().strip()
    return Path("/sys/devices/platform") / device / chip / f"sim_gpio{_names()[line]}"


def pull(line: str, level: int) -> None:
    """Put an input on a level; a line that nobody drives takes it, too."""
    (_wire(line) / "pull").write_text("pull-up" if level else "pull-down")


def levels() -> dict[str, int]:
    """What stands on every line now."""
    return {name: int((_wire(name) / "value").read_text()) for name in _names()}


def pull_in_turn(line: str, steps: list[tuple[int, float]]) -> list[int]:
    """Put the input on each (level, for how many ms) in turn; the monotonic moments, in ns."""
    return pull_lines([(line, level, hold_ms) for level, hold_ms in steps])


def pull_lines(steps: list[tuple[str, int, float]]) -> list[int]:
    """As `pull_in_turn`, for (line, level, for how many ms)."""
    wires = {line: os.open(_wire(line) / "pull", os.O_WRONLY) for line in {line for line, _, _ in steps}}
    moments_ns = []
    for line, level, hold_ms in steps:
        moments_ns.append(time.monotonic_ns())
        os.pwrite(wires[line], b"pull-up" if level else b"pull-down", 0)
        time.sleep(hold_ms / 1000)
    for wire in wires.values():
        os.close(wire)
    return moments_ns


def watch() -> None:
    """Forget what was driven, and note it from now on."""
    (TRACING / "trace_clock").write_text("mono")
    (TRACING / "events" / "gpio" / "gpio_value" / "enable").write_text("1")
    (TRACING / "trace").write_text("")
    (TRACING / "tracing_on").write_text("1")


def driven() -> list[tuple[int, str, int, int]]:
    """Everything that was driven since `watch`, in order: (monotonic ns, line, level, thread id)."""
    base = _first_number()
    names = {base + offset: name for name, offset in _names().items()}
    return parse((TRACING / "trace").read_text(), names)


def parse(trace: str, names: dict[int, str]) -> list[tuple[int, str, int, int]]:
    """The kernel's trace as text; `names` are the lines to look at, by the kernel's own numbers."""
    return [
        (int(seconds) * 10**9 + int(micros) * 1000, names[int(number)], int(level), int(thread_id))
        for thread_id, seconds, micros, number, level in DRIVEN.findall(trace)
        if int(number) in names
    ]


def _first_number() -> int:
    """The chip's first line in the kernel's own numbering."""
    for chip in Path("/sys/class/gpio").glob("gpiochip*"):
        if (chip / "label").read_text().strip() == "bench":
            return int((chip / "base").read_text())
    raise ValueError("the simulated chip is not in /sys/class/gpio")


def now_ns() -> int:
    return time.monotonic_ns()
