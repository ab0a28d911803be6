"""Edges in, pulses out, through libgpiod and the kernel's simulated chip."""

from __future__ import annotations

from statistics import median

from tools.hil.report import expect
from tools.hil.station import EJECTOR_PULSES, ENCODER, PULSE_MS, Station

PARTS = 20
# The kernel's software debounce needs a level to hold for 20 ms.
BOUNCES = [(1, 1.0), (0, 1.0)] * 5


def good_parts(station: Station) -> str:
    return _parts(station, good=True)


def bad_parts(station: Station) -> str:
    return _parts(station, good=False)


def _parts(station: Station, good: bool) -> str:
    """Each edge gets exactly one pulse, on the right line, whole, and one record."""
    station.become_ready()
    station.show_part(good)
    before = len(station.outcomes())
    station.box.call("gpio.watch")
    edges_ns = station.pass_parts(PARTS)
    station.until(lambda: len(station.outcomes()) >= before + PARTS, f"{PARTS} records")
    station.box.shell("sleep 0.5")
    pulses = {line: pulses_of(station, line) for line in ("OK", "REJECT")}
    wanted, other = ("OK", "REJECT") if good else ("REJECT", "OK")
    counts = {line: len(each) for line, each in pulses.items()}
    expect(counts == {wanted: PARTS, other: 0}, f"{PARTS} edges gave the pulses {counts}")
    delays_ms = [(begin_ns - edge_ns) / 1e6 for edge_ns, (begin_ns, _) in zip(edges_ns, pulses[wanted], strict=True)]
    widths_ms = [(end_ns - begin_ns) / 1e6 for begin_ns, end_ns in pulses[wanted]]
    expect(min(delays_ms) > 0, f"a pulse before its edge: {delays_ms}")
    expect(min(widths_ms) >= PULSE_MS - 1, f"a pulse shorter than {PULSE_MS} ms: {widths_ms}")
    outcomes = [outcome for _, outcome in station.outcomes()[before:]]
    expect(outcomes == ["PASS" if good else "REJECT"] * PARTS, f"records say {outcomes}")
    width_ms = f"{min(widths_ms):.0f} to {max(widths_ms):.0f} ms long (set {PULSE_MS})"
    return f"{PARTS} of {PARTS} pulses on {wanted}, {width_ms}, median {median(delays_ms):.0f} ms after the edge"


def debounce(station: Station) -> str:
    """A sensor that bounces is one part; a spike is none."""
    station.become_ready()
    station.show_part(good=True)
    before = len(station.outcomes())
    station.box.call("gpio.pull_in_turn", line="TRIGGER", steps=[*BOUNCES, (1, 200.0), *BOUNCES, (0, 500.0)])
    station.box.call("gpio.pull_in_turn", line="TRIGGER", steps=[(1, 2.0), (0, 1500.0)])
    parts = len(station.outcomes()) - before
    expect(parts == 1, f"a bouncing edge and a spike of 2 ms gave {parts} parts, not 1")
    return f"{len(BOUNCES)} bounces and a spike of 2 ms at 20 ms debounce: 1 part"


def encoder(station: Station) -> str:
    """A part is told when the encoder has brought it to the ejector, not an edge earlier; running back delays it."""
    station.configure(more=ENCODER)
    station.systemctl("restart")
    station.show_part(good=True)
    belt = Belt(station)
    belt.move(3 * EJECTOR_PULSES)  # what may have lain on it before the start
    station.until(lambda: station.levels()["REJECT"] == 1, "the end of the reject that stands after a start")
    station.box.call("gpio.watch")
    before = len(station.outcomes())
    station.pass_parts(1)
    station.until(lambda: len(station.outcomes()) > before, "the part's record")
    for edges in (EJECTOR_PULSES - 1, -8, 8):
        belt.move(edges)
    station.box.shell("sleep 1")
    expect(not station.driven("OK"), f"told too early: {station.driven('OK')}")
    belt.move(1)
    station.until(lambda: len(pulses_of(station, "OK")) == 1, "the part's pulse")
    return f"no pulse after {EJECTOR_PULSES - 1} edges, 8 back and 8 forth; one after the next edge"


class Belt:
    """A two-channel encoder, turned by hand."""

    QUADRATURE = ((0, 0), (1, 0), (1, 1), (0, 1))

    def __init__(self, station: Station) -> None:
        self._station = station
        self._at = 0

    def move(self, edges: int) -> None:
        """So many edges, backwards when negative."""
        steps = []
        for _ in range(abs(edges)):
            old = self.QUADRATURE[self._at % 4]
            self._at += 1 if edges > 0 else -1
            new = self.QUADRATURE[self._at % 4]
            line, level = ("ENCODER_A", new[0]) if old[0] != new[0] else ("ENCODER_B", new[1])
            steps.append((line, level, 4.0))
        self._station.box.call("gpio.pull_lines", steps=steps)


def pulses_of(station: Station, line: str) -> list[tuple[int, int]]:
    """Begin and end, in monotonic ns, of each time the line said its word; REJECT says it by a low level."""
    changes = station.driven(line)
    spoken = 0 if line == "REJECT" else 1
    begins = [index for index, (_, level) in enumerate(changes) if level == spoken]
    return [(changes[index][0], changes[index + 1][0]) for index in begins if index + 1 < len(changes)]
