"""The unit, its user and its sandbox, as systemd runs them."""

from __future__ import annotations

import re

from edge_runtime.protocol.messages import Down
from tools.hil.report import expect
from tools.hil.station import CAMERA, SAFE_LEVELS, UNIT, Station

EXPOSURE_MAX = 2.0


def device_files(station: Station) -> str:
    """sysusers made the user and the group, udev gives chip and camera to the groups that the unit names."""
    chip = station.simulate_devices()
    station.box.shell("getent passwd edge-runtime && getent group gpio dialout video")
    modes = {path: station.box.shell(f"stat -c '%G %a' {path}").strip() for path in (chip, CAMERA)}
    expect(list(modes.values()) == ["gpio 660", "video 660"], f"device files: {modes}")
    return ", ".join(f"{path} {mode}" for path, mode in modes.items())


def start_to_ready(station: Station) -> str:
    """`systemctl start` returns when the daemon says READY; it runs as its own user, without any capability."""
    station.configure()
    station.box.call("gpio.watch")
    took_s = station.systemctl("start")
    status = station.box.shell(f"cat /proc/{station.show('MainPID')}/status")
    user = station.box.shell("id -u edge-runtime").strip()
    expect(f"\nUid:\t{user}\t" in status and "\nNoNewPrivs:\t1\n" in status, f"the daemon's process is\n{status}")
    expect("\nCapEff:\t0000000000000000\n" in status, f"the daemon has capabilities\n{status}")
    expect(station.show("NRestarts") == "0", f"restarted on the way\n{station.log(60)}")
    expect(station.show("WatchdogUSec") == "5s", "systemd does not watch the daemon")
    return f"READY after {took_s:.0f} s, watchdog 5 s, no capabilities"


def levels_at_start(station: Station) -> str:
    """From nobody's hands to the safe level in one step, and nothing else until the daemon is READY."""
    calls = station.everything_driven()
    first = {line: next((level for _, name, level, _ in calls if name == line), None) for line in SAFE_LEVELS}
    expect(first == SAFE_LEVELS, f"first driven to {first}, safe is {SAFE_LEVELS}")
    ready_ns = int(station.show("ActiveEnterTimestampMonotonic")) * 1000
    unsafe = [call for call in calls if call[0] < ready_ns - 100_000_000 and call[2] != SAFE_LEVELS.get(call[1])]
    expect(not unsafe, f"driven to another level before READY at {ready_ns}: {unsafe}")
    return f"{len(SAFE_LEVELS)} lines, {sum(call[0] < ready_ns for call in calls)} calls before READY, all safe"


def exposure(station: Station) -> str:
    """`systemd-analyze security` of the running unit."""
    text = station.box.shell(f"systemd-analyze security --no-pager {UNIT} || true")
    found = re.search(r"Overall exposure level for \S+: (\d+\.\d)", text)
    expect(found is not None and float(found[1]) <= EXPOSURE_MAX, text[-500:])
    return f"{found[1] if found else ''} of 10"


def stop(station: Station) -> str:
    """`systemctl stop`: outputs safe, DWN told, nothing killed, records whole."""
    station.become_ready()
    station.box.call("gpio.watch")
    took_s = station.systemctl("stop")
    expect(station.show("Result") == "success", f"the unit ended with {station.show('Result')}\n{station.log(40)}")
    last = {line: station.driven(line)[-1][1] for line in SAFE_LEVELS}
    expect(last == SAFE_LEVELS, f"last driven to {last}")
    station.controller.until(lambda: Down("stopped") in station.controller.heard, "DWN,stopped")
    log = station.log(60)
    expect("make-safe output lines: safe" in log, f"ExecStopPost did not run\n{log}")
    expect("Killing process" not in log.rpartition("Stopping")[2], f"something was killed\n{log}")
    return f"stopped in {took_s:.1f} s, DWN told, make-safe after it"
