"""The kernel's virtual camera through OpenCV's V4L2."""

from __future__ import annotations

from edge_runtime.protocol.messages import FaultChanged
from tools.hil.checks.gpio import pulses_of
from tools.hil.report import expect
from tools.hil.station import CAMERA_PICTURE, HEIGHT_PX, WIDTH_PX, Station

PARTS = 3
READ_PICTURES = (
    "find /var/lib/edge-runtime/pictures -name '*.jpg' -o -name '*.png' | sort | tail -n 3 | "
    "/opt/edge-runtime/venv/bin/python -c "
    "'import cv2, sys; [print(*cv2.imread(line.strip()).shape) for line in sys.stdin]'"
)
BIND = "echo -n vivid.0 > /sys/bus/platform/drivers/vivid"


def pictures(station: Station) -> str:
    """What the archive kept of rejected parts has the camera's size."""
    shapes = sorted(set(station.box.shell(READ_PICTURES).split("\n")) - {""})
    expect(shapes == [f"{HEIGHT_PX} {WIDTH_PX} 3"], f"kept pictures have the shapes {shapes}")
    return f"kept pictures are {WIDTH_PX} × {HEIGHT_PX} px"


def pull_and_plug(station: Station) -> str:
    """Without its camera the box rejects every part and says so; it recovers by itself."""
    station.become_ready()
    station.show_part(good=True)
    controller, heard = station.controller, len(station.controller.heard)
    station.box.call("gpio.watch")
    pulled_s = station.clock_s()
    station.box.shell(f"{BIND}/unbind")
    station.hear(lambda: FaultChanged("camera", True) in controller.heard[heard:], "FLT,camera,1")
    noticed_s = station.clock_s() - pulled_s
    before = len(station.outcomes())
    station.pass_parts(PARTS)
    station.until(lambda: len(station.outcomes()) >= before + PARTS, "records of parts without a camera")
    outcomes = [outcome for _, outcome in station.outcomes()[before:]]
    expect(outcomes == ["NOT_INSPECTED"] * PARTS, f"without a camera the parts were {outcomes}")
    expect(not pulses_of(station, "OK"), f"an ok pulse without a camera: {station.driven('OK')}")
    expect(station.levels() == {**station.levels(), "REJECT": 0, "FAULT": 1}, f"levels are {station.levels()}")
    station.box.shell(f"{BIND}/bind && udevadm settle && {CAMERA_PICTURE}")
    back_s = station.hear(lambda: FaultChanged("camera", False) in controller.heard[heard:], "FLT,camera,0")
    station.pass_parts(PARTS)
    station.until(lambda: len(station.outcomes()) >= before + 2 * PARTS, "records of parts after that")
    expect(station.outcomes()[-1][1] == "PASS", f"after that the parts were {station.outcomes()[before:]}")
    return f"fault after {noticed_s:.1f} s, {PARTS} parts NOT_INSPECTED, cleared {back_s:.1f} s after plugging in"
