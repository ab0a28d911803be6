"""The checks, by what they look at, in the order in which the bench makes them."""

from __future__ import annotations

from collections.abc import Callable

from tools.hil.checks import camera, driver_tests, gpio, losses, power, predictor, serial, service
from tools.hil.station import Station

Check = Callable[[Station], str]

CHECKS: dict[str, Check] = {
    "user, groups, device files": service.device_files,
    "start to READY": service.start_to_ready,
    "safe levels without a glitch at start": service.levels_at_start,
    "exposure of the sandbox": service.exposure,
    "adapter plugged in after the start": serial.plug_in_later,
    "good parts, ok pulses": gpio.good_parts,
    "bad parts, reject pulses": gpio.bad_parts,
    "debounce": gpio.debounce,
    "sentences both ways": serial.both_ways,
    "adapter pulled and plugged in": serial.pull_and_plug,
    "pictures through V4L2": camera.pictures,
    "camera pulled and plugged in": camera.pull_and_plug,
    "power cut": power.cut,
    "kill -9 of the line": losses.kill_the_line,
    "line frozen": losses.freeze_the_line,
    "line and guard killed": losses.kill_line_and_guard,
    "line and guard frozen": losses.freeze_line_and_guard,
    "encoder": gpio.encoder,
    "systemctl stop": service.stop,
    "driver tests on simulated lines": driver_tests.run,
    "Paddle Lite": predictor.paddle_lite,
}
