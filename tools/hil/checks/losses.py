"""The daemon's processes killed and frozen: who makes the outputs safe, when, and what of the records is left."""

from __future__ import annotations

from tools.hil.report import expect
from tools.hil.station import Station
from tools.hil.workshop import BenchError

PARTS = 5
ID_JUMP = 1000


def kill_the_line(station: Station) -> str:
    """The guard acts at once, the office commits what it was told, systemd kills neither and starts the daemon anew."""
    station.become_ready()
    station.show_part(good=True)
    before = len(station.outcomes())
    station.pass_parts(PARTS)
    safe_after_s = _lose(station, "KILL", [station.line_pid], station.child_pid("guard"))
    log = station.log(80).rpartition("code=killed")[2]
    expect("Killing process" not in log, f"systemd killed who had work to do\n{log}")
    kept = len(station.outcomes()) - before
    expect(kept == PARTS, f"{PARTS} parts were judged, {kept} are recorded")
    safe_after_ms = safe_after_s * 1000
    return (
        f"guard made all lines safe {safe_after_ms:.0f} ms after the kill, {kept} of {PARTS} records, {_jump(station)}"
    )


def freeze_the_line(station: Station) -> str:
    """A line that stands still holds its outputs: the guard ends it after 3 s."""
    station.become_ready()
    safe_after_s = _lose(station, "STOP", [station.line_pid], station.child_pid("guard"))
    return f"guard made all lines safe {safe_after_s:.1f} s after the freeze"


def kill_line_and_guard(station: Station) -> str:
    """With the guard gone as well, the unit's ExecStopPost makes the outputs safe."""
    station.become_ready()
    safe_after_s = _lose(station, "KILL", [station.child_pid("guard"), station.line_pid])
    return f"make-safe drove all lines {safe_after_s:.1f} s after the kill"


def freeze_line_and_guard(station: Station) -> str:
    """With the guard frozen, too, systemd's watchdog aborts the line and wakes the guard, which then does its work."""
    station.become_ready()
    guard = station.child_pid("guard")
    safe_after_s = _lose(station, "STOP", [guard, station.line_pid], guard)
    return f"guard, woken by systemd's watchdog, made all lines safe {safe_after_s:.1f} s after the freeze"


def _lose(station: Station, signal_name: str, pids: list[int], rescuer: int | None = None) -> float:
    """Send the signal and wait for a new daemon; how many s it took `rescuer` (None: make-safe) to drive all safe."""
    line = station.line_pid
    station.box.call("gpio.watch")
    lost_ns = station.signal(signal_name, pids)
    station.until(lambda: station.line_pid not in (0, line) and station.is_ready(), "a new daemon")
    lines = (line, station.line_pid)
    safe_ns = station.made_safe(lambda pid: pid == rescuer if rescuer else pid not in lines)
    if safe_ns is None:
        raise BenchError(f"nobody made the lines safe before the new daemon\n{station.log(60)}")
    return (safe_ns - lost_ns) / 1e9


def _jump(station: Station) -> str:
    """The next part's id shows the gap."""
    last = station.outcomes()[-1][0]
    station.pass_parts(1)
    station.until(lambda: station.outcomes()[-1][0] > last, "the next part")
    jump = station.outcomes()[-1][0] - last
    expect(jump >= ID_JUMP, f"ids went on by {jump}")
    return f"ids jump by {jump}"
