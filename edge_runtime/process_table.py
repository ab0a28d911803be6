"""The line's processes as a table: their order, time limits and niceness, and how each is started."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from edge_runtime.clock import NS_PER_S
from edge_runtime.config import Settings
from edge_runtime.config_signals import OutputLineSettings
from edge_runtime.runtime.children import Birth, Child, ChildSpec, Process, Role, Spawn, spawn_child
from edge_runtime.runtime.frame_ring import FrameRing
from edge_runtime.runtime.health import RestartBudget
from edge_runtime.runtime.ring_layout import RingLayout

if TYPE_CHECKING:
    from edge_runtime.runtime.fork_server import ForkServer

CHILD_PROGRAM = "edge_runtime.child_program"
OFFICE_HANG_TIMEOUT_MS = 15_000.0
GUARD_HANG_TIMEOUT_MS = 5_000.0
FIELDBUS_HANG_TIMEOUT_MS = 2_000.0
REPORTER_HANG_TIMEOUT_MS = 60_000.0  # a name server or a broker may be slow to say nothing
MEASURE_SHARE = 0.6  # of the time to start, and on top of it: how long workers may measure engines for `auto`
NICENESS = {
    Role.GUARD: 0,
    Role.CAPTURE: 2,
    Role.INSPECTION: 5,
    Role.OFFICE: 8,
    Role.FIELDBUS: 1,
    Role.REPORTER: 8,
    Role.PREPARER: 8,
}


def children_of_line(settings: Settings, ring: FrameRing, fork_server: ForkServer | None) -> list[Child]:
    """The process table. The guard comes first, so that it is there before anything can go wrong."""
    start_ms = settings.inspection.start_timeout_ms
    specs = [
        ChildSpec(Role.GUARD, 0, start_ms, GUARD_HANG_TIMEOUT_MS, ping_every_ms=line_silent_ms(settings) / 4),
        ChildSpec(Role.OFFICE, 0, start_ms, OFFICE_HANG_TIMEOUT_MS),
        ChildSpec(Role.CAPTURE, 0, start_ms, settings.line.camera_hang_timeout_ms),
    ]
    if settings.modbus is not None:
        specs.append(ChildSpec(Role.FIELDBUS, 0, start_ms, FIELDBUS_HANG_TIMEOUT_MS))
    if settings.mqtt is not None:
        specs.append(ChildSpec(Role.REPORTER, 0, start_ms, REPORTER_HANG_TIMEOUT_MS))
    return described([*specs, *worker_specs(settings)], settings, ring, fork_server)


def line_silent_ms(settings: Settings) -> float:
    """How long the line may be silent before its outputs are made safe: the shortest time any of them allows."""
    outputs = settings.gpio.outputs.values() if settings.gpio else ()
    return min((wiring.max_unrefreshed_ms for wiring in outputs), default=OutputLineSettings(line=0).max_unrefreshed_ms)


def worker_specs(settings: Settings, first_index: int = 0) -> list[ChildSpec]:
    inspection = settings.inspection
    start_ms = inspection.start_timeout_ms * (1 + MEASURE_SHARE if inspection.backend == "auto" else 1)
    return [
        ChildSpec(Role.INSPECTION, first_index + index, start_ms, inspection.hang_timeout_ms)
        for index in range(inspection.workers)
    ]


def described(
    specs: Sequence[ChildSpec], settings: Settings, ring: FrameRing, fork_server: ForkServer | None = None
) -> list[Child]:
    spawn = _spawn(ring.fd, fork_server)
    window_ns = round(settings.line.restarts_window_s * NS_PER_S)
    text = settings.model_dump_json()
    return [Child(spec, spawn, text, RestartBudget(settings.line.restarts_max, window_ns)) for spec in specs]


def _spawn(ring_fd: int, fork_server: ForkServer | None) -> Spawn:
    """How children start; the reporter always as a program of its own, because its memory is bounded."""
    start_program = spawn_child(CHILD_PROGRAM, ring_fd)

    def spawn(spec: ChildSpec, channel_fd: int) -> Process | Birth:
        if fork_server is not None and fork_server.is_ready and spec.role is not Role.REPORTER:
            with suppress(OSError):  # it is gone or cannot be asked, and the log says so
                return fork_server.spawn(spec, channel_fd, ring_fd)
        return start_program(spec, channel_fd)

    return spawn


def ring_layout(settings: Settings) -> RingLayout:
    """How the frame ring is laid out, in every process alike."""
    return RingLayout(settings.line.ring_slots, settings.camera.width_px * settings.camera.height_px)
