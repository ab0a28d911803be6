"""The daemon's settings in the box, and how the bench meets it there."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tools.hil.controller import Controller
from tools.hil.machine import Box
from tools.hil.workshop import BenchError

UNIT = "edge-runtime"
CAMERA = "/dev/video0"
CONFIG = "/etc/edge-runtime/config.toml"
WIDTH_PX, HEIGHT_PX = 320, 180
CAMERA_MODULE = "modprobe vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0"
# A black picture without text in it: what the scripted backend calls good.
CAMERA_PICTURE = f"v4l2-ctl -d {CAMERA} -c test_pattern=5,osd_text_mode=2"
PULSE_MS = 80
PART_EVERY_MS = 500.0
LINES = ("OK", "REJECT", "BUSY", "FAULT", "HEARTBEAT", "TRIGGER", "ENCODER_A", "ENCODER_B")
# FAULT stands for a board that inverts: its safe level is high, so that a line at rest is not safe by chance.
SAFE_LEVELS = {"OK": 0, "REJECT": 0, "BUSY": 0, "FAULT": 1, "HEARTBEAT": 0}
# Grey values that the scripted backend reads as no defect and as a defect; see inference/scripted.py.
GOOD_BRIGHTNESS, BAD_BRIGHTNESS = 128, 232
SETTINGS = """
[camera]
driver = "opencv"
source = "{camera}"
width_px = {width_px}
height_px = {height_px}
rate_hz = 10

[inspection]
bundle = "/opt/edge-runtime/models/board-unet/3"
backend = "{backend}"
workers = 1
hang_timeout_ms = 60000
start_timeout_ms = 600000

[line]
trigger = "gpio"
deadline_ms = {deadline_ms}
capture_timeout_ms = 3000
camera_hang_timeout_ms = 15000
heartbeat_ms = 500

[serial]
port = "/dev/serial/by-id/usb-QEMU_*"

[gpio]
chip = "bench"
[gpio.inputs.trigger]
line = "TRIGGER"
edge = "rising"
debounce_us = 20000
[gpio.outputs.ok]
line = "OK"
pulse_ms = {pulse_ms}
[gpio.outputs.reject]
line = "REJECT"
pulse_ms = {pulse_ms}
[gpio.outputs.busy]
line = "BUSY"
[gpio.outputs.fault]
line = "FAULT"
active_low = false
[gpio.outputs.heartbeat]
line = "HEARTBEAT"
{more}
"""
EJECTOR_PULSES = 40
# Parts are told at the ejector, so many edges of a two-channel encoder after the trigger.
ENCODER = f"""
[gpio.inputs.encoder_a]
line = "ENCODER_A"
debounce_us = 0
[gpio.inputs.encoder_b]
line = "ENCODER_B"
debounce_us = 0
[ejection]
mode = "encoder"
pulses = {EJECTOR_PULSES}
min_gap_pulses = 8
"""


def settings_text(backend: str = "scripted", deadline_ms: int = 10_000, more: str = "") -> str:
    return SETTINGS.format(
        camera=CAMERA, width_px=WIDTH_PX, height_px=HEIGHT_PX, pulse_ms=PULSE_MS,
        backend=backend, deadline_ms=deadline_ms, more=more,
    )  # fmt: skip


class Station:
    """A box with the daemon's unit in it, and the controller outside."""

    def __init__(self, boot: Callable[[], Box]) -> None:
        self._boot = boot
        self._switch_on()

    def _switch_on(self) -> None:
        self.box = self._boot()
        self.box.wait_for_agent()
        self.controller = Controller(self.box.controller_path)

    def cut_power_and_boot(self) -> None:
        """The box loses its power and is switched on again, its adapter plugged in, chip and camera as they were."""
        self.box.cut_power()
        self._switch_on()
        self.box.plug_adapter()
        self.simulate_devices()

    def simulate_devices(self) -> str:
        """The GPIO chip and the camera, as if wired before the service starts; the chip's device."""
        self.box.shell(f"modprobe gpio-sim && {CAMERA_MODULE} && udevadm settle && {CAMERA_PICTURE}")
        chip = str(self.box.call("gpio.make_chip", names=list(LINES)))
        self.box.shell("udevadm settle")
        return f"/dev/{chip}"

    def configure(self, **changes: Any) -> None:
        """Write the daemon's settings, see `settings_text`; it reads them when it is started."""
        self.box.call("box.write_file", path=CONFIG, text=settings_text(**changes))

    def clock_s(self) -> float:
        """The box's own monotonic time: it counts instructions, and stands still while QEMU waits for a processor."""
        return float(self.box.call("gpio.now_ns")) / 1e9

    def systemctl(self, verb: str) -> float:
        """Do it, as an operator would; how many of the box's s it took."""
        started_s = self.clock_s()
        try:
            self.box.shell(f"systemctl {verb} {UNIT}", timeout_s=1800)
        except BenchError as exc:
            raise BenchError(f"{exc}\n{self.log(40)}") from exc
        return self.clock_s() - started_s

    def hear(self, condition: Callable[[], bool], what: str) -> float:
        """Wait until what the controller has heard fulfils `condition`; how many of the box's s it took."""
        started_s = self.clock_s()
        self.controller.until(condition, what)
        return self.clock_s() - started_s

    def show(self, key: str) -> str:
        """A property of the unit, as systemd knows it."""
        return self.box.shell(f"systemctl show -P {key} {UNIT}").strip()

    def log(self, lines: int = 400) -> str:
        return self.box.shell(f"journalctl -u {UNIT} -o short-monotonic --no-pager -n {lines}")

    def until(self, condition: Callable[[], bool], what: str, timeout_s: float = 900) -> None:
        """As `Controller.until`, for what costs a call into the box."""
        started_s = time.monotonic()
        while not condition():
            if time.monotonic() - started_s > timeout_s:
                raise BenchError(f"waited {timeout_s} s for {what}\n{self.log(40)}")
            time.sleep(0.7)

    def is_ready(self) -> bool:
        return self.show("StatusText").startswith(("ready", "inspecting", "degraded"))

    def become_ready(self) -> None:
        """Whatever the check before left behind, the daemon runs and inspects. Raises BenchError."""
        if self.show("ActiveState") in ("inactive", "failed"):
            self.configure()
            self.systemctl("start")
        self.until(self.is_ready, "the state ready", timeout_s=900)

    @property
    def line_pid(self) -> int:
        """The unit's main process, 0 while there is none."""
        return int(self.show("MainPID"))

    def child_pid(self, role: str) -> int:
        return int(self.box.shell(f"pgrep -f '[e]dge_runtime.app {role}'"))

    def signal(self, name: str, pids: list[int]) -> int:
        """Send it to these processes, in this order; the moment before, in the box's monotonic ns."""
        now_ns = int(self.box.call("gpio.now_ns"))
        self.box.shell(f"kill -{name} {' '.join(str(pid) for pid in pids)}")
        return now_ns

    def outcomes(self) -> list[tuple[int, str]]:
        """Part id and outcome of every committed record, ascending."""
        return [(part_id, outcome) for part_id, outcome in self.box.call("records.committed")]

    def pass_parts(self, count: int) -> list[int]:
        """Pass so many parts before the sensor; the edges' monotonic moments, in ns."""
        steps = [(1, 60.0), (0, PART_EVERY_MS - 60.0)] * count
        moments_ns: list[int] = self.box.call("gpio.pull_in_turn", patience_s=900, line="TRIGGER", steps=steps)
        return moments_ns[::2]

    def show_part(self, good: bool) -> None:
        """What stands before the camera from now on; waits until older frames are gone."""
        brightness = GOOD_BRIGHTNESS if good else BAD_BRIGHTNESS
        self.box.shell(f"v4l2-ctl -d {CAMERA} -c brightness={brightness}; sleep 0.5")

    def levels(self) -> dict[str, int]:
        return {line: level for line, level in self.box.call("gpio.levels").items() if line in SAFE_LEVELS}

    def driven(self, line: str) -> list[tuple[int, int]]:
        """(monotonic ns, level) each time the line was driven to another level since the last `gpio.watch`."""
        changes: list[tuple[int, int]] = []
        for at_ns, name, level, _ in self.everything_driven():
            if name == line and (not changes or changes[-1][1] != level):
                changes.append((at_ns, level))
        return changes

    def made_safe(self, by: Callable[[int], bool]) -> int | None:
        """When the processes chosen by `by` had driven every line to its safe level; None when they never did."""
        done_ns: dict[str, int] = {}
        for at_ns, line, level, pid in self.everything_driven():
            if by(pid) and level == SAFE_LEVELS.get(line):
                done_ns.setdefault(line, at_ns)
        return max(done_ns.values()) if done_ns.keys() == SAFE_LEVELS.keys() else None

    def everything_driven(self) -> list[tuple[int, str, int, int]]:
        """(monotonic ns, line, level, thread) of every call that drove a line since the last `gpio.watch`."""
        answer: list[list[Any]] = self.box.call("gpio.driven")
        return [(at_ns, line, level, thread) for at_ns, line, level, thread in answer]
