"""Composition root of the line: its parent process, and workers without a line. Wires come from wires.py."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.clock import SystemClock
from edge_runtime.config import Settings
from edge_runtime.errors import ConfigError
from edge_runtime.process_table import OFFICE_HANG_TIMEOUT_MS, children_of_line, described, ring_layout, worker_specs
from edge_runtime.recipe_table import facts_of, read_manifest, recipe_at_start, recipe_facts
from edge_runtime.runtime.children import Child, ChildSpec, Role
from edge_runtime.runtime.frame_ring import FrameRing
from edge_runtime.wires import build_signals

if TYPE_CHECKING:
    from edge_runtime.runtime.fork_server import ForkServer
    from edge_runtime.runtime.line import Line
    from edge_runtime.runtime.pool import InspectionPool
    from edge_runtime.runtime.takeover import TakeoverPlan

log = logging.getLogger(__name__)


def put_line_first(realtime_priority: int) -> None:
    """Let the scheduler run the line before everything else: on a busy machine it otherwise waits 5 ms and more.

    With priority 0, or without the right to it, only the children's niceness favours the line.
    """
    if realtime_priority == 0:
        return
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(realtime_priority))
    except PermissionError:
        log.warning("no right to real-time priority %d: set LimitRTPRIO in the service unit", realtime_priority)


def build_line(settings: Settings, fork_server: ForkServer | None = None, config: Path | None = None) -> Line:
    """The parent process with its children described but not started, by `fork_server` where there is one.

    `config` is the settings' file: by SIGHUP its recipes and models are taken over. Raises ConfigError, BundleError.
    """
    from edge_runtime.runtime.line import Line
    from edge_runtime.runtime.line_rules import LineRules
    from edge_runtime.runtime.service_notify import ServiceNotifier
    from edge_runtime.runtime.stop_rules import StopLimits, StopRule
    from edge_runtime.runtime.supervisor import Supervisor
    from edge_runtime.runtime.takeover import Takeover

    clock = SystemClock()
    line = settings.line
    recipes = recipe_facts(settings)
    ring = _new_ring(settings)
    rules = LineRules(
        deadline_ms=line.deadline_ms,
        deadline_guard_ms=line.deadline_guard_ms,
        slot_count=line.ring_slots,
        capture_timeout_ms=line.capture_timeout_ms,
        recipes=recipes,
        recipe_at_start=recipe_at_start(settings),
        recipe_by_code=settings.recipe_code is not None,
        free_run=line.trigger == "free_run",
        keep_ok_every=settings.archive.keep_ok_every,
        max_pending_records=settings.archive.max_pending_records,
    )
    supervisor = Supervisor(children_of_line(settings, ring, fork_server), ServiceNotifier(), fork_server)
    stop_rule = StopRule(StopLimits(**settings.stop.model_dump()))
    within_ms = line.takeover_timeout_s * 1000
    plan = None if config is None else _takeover_plan(config.absolute(), ring, fork_server, within_ms)
    takeover = Takeover(plan, supervisor, settings.model_dump_json())
    return Line(settings.station.name, rules, supervisor, ring, build_signals(settings), clock, stop_rule, takeover)


def _takeover_plan(config: Path, ring: FrameRing, fork_server: ForkServer | None, within_ms: float) -> TakeoverPlan:
    from edge_runtime.runtime.takeover import TakeoverPlan

    def preparer(text: str) -> Child:
        settings = Settings.model_validate_json(text)
        spec = ChildSpec(Role.PREPARER, 0, settings.inspection.start_timeout_ms, OFFICE_HANG_TIMEOUT_MS)
        (child,) = described([spec], settings, ring, fork_server)
        child.settings_json = json.dumps({"file": str(config), "settings": text})
        return child

    def workers(text: str, first_index: int) -> list[Child]:
        settings = Settings.model_validate_json(text)
        return described(worker_specs(settings, first_index), settings, ring, fork_server)

    return TakeoverPlan(preparer, workers, within_ms)


def build_pool(settings: Settings, mask_stride_px: int) -> InspectionPool:
    """The inspection workers alone, for pictures of at most camera.width_px × camera.height_px pixels."""
    from edge_runtime.runtime.pool import InspectionPool

    ring = _new_ring(settings)
    workers = described(worker_specs(settings), settings, ring)
    (number, entry), *_ = settings.numbered_recipes.items()
    takes_template = read_manifest(entry.bundle)[0].input.template
    return InspectionPool(workers, ring, mask_stride_px, takes_template, facts_of(number, entry), SystemClock())


def _new_ring(settings: Settings) -> FrameRing:
    layout = ring_layout(settings)
    try:
        return FrameRing.create(layout)
    except OSError as exc:
        raise ConfigError(
            f"no shared memory for {layout.slot_count} pictures, {layout.total_bytes / 1e6:.0f} MB: {exc}; "
            "set fewer line.ring_slots or a smaller camera.width_px and height_px"
        ) from exc
