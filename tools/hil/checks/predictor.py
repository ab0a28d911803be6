"""The shipped model instead of the scripted answers."""

from __future__ import annotations

from tools.hil.report import NotPossible, expect
from tools.hil.station import Station

PARTS = 2
# An emulated processor is some hundred times slower at the model's arithmetic than a board.
DROP_IN = "/run/systemd/system/edge-runtime.service.d"


def paddle_lite(station: Station) -> str:
    """Every worker runs the golden tiles before it says ready; then parts are inspected before their deadline."""
    if station.box.shell("ls /opt/edge-runtime/venv/lib/python3.10/site-packages").find("paddlelite") < 0:
        raise NotPossible("paddlelite is not installed in the box")
    station.systemctl("stop")
    station.box.shell(f"mkdir -p {DROP_IN} && echo '[Service]\nTimeoutStartSec=1800' > {DROP_IN}/emulated.conf")
    station.box.shell("systemctl daemon-reload")
    station.configure(backend="paddle_lite", deadline_ms=600_000)
    took_s = station.systemctl("start")
    before = len(station.outcomes())
    station.pass_parts(PARTS)
    station.until(lambda: len(station.outcomes()) >= before + PARTS, "records of inspected parts")
    outcomes = [outcome for _, outcome in station.outcomes()[before:]]
    expect("NOT_INSPECTED" not in outcomes, f"the parts were {outcomes}\n{station.log(40)}")
    return f"golden tiles equal, READY after {took_s:.0f} s, {PARTS} black pictures: {', '.join(outcomes)}"
